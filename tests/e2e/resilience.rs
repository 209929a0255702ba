//! Things that break: the engine goes away, garbage arrives, a proxy dies.

use tollgate_api::v1::{self, report_request::Message};

use crate::harness::{Backend, Client, Engine, Proxy, Workspace, eventually, until};

const PERMIT: &str = "@id(\"all\") permit (principal in Namespace::\"shop\", action, resource);\n";

#[tokio::test(flavor = "multi_thread")]
async fn without_the_engine_the_proxy_goes_on_and_keeps_its_rows() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let engine = Engine::start(&workspace).await;
    let grpc = engine.grpc;
    let backend = Backend::start().await;
    let proxy = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
    engine.wait_enforced(1).await;
    let snapshot = engine.number("SELECT acknowledged_version FROM reporters").await;
    engine.kill().await;

    let mut client = Client::new(proxy.inbound());
    for n in 0..200 {
        assert_eq!(client.get_as("shop/a", &format!("/items/{n}")).await.status, 200);
        assert_eq!(client.get_as("elsewhere/b", "/").await.status, 403, "it still enforces the last snapshot");
    }

    let engine = Engine::start_at(&workspace, grpc, "").await;
    until("the rows of the outage arrive", || async { engine.number("SELECT count(*) FROM requests").await == 400 })
        .await;
    engine.wait_enforced(1).await;
    let again = engine.number("SELECT acknowledged_version FROM reporters").await;
    assert!(again > snapshot, "versions go on rising over a restart: {snapshot}, then {again}");
    proxy.stop().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_never_saw_the_engine_refuses_and_says_why() {
    let workspace = Workspace::new(&[]);
    let backend = Backend::start().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let yaml = format!(
        "name: a-1\nengine: http://{nobody}\nservice: shop/a\nworkers: 1\ninbound: {{ listen: 127.0.0.1:0, forward: {} }}\n",
        backend.address
    );
    let proxy = Proxy::start(&workspace, "a-1", &yaml).await;
    let answer = Client::new(proxy.inbound()).get_as("shop/a", "/").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.json()["reason"], "no_snapshot");
    assert_eq!(backend.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_beyond_the_bound_are_dropped_and_the_loss_is_reported() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let engine = Engine::start(&workspace).await;
    let grpc = engine.grpc;
    let backend = Backend::start().await;
    let yaml = format!(
        "name: small-1\nengine: http://{grpc}\nservice: shop/catalog\nidentity: header\nworkers: 1\n\
         inbound: {{ listen: 127.0.0.1:0, forward: {} }}\nbuffers: {{ bytes: 64KiB }}\n",
        backend.address
    );
    let proxy = Proxy::start(&workspace, "small-1", &yaml).await;
    engine.wait_enforced(1).await;
    engine.kill().await;

    let mut client = Client::new(proxy.inbound());
    let sent = 3_000;
    for n in 0..sent {
        assert_eq!(client.get_as("shop/a", &format!("/{}/{n}", "x".repeat(300))).await.status, 200);
    }
    let engine = Engine::start_at(&workspace, grpc, "").await;
    until("kept and lost rows are all that were sent", || async {
        let kept = engine.number("SELECT count(*) FROM requests").await;
        let lost = engine.number("SELECT CAST(coalesce(sum(lost_rows), 0) AS BIGINT) FROM reporters").await;
        kept + lost == sent && lost > 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_batch_is_rejected_and_the_stream_lives_on() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let engine = Engine::start(&workspace).await;
    let mut telemetry =
        v1::telemetry_client::TelemetryClient::connect(format!("http://{}", engine.grpc)).await.unwrap();

    let hello = v1::ReportHello { reporter: "fuzzer".into(), epoch: 1, agent: "test".into() };
    let mut messages = vec![Message::Hello(hello)];
    let garbage: [&[u8]; 4] = [b"", b"garbage", &[0xff; 1_000], b"\xff\xff\xff\xff\xff\xff\xff\x7f"];
    for (sequence, bytes) in (1..).zip(garbage) {
        messages.push(Message::Batch(v1::Batch { sequence, arrow_ipc: bytes.to_vec().into() }));
    }
    let count = garbage.len() as u64;
    let requests = messages.into_iter().map(|message| v1::ReportRequest { message: Some(message) });
    let mut answers = telemetry.report(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let mut rejected = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        rejected.extend(answer.rejections);
        if answer.acknowledged_sequence == count {
            break;
        }
    }
    assert_eq!(rejected.len() as u64, count, "{rejected:?}");
    assert!(rejected.iter().all(|rejection| !rejection.message.is_empty()), "{rejected:?}");
    let metrics = engine.get("/metrics").await.text();
    assert!(metrics.contains("malformed"), "{metrics}");
    assert_eq!(engine.number("SELECT count(*) FROM requests").await, 0);
    assert_eq!(engine.get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_proxy_is_seen_as_gone_and_its_successor_takes_over() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let engine = Engine::start(&workspace).await;
    let backend = Backend::start().await;
    let proxy = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
    engine.wait_enforced(1).await;
    assert_eq!(Client::new(proxy.inbound()).get_as("shop/a", "/").await.status, 200);
    until("its row is kept", || async { engine.number("SELECT count(*) FROM requests").await == 1 }).await;
    proxy.kill().await;
    until("it is seen as gone", || async {
        engine.number("SELECT count(*) FROM reporters WHERE connected").await == 0
    })
    .await;

    let proxy = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
    engine.wait_enforced(1).await;
    assert_eq!(Client::new(proxy.inbound()).get_as("shop/a", "/").await.status, 200);
    until("the row of its successor is kept", || async { engine.number("SELECT count(*) FROM requests").await == 2 })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_sql_is_stopped_and_changes_nothing() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let engine =
        Engine::start_at(&workspace, "127.0.0.1:0".parse().unwrap(), "query: { timeout: 1s, rows_max: 1000 }\n").await;
    let check = async |query: &str, expected: &str| {
        let error = engine.try_sql(query).await.expect_err(query);
        assert!(error.contains(expected), "{query}: {error}");
    };
    check("SELEC 1", "SELEC").await;
    check("SELECT sorce FROM requests", "source").await;
    check("DROP TABLE requests", "nothing can be changed").await;
    check("INSERT INTO requests SELECT * FROM requests", "nothing can be changed").await;
    check("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", "nothing can be changed").await;
    check("COPY requests TO '/tmp/tollgate-out.csv'", "nothing can be changed").await;
    check("SELECT * FROM generate_series(1, 5000)", "rows").await;
    check(
        "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b WHERE a.value + b.value = 7",
        "1 s",
    )
    .await;
    assert_eq!(engine.number("SELECT 1").await, 1);

    let not_acceptable = eventually("an answer", || async {
        Client::new(engine.http).send("POST", "/v1/sql", &[("accept", "image/png")], b"SELECT 1").await.ok()
    })
    .await;
    assert_eq!(not_acceptable.status, 406);
}
