//! On the way out.

use http::StatusCode;

use crate::backend;
use crate::client::{Protocol, get, send};
use crate::engine::{Engine, snapshot};
use crate::harness::{PERMIT_ALL, Running, nowhere};

async fn outbound(engine: &Engine, services: &str) -> Running {
    outbound_with(engine, services, "").await
}

async fn outbound_with(engine: &Engine, services: &str, more: &str) -> Running {
    let yaml = format!("version: v7\noutbound: {{ listen: 127.0.0.1:0 }}\nservices: {services}\n{more}\n");
    let running = Running::start(engine.address, &yaml);
    engine.wait(|received| received.acknowledged.iter().any(|version| *version > 0)).await;
    running
}

#[tokio::test]
async fn forwards_by_host_and_signs_for_its_service() {
    let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
    let (one, h2) = (backend::start().await, backend::start().await);
    let proxy = outbound(&engine, &format!("{{ shop/payments: [\"{one}\"], ops/audit: [\"h2c://{h2}\"] }}")).await;
    let address = proxy.addresses.outbound.unwrap();
    let forged = [("x-tollgate-source", "bank/admin"), ("x-tollgate-source-version", "v0")];
    for (host, destination, version) in [
        ("payments", "shop/payments", "HTTP/1.1"),
        ("payments.shop.svc.cluster.local:80", "shop/payments", "HTTP/1.1"),
        ("Audit.ops", "ops/audit", "HTTP/2.0"),
    ] {
        let mut request = get("/pay", &forged);
        request.headers_mut().insert("host", host.parse().unwrap());
        let before = engine.received(|received| received.rows.len());
        let answer = send(address, Protocol::Http1, request).await;
        assert!(answer.body.starts_with(&format!("GET /pay {version}")), "{}", answer.body);
        assert!(answer.body.contains("x-tollgate-source: shop/catalog"), "{}", answer.body);
        assert!(answer.body.contains("x-tollgate-source-version: v7"), "{}", answer.body);
        assert!(!answer.body.contains("bank/admin"), "{}", answer.body);
        let rows = engine.rows(before + 1).await;
        let row = rows.last().unwrap();
        assert_eq!((&*row["direction"], &*row["source"]), ("outbound", "shop/catalog"));
        assert_eq!((&*row["destination"], &*row["decision"]), (destination, "allow"));
    }
}

#[tokio::test]
async fn an_unknown_service_is_a_bad_gateway() {
    let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
    let proxy = outbound(&engine, "{}").await;
    let answer = send(proxy.addresses.outbound.unwrap(), Protocol::Http1, get("/", &[])).await;
    assert_eq!((answer.status, &answer.json()["reason"]), (StatusCode::BAD_GATEWAY, &"unknown_service".into()));
    let row = &engine.rows(1).await[0];
    assert_eq!((&*row["decision"], &*row["reason"]), ("deny", "unknown_service"));
}

#[tokio::test]
async fn refuses_early_only_where_the_caller_is_believed() {
    let forbid = r#"
        permit (principal, action, resource);
        @id("no-refunds") forbid (principal, action, resource == Service::"shop/payments") when { context.path == "/refund" };
    "#;
    for (identity, status, decision, policies) in [
        ("identity: header", StatusCode::FORBIDDEN, "deny", "[no-refunds]"),
        ("identity: none", StatusCode::OK, "allow", ""),
    ] {
        let engine = Engine::start(snapshot(1, forbid, ""));
        let services = format!("{{ shop/payments: [\"{}\"] }}", backend::start().await);
        let proxy = outbound_with(&engine, &services, identity).await;
        let mut request = get("/refund", &[]);
        request.headers_mut().insert("host", "payments".parse().unwrap());
        let answer = send(proxy.addresses.outbound.unwrap(), Protocol::Http1, request).await;
        assert_eq!(answer.status, status, "{identity}");
        let row = &engine.rows(1).await[0];
        assert_eq!((&*row["direction"], &*row["decision"], &*row["policies"]), ("outbound", decision, policies));
    }
}

/// The called side sees that the request came through a proxy, and which span called it.
#[tokio::test]
async fn refuses_nothing_early_for_a_header_that_is_changed_on_the_way() {
    let forbid = r#"
        permit (principal, action, resource);
        @id("direct") forbid (principal, action, resource) unless { context.headers has via };
        @id("parent") forbid (principal, action, resource)
        when { context.headers has traceparent && context.headers.traceparent like "*" };
        @id("tenant") forbid (principal, action, resource) unless { context.headers has "x-tenant" };
    "#;
    let engine = Engine::start(snapshot(1, forbid, ""));
    let services = format!("{{ shop/payments: [\"{}\"] }}", backend::start().await);
    let proxy = outbound_with(&engine, &services, "identity: header").await;
    for (headers, status) in [(&[("x-tenant", "a")][..], StatusCode::OK), (&[], StatusCode::FORBIDDEN)] {
        let mut request = get("/", headers);
        request.headers_mut().insert("host", "payments".parse().unwrap());
        let answer = send(proxy.addresses.outbound.unwrap(), Protocol::Http1, request).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(status != StatusCode::OK || answer.body.contains("via: 1.1 tollgate"), "{}", answer.body);
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_reached_is_passed_over() {
    let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
    let services = format!("{{ shop/payments: [\"{}\", \"{}\"] }}", nowhere(), backend::start().await);
    let proxy = outbound(&engine, &services).await;
    for _ in 0..20 {
        let mut request = get("/", &[]);
        request.headers_mut().insert("host", "payments".parse().unwrap());
        let answer = send(proxy.addresses.outbound.unwrap(), Protocol::Http1, request).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_service_without_a_reachable_address_is_unavailable() {
    let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
    let proxy = outbound(&engine, &format!("{{ shop/payments: [\"{}\"] }}", nowhere())).await;
    let mut request = get("/", &[]);
    request.headers_mut().insert("host", "payments".parse().unwrap());
    let answer = send(proxy.addresses.outbound.unwrap(), Protocol::Http1, request).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let row = &engine.rows(1).await[0];
    assert_eq!((&*row["response_flags"], &*row["decision"]), ("upstream_connect", "allow"));
}
