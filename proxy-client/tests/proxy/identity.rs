//! Who calls.

use http::StatusCode;

use crate::backend;
use crate::client::{Protocol, get, send};
use crate::engine::{Engine, snapshot};
use crate::harness::{PERMIT_ALL, Running};

const ONLY_STOREFRONT: &str = r#"@id("store") permit (principal == Service::"shop/storefront", action, resource);"#;
const CLAIM: (&str, &str) = ("x-tollgate-source", "shop/storefront");

#[tokio::test]
async fn a_claim_is_stripped_and_its_caller_anonymous_by_default() {
    let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
    let proxy = Running::inbound(&engine, backend::start().await, "").await;
    let answer = send(proxy.inbound_address(), Protocol::Http1, get("/", &[CLAIM])).await;
    assert!(!answer.body.contains("x-tollgate-source"), "{}", answer.body);
    assert_eq!(engine.rows(1).await[0]["source"], "");

    engine.push(snapshot(2, ONLY_STOREFRONT, "")).await;
    let answer = send(proxy.inbound_address(), Protocol::Http1, get("/", &[CLAIM])).await;
    assert_eq!((answer.status, &answer.json()["reason"]), (StatusCode::FORBIDDEN, &"no_permit".into()));
}

#[tokio::test]
async fn a_claim_is_believed_where_that_is_asked_for() {
    let engine = Engine::start(snapshot(1, ONLY_STOREFRONT, ""));
    let proxy = Running::inbound(&engine, backend::start().await, "identity: header").await;
    let status =
        async |headers: &[(&str, &str)]| send(proxy.inbound_address(), Protocol::Http1, get("/", headers)).await.status;
    assert_eq!(status(&[CLAIM]).await, StatusCode::OK);
    assert_eq!(status(&[("x-tollgate-source", "shop/other")]).await, StatusCode::FORBIDDEN);
    assert_eq!(status(&[]).await, StatusCode::FORBIDDEN);
    assert_eq!(status(&[("x-tollgate-source", "nobody")]).await, StatusCode::BAD_REQUEST);
    assert_eq!(status(&[CLAIM, ("x-tollgate-source", "shop/other")]).await, StatusCode::BAD_REQUEST);
    // A claim that is declared to belong to the connection only is none.
    assert_eq!(status(&[CLAIM, ("connection", "x-tollgate-source")]).await, StatusCode::FORBIDDEN);
    let rows = engine.rows(6).await;
    assert_eq!((&*rows[0]["source"], &*rows[0]["source_namespace"]), ("shop/storefront", "shop"));
}
