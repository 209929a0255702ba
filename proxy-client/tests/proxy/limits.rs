//! How much.

use http::StatusCode;

use crate::backend;
use crate::client::{Protocol, get, send};
use crate::engine::{Engine, snapshot};
use crate::harness::{PERMIT_ALL, Running};

const TWO_A_DAY: &str = r#"@id("two") @limit("2/d") @burst("2") permit (principal, action, resource);"#;

#[tokio::test]
async fn limits_with_the_headers_that_say_when_to_come_back() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let engine = Engine::start(snapshot(1, PERMIT_ALL, TWO_A_DAY));
        let proxy = Running::inbound(&engine, backend::start().await, "").await;
        for _ in 0..2 {
            assert_eq!(send(proxy.inbound_address(), protocol, get("/", &[])).await.status, StatusCode::OK);
        }
        let answer = send(proxy.inbound_address(), protocol, get("/", &[])).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        let after: u64 = answer.header("retry-after").parse().unwrap();
        assert!((40_000..=43_500).contains(&after), "{after}");
        assert_eq!(answer.header("ratelimit"), format!("\"two\";r=0;t={after}"));
        assert_eq!(answer.header("ratelimit-policy"), "\"two\";q=2;w=86400");
        assert_eq!(answer.json()["policies"], serde_json::json!(["two"]));
        assert_eq!(answer.json()["reason"], "rate");

        let rows = engine.rows(3).await;
        assert_eq!((&*rows[2]["decision"], &*rows[2]["reason"], &*rows[2]["status"]), ("limit", "rate", "429"));
    }
}

#[tokio::test]
async fn a_limited_grpc_call_is_told_that_a_resource_is_exhausted() {
    let engine = Engine::start(snapshot(1, PERMIT_ALL, TWO_A_DAY));
    let proxy = Running::inbound(&engine, backend::start().await, "").await;
    let call = async || {
        let request = get("/shop.Catalog/List", &[("content-type", "application/grpc")]);
        send(proxy.inbound_address(), Protocol::Http2, request).await
    };
    call().await;
    call().await;
    let answer = call().await;
    assert_eq!((answer.status, answer.header("grpc-status")), (StatusCode::OK, "8"));
    assert!(!answer.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_queued_request_waits_for_its_token() {
    let shaping = r#"@id("queue") @limit("20/s") @burst("1") @queue("5s") permit (principal, action, resource);"#;
    let engine = Engine::start(snapshot(1, PERMIT_ALL, shaping));
    let proxy = Running::inbound(&engine, backend::start().await, "").await;
    for _ in 0..3 {
        assert_eq!(send(proxy.inbound_address(), Protocol::Http1, get("/", &[])).await.status, StatusCode::OK);
    }
    let queued = |row: &crate::engine::Row| row["queued_us"].parse::<u64>().unwrap();
    let rows = engine.rows(3).await;
    assert!(rows.iter().any(|row| queued(row) > 0), "{rows:#?}");
}
