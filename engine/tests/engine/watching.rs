//! Snapshots: whole first, then what has changed, at once, and never a queue of old ones.

use tollgate_api::v1;
use tollgate_engine::{Engine, SessionError, WatchSession};

use crate::harness::{PATIENCE, Running, request, wait_for};

fn hello(reporter: &str, epoch: u64) -> v1::WatchRequest {
    let hello = v1::WatchHello {
        reporter: reporter.to_owned(),
        epoch,
        agent: "test/1".to_owned(),
        services: vec!["shop/catalog".to_owned()],
        ..v1::WatchHello::default()
    };
    v1::WatchRequest { sent_ms: 1, hello: Some(hello), ..v1::WatchRequest::default() }
}

fn watch(engine: &Engine, reporter: &str) -> WatchSession {
    engine.watch(&hello(reporter, 1)).unwrap()
}

async fn next(session: &mut WatchSession) -> v1::Snapshot {
    tokio::time::timeout(PATIENCE, session.next()).await.expect("a snapshot is due").expect("the stream lives")
}

async fn next_with(session: &mut WatchSession, is_it: impl Fn(&v1::Snapshot) -> bool) -> v1::Snapshot {
    loop {
        let snapshot = next(session).await;
        session.heard(&v1::WatchRequest { acknowledged_version: snapshot.version, ..v1::WatchRequest::default() });
        if is_it(&snapshot) {
            return snapshot;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_snapshot_is_whole_and_versions_grow() {
    let running = Running::start().await;
    let mut session = watch(&running.engine, "catalog-1");
    let first = next(&mut session).await;
    assert!(first.whole && first.policies.is_some() && first.heartbeat_ms > 0);
    running.write_policy("access/more.cedar", "@id(\"more\") permit (principal, action, resource);");
    let second = next_with(&mut session, |snapshot| snapshot.policies.is_some()).await;
    assert!(!second.whole && second.version > first.version);
    let ids: Vec<_> = second.policies.unwrap().access.into_iter().map(|policy| policy.id).collect();
    assert!(ids.iter().any(|id| id == "more"), "{ids:?}");
    running.engine.shutdown().await;
    assert!(session.next().await.is_none(), "the stream ends with the engine");
}

/// In front of one service, calling nothing.
fn standing(reporter: &str, service: &str, policies_digest: &str) -> v1::WatchRequest {
    let mut request = hello(reporter, 1);
    let hello = request.hello.as_mut().unwrap();
    hello.services = vec![service.to_owned()];
    hello.standpoint = Some(v1::Standpoint::default());
    hello.policies_digest = policies_digest.to_owned();
    request
}

fn of_service(id: &str, service: &str) -> String {
    format!("@id(\"{id}\") permit (principal, action, resource == Service::\"{service}\");\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_pushed_as_a_delta_to_those_it_concerns() {
    let running = Running::start().await;
    running
        .write_policy("access/shop.cedar", &(of_service("cart", "shop/cart") + &of_service("catalog", "shop/catalog")));
    wait_for("two policies", async || running.number("SELECT count(*) FROM policies WHERE id = 'cart'").await == 1)
        .await;
    let mut cart = running.engine.watch(&standing("cart-1", "shop/cart", "")).unwrap();
    let mut catalog = running.engine.watch(&standing("catalog-1", "shop/catalog", "")).unwrap();
    let ids = |policies: &[v1::Policy]| policies.iter().map(|policy| policy.id.clone()).collect::<Vec<_>>();
    let first = next_with(&mut cart, |snapshot| snapshot.whole).await.policies.unwrap();
    assert!(ids(&first.access).contains(&"cart".to_owned()) && !ids(&first.access).contains(&"catalog".to_owned()));
    let held = next_with(&mut catalog, |snapshot| snapshot.whole).await.policies.unwrap().digest;

    let edited = of_service("cart", "shop/cart") + &of_service("cart-too", "shop/cart");
    running.write_policy("access/shop.cedar", &(edited + &of_service("catalog", "shop/catalog")));
    let pushed =
        next_with(&mut cart, |snapshot| snapshot.policies.is_some() || snapshot.policies_delta.is_some()).await;
    let delta = pushed.policies_delta.expect("a delta");
    assert_eq!((&delta.from, delta.access.len(), delta.shaping.len()), (&first.digest, 1, 0));
    assert_eq!((ids(&delta.access[0].added), delta.access[0].removed), (vec!["cart-too".to_owned()], 0));
    assert!(delta.entities.is_none());

    // Nothing is pushed to the other, and it enforces the newest policies all the same.
    let version = i64::try_from(running.engine.status().policies.version).unwrap();
    let enforced = format!("SELECT count(*) FROM reporters WHERE policies_version = {version}");
    wait_for("both enforce it", async || {
        // It has signals and leases to say, perhaps; of policies nothing.
        if let Ok(Some(snapshot)) = tokio::time::timeout(std::time::Duration::from_millis(5), catalog.next()).await {
            assert!(snapshot.policies.is_none() && snapshot.policies_delta.is_none(), "{snapshot:?}");
            catalog.heard(&v1::WatchRequest { acknowledged_version: snapshot.version, ..v1::WatchRequest::default() });
        }
        running.number(&enforced).await == 2
    })
    .await;
    let pushes = "SELECT count(*) FROM decisions WHERE cause = 'policies' AND reporter = 'catalog-1'";
    assert_eq!(running.number(pushes).await, 0);
    let slices = "SELECT count(DISTINCT slice) FROM reporters WHERE policies > 0";
    assert_eq!(running.number(slices).await, 2);

    // One that comes back with what it holds is sent nothing anew; one that comes back with an older slice, what has changed.
    let first_again = |snapshot: v1::Snapshot| {
        assert!(snapshot.whole && snapshot.policies.is_none());
        snapshot.policies_delta.unwrap()
    };
    drop((cart, catalog));
    let mut catalog = running.engine.watch(&standing("catalog-1", "shop/catalog", &held)).unwrap();
    let again = first_again(next(&mut catalog).await);
    assert_eq!((&again.from, &again.digest, again.access.len()), (&held, &held, 0));
    let mut cart = running.engine.watch(&standing("cart-1", "shop/cart", &first.digest)).unwrap();
    let again = first_again(next(&mut cart).await);
    assert_eq!((&again.from, &again.digest), (&first.digest, &delta.digest));
    let mut unknown = running.engine.watch(&standing("cart-2", "shop/cart", "of another engine")).unwrap();
    assert!(next(&mut unknown).await.policies.is_some());
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_is_timed_and_shown() {
    let running = Running::start().await;
    let mut session = watch(&running.engine, "catalog-1");
    let first = next(&mut session).await;
    let behind = "SELECT count(*) FROM reporters WHERE behind";
    assert_eq!(running.number(behind).await, 1);
    session.heard(&v1::WatchRequest { acknowledged_version: first.version, ..v1::WatchRequest::default() });
    assert_eq!(running.number(behind).await, 0);
    let query = "SELECT count(*) FROM decisions WHERE reporter = 'catalog-1' AND cause = 'connected' \
                 AND latency_us >= 0 AND acknowledged_at >= pushed_at";
    assert_eq!(running.number(query).await, 1);
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_are_pushed_when_they_change_and_only_then() {
    let running = Running::start().await;
    let mut session = watch(&running.engine, "catalog-1");
    assert!(next(&mut session).await.signals.is_empty());
    running.report("catalog-1", &[request("catalog-1")]).await;
    let pushed = next_with(&mut session, |snapshot| !snapshot.signals.is_empty()).await;
    let entity = &pushed.signals[0];
    assert_eq!((entity.entity_type.as_str(), entity.entity_id.as_str()), ("Service", "shop/catalog"));
    assert!(entity.signals.iter().any(|signal| signal.name == "p99_ms"), "{entity:?}");
    assert!(pushed.policies.is_none());
    let history = "SELECT count(*) FROM signals WHERE entity = 'shop/catalog' AND signal = 'p99_ms' AND integer = 1";
    // A run sees the last ten seconds; on a machine so slow that one run takes as long, only new requests keep the signal alive.
    wait_for("the history", async || {
        running.report("catalog-1", &[request("catalog-1")]).await;
        running.number(history).await > 1
    })
    .await;
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_the_newest_state_only() {
    let running = Running::start().await;
    let mut session = watch(&running.engine, "catalog-1");
    let _ = next(&mut session).await;
    for number in 0..3 {
        let text = format!("@id(\"edit-{number}\") permit (principal, action, resource);");
        running.write_policy("access/more.cedar", &text);
        let id = format!("edit-{number}");
        let query = format!("SELECT count(*) FROM policies WHERE id = '{id}'");
        wait_for("the edit", async || running.number(&query).await == 1).await;
    }
    let policies = next_with(&mut session, |snapshot| snapshot.policies.is_some()).await.policies.unwrap();
    assert!(policies.access.iter().any(|policy| policy.id == "edit-2"));
    let version = running.engine.status().policies.version;
    let pushes = "SELECT count(*) FROM decisions WHERE cause = 'policies'";
    assert_eq!(running.number(pushes).await, 1);
    assert!(version > 0);
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_stream_replaces_the_older_and_an_older_run_is_refused() {
    let running = Running::start().await;
    let mut older = running.engine.watch(&hello("catalog-1", 5)).unwrap();
    let _ = next(&mut older).await;
    let error = running.engine.watch(&hello("catalog-1", 4)).err().unwrap();
    assert!(matches!(error, SessionError::Superseded { .. }), "{error}");
    let mut newer = running.engine.watch(&hello("catalog-1", 6)).unwrap();
    assert!(next(&mut newer).await.whole);
    assert!(older.next().await.is_none());
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_snapshot_is_shown_and_the_next_change_starts_over() {
    let running = Running::start().await;
    let mut session = watch(&running.engine, "catalog-1");
    let _ = next(&mut session).await;
    let refused = "the schema is unknown".to_owned();
    session.heard(&v1::WatchRequest { refused, ..v1::WatchRequest::default() });
    assert_eq!(running.number("SELECT count(*) FROM reporters WHERE refused = 'the schema is unknown'").await, 1);
    running.write_policy("access/more.cedar", "@id(\"more\") permit (principal, action, resource);");
    assert!(tokio::time::timeout(PATIENCE, session.next()).await.unwrap().is_none(), "the reporter has to come back");
    drop(session);
    assert!(next(&mut watch(&running.engine, "catalog-1")).await.whole);
    running.engine.shutdown().await;
}
