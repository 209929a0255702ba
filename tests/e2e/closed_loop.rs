//! The ten hops of the loop, in order, as ARCHITECTURE.md walks them.

use crate::harness::{Backend, Client, Engine, Proxy, Workspace, eventually, until};

const ACCESS: &str = "\
@id(\"shop-inside\") permit (principal in Namespace::\"shop\", action, resource in Namespace::\"shop\");
";

const SIGNALS: &str = "\
-- entity: Service
-- every: 1s
SELECT destination AS service, count(*) AS requests FROM requests
WHERE direction = 'inbound' AND time > now() - INTERVAL '60 seconds' GROUP BY destination
";

/// Forbids by the signal what was permitted before.
const ACCESS_BY_SIGNAL: &str = "\
@id(\"shop-inside\") permit (principal in Namespace::\"shop\", action, resource in Namespace::\"shop\");
@id(\"too-busy\") forbid (principal, action, resource == Service::\"shop/catalog\")
when { resource.signals has requests && resource.signals.requests > 3 };
";

#[tokio::test(flavor = "multi_thread")]
async fn walks_the_ten_hops_in_order() {
    let workspace = Workspace::new(&[("access/shop.cedar", ACCESS), ("signals/service.sql", SIGNALS)]);
    let engine = Engine::start(&workspace).await;
    let backend = Backend::start().await;
    let catalog = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
    let storefront = Proxy::start(
        &workspace,
        "storefront-1",
        &format!(
            "name: storefront-1\nengine: http://{}\nservice: shop/storefront\nworkers: 1\n\
             outbound: {{ listen: 127.0.0.1:0 }}\nservices:\n  shop/catalog: [{}]\n",
            engine.grpc,
            catalog.inbound()
        ),
    )
    .await;
    let payments = Proxy::in_front_of(&workspace, &engine, "payments-1", "shop/payments", backend.address).await;
    engine.wait_enforced(3).await;

    // 1. Observe: the storefront calls the catalog through the proxy beside it.
    let mut caller = Client::new(storefront.outbound());
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let headers = [("host", "catalog.shop"), ("traceparent", &format!("00-{trace}-b7ad6b7169203331-01") as &str)];
    let answer = caller.send("GET", "/items/7?secret=1", &headers, b"").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = backend.last();
    assert_eq!(seen.path, "/items/7");
    assert!(seen.header("traceparent").starts_with(&format!("00-{trace}-")), "{:?}", seen.headers);
    assert!(!seen.header("traceparent").contains("b7ad6b7169203331"), "each proxy makes a span of its own");
    assert!(!seen.header("x-request-id").is_empty());

    // 2. to 5. Batch, stream, admit, keep: both proxies' rows arrive and are acknowledged.
    until("both rows are kept", || async { engine.number("SELECT count(*) FROM requests").await == 2 }).await;

    // 6. Query: both sides of the call, one trace.
    let rows = engine
        .sql(&format!(
            "SELECT direction, reporter, source, destination, method, path, route, status, decision, reason, policies, \
             snapshot, request_id, encode(span_id, 'hex') AS span FROM requests \
             WHERE encode(trace_id, 'hex') = '{trace}' ORDER BY direction"
        ))
        .await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    let (inbound, outbound) = (&rows[0], &rows[1]);
    assert_eq!(inbound["direction"], "inbound");
    assert_eq!(inbound["reporter"], "catalog-1");
    assert_eq!(inbound["source"], "shop/storefront");
    assert_eq!(inbound["destination"], "shop/catalog");
    assert_eq!(inbound["path"], "/items/7", "no query string is recorded");
    assert_eq!(inbound["route"], "/items/{id}");
    assert_eq!(inbound["decision"], "allow");
    assert_eq!(inbound["policies"], serde_json::json!(["shop-inside"]));
    assert_eq!(outbound["direction"], "outbound");
    assert_eq!(outbound["reporter"], "storefront-1");
    assert_eq!(outbound["request_id"], inbound["request_id"]);
    assert_ne!(outbound["span"], inbound["span"]);
    let first_snapshot = inbound["snapshot"].as_i64().unwrap();
    assert!(first_snapshot > 0);

    // 7. Signal: the SQL of the signal counts the inbound row, and only that.
    let signal = eventually("the signal is computed", || async {
        let query = "SELECT entity, signal, integer FROM signals ORDER BY time DESC LIMIT 1";
        engine.sql(query).await.into_iter().next()
    })
    .await;
    assert_eq!(signal, serde_json::json!({ "entity": "shop/catalog", "signal": "requests", "integer": 1 }));

    // 8. and 9. Decide and push: an edit forbids by the signal; more requests tip it. The called service's proxy and the
    // caller's acknowledge a delta; it does not concern the third, which gets nothing and holds the newest all the same.
    workspace.write_policy("access/shop.cedar", ACCESS_BY_SIGNAL);
    until("both proxies acknowledge the edit", || async {
        let query = "SELECT count(*) FROM decisions WHERE cause = 'policies' AND acknowledged_at IS NOT NULL";
        engine.number(query).await == 2
    })
    .await;
    until("all three hold the newest policies", || async {
        let newest = engine.get("/readyz").await.json()["policies"]["version"].clone();
        engine.number(&format!("SELECT count(*) FROM reporters WHERE policies_version = {newest}")).await == 3
    })
    .await;
    let held = engine.sql("SELECT name, policies FROM reporters ORDER BY name").await;
    let held: Vec<_> = held.iter().map(|row| row["policies"].as_i64().unwrap()).collect();
    assert_eq!(held, [2, 1, 2], "catalog-1, payments-1, storefront-1");
    let pushed = "SELECT count(*) FROM decisions WHERE cause = 'policies' AND reporter = 'payments-1'";
    assert_eq!(engine.number(pushed).await, 0);
    let is_denied = async || {
        let answer = caller.send("GET", "/items/8", &[("host", "catalog.shop")], b"").await.unwrap();
        (answer.status == 403).then_some(answer)
    };
    let mut is_denied = is_denied;
    let denied = loop {
        // 10. Enforce: the next request is decided by it.
        if let Some(denied) = is_denied().await {
            break denied;
        }
        assert!(engine.number("SELECT count(*) FROM requests WHERE direction = 'inbound'").await < 500, "never denied");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(denied.header("content-type"), "application/problem+json");
    assert_eq!(denied.json()["policies"], serde_json::json!(["too-busy"]));

    let why = eventually("the refusal is in SQL", || async {
        engine.sql("SELECT policies, reason, snapshot, reporter FROM requests WHERE decision = 'deny' ORDER BY time LIMIT 1").await.into_iter().next()
    })
    .await;
    assert_eq!(why["policies"], serde_json::json!(["too-busy"]));
    assert_eq!(why["reason"], "forbidden");
    assert!(why["snapshot"].as_i64().unwrap() > first_snapshot);

    catalog.stop().await;
    storefront.stop().await;
    payments.stop().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_lost_when_everything_stops_in_order() {
    let workspace = Workspace::new(&[("access/all.cedar", "@id(\"all\") permit (principal, action, resource);")]);
    let engine = Engine::start(&workspace).await;
    let backend = Backend::start().await;
    let proxy = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
    engine.wait_enforced(1).await;

    let mut client = Client::new(proxy.inbound());
    for n in 0..500 {
        assert_eq!(client.get_as("shop/storefront", &format!("/items/{n}")).await.status, 200);
    }
    // The last rows are still with the proxy: it sends them before it ends.
    proxy.stop().await;
    assert_eq!(engine.number("SELECT count(*) FROM requests").await, 500);
    assert_eq!(engine.number("SELECT count(DISTINCT path) FROM requests").await, 500);
    engine.stop().await;
}
