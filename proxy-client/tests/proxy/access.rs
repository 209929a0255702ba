//! Who may call what.

use http::StatusCode;

use crate::client::{Protocol, get, send};
use crate::engine::{Engine, snapshot};
use crate::harness::{PERMIT_ALL, Running};
use crate::{backend, client};

const FORBID_ADMIN: &str = r#"
    @id("all") permit (principal, action, resource);
    @id("no-admin") forbid (principal, action, resource) when { context.path like "/admin*" };
"#;

#[tokio::test]
async fn allows_what_is_permitted_and_records_it() {
    let engine = Engine::start(snapshot(3, PERMIT_ALL, ""));
    let routes = "routes: [\"/items/{id}\"]\nheaders: [x-tenant]\nversion: v2";
    let proxy = Running::inbound(&engine, backend::start().await, routes).await;
    for (protocol, name) in [(Protocol::Http1, "http/1.1"), (Protocol::Http2, "http/2")] {
        let before = engine.received(|received| received.rows.len());
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let headers =
            [("x-request-id", "r-1"), ("traceparent", traceparent), ("x-tenant", "acme"), ("user-agent", "test")];
        let answer = send(proxy.inbound_address(), protocol, get("/items/7?secret=1", &headers)).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.body.starts_with("GET /items/7?secret=1 HTTP/1.1"), "{}", answer.body);
        assert!(answer.body.contains("x-request-id: r-1"));
        assert!(answer.body.contains("traceparent: 00-0af7651916cd43dd8448eb211c80319c-"));
        assert!(!answer.body.contains("b7ad6b7169203331"), "the span is the proxy's own");
        assert!(answer.body.contains("x-forwarded-for: 127.0.0.1"));

        let rows = engine.rows(before + 1).await;
        let row = rows.last().unwrap();
        for (column, expected) in [
            ("reporter", "catalog-1"),
            ("direction", "inbound"),
            ("source", ""),
            ("source_address", "127.0.0.1"),
            ("destination", "shop/catalog"),
            ("destination_namespace", "shop"),
            ("destination_version", "v2"),
            ("method", "GET"),
            ("host", "catalog.shop"),
            ("path", "/items/7"),
            ("route", "/items/{id}"),
            ("protocol", name),
            ("user_agent", "test"),
            ("status", "200"),
            ("response_flags", ""),
            ("decision", "allow"),
            ("reason", "permitted"),
            ("policies", "[test#1]"),
            ("priority", "normal"),
            ("snapshot", "3"),
            ("attempts", "1"),
            ("weight", "1"),
            ("request_id", "r-1"),
            ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
            ("labels", "{x-tenant: acme}"),
        ] {
            assert_eq!(row[column], expected, "{column}");
        }
        assert!(!format!("{row:?}").contains("secret"), "no query string is recorded");
        assert_eq!(row["response_bytes"], answer.body.len().to_string());
    }
}

#[tokio::test]
async fn denies_with_a_problem_that_names_the_policies() {
    let engine = Engine::start(snapshot(1, FORBID_ADMIN, ""));
    let proxy = Running::inbound(&engine, backend::start().await, "").await;
    // Other spellings of the same path do not get around the policy.
    for path in ["/admin/users", "//admin/users", "/%61dmin/users"] {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let answer = send(proxy.inbound_address(), protocol, get(path, &[("x-request-id", "r-9")])).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
            assert_eq!(answer.header("content-type"), "application/problem+json");
            let problem = answer.json();
            assert_eq!(problem["status"], 403);
            assert_eq!(problem["reason"], "forbidden");
            assert_eq!(problem["policies"], serde_json::json!(["no-admin"]));
            assert_eq!(problem["request_id"], "r-9");
        }
    }
    let row = &engine.rows(6).await[5];
    assert_eq!((&*row["decision"], &*row["reason"], &*row["policies"]), ("deny", "forbidden", "[no-admin]"));
    assert_eq!((&*row["status"], &*row["attempts"], &*row["path"]), ("403", "0", "/admin/users"));
}

#[tokio::test]
async fn says_nothing_about_policies_where_that_is_switched_off() {
    let engine = Engine::start(snapshot(1, FORBID_ADMIN, ""));
    let proxy = Running::inbound(&engine, backend::start().await, "problem_body: false").await;
    let answer = send(proxy.inbound_address(), Protocol::Http1, get("/admin", &[])).await;
    assert_eq!((answer.status, &*answer.body), (StatusCode::FORBIDDEN, ""));
}

#[tokio::test]
async fn answers_grpc_in_its_own_way() {
    let engine = Engine::start(snapshot(1, FORBID_ADMIN, ""));
    let backend = backend::start().await;
    let proxy = Running::inbound(&engine, backend, "").await;
    let request = get("/admin.Service/Call", &[("content-type", "application/grpc"), ("te", "trailers")]);
    let answer = send(proxy.inbound_address(), Protocol::Http2, request).await;
    assert_eq!((answer.status, answer.header("grpc-status")), (StatusCode::OK, "7"));
    assert_eq!(answer.header("grpc-message"), "a policy forbids the request");
    let row = &engine.rows(1).await[0];
    assert_eq!((&*row["protocol"], &*row["grpc_status"], &*row["decision"]), ("grpc", "7", "deny"));
}

#[tokio::test]
async fn a_new_snapshot_holds_from_its_acknowledgement_on() {
    let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
    let proxy = Running::inbound(&engine, backend::start().await, "").await;
    let status = async || send(proxy.inbound_address(), Protocol::Http1, get("/admin", &[])).await.status;
    assert_eq!(status().await, StatusCode::OK);
    engine.push(snapshot(2, FORBID_ADMIN, "")).await;
    assert_eq!(status().await, StatusCode::FORBIDDEN);
    engine.push(snapshot(3, PERMIT_ALL, "")).await;
    assert_eq!(status().await, StatusCode::OK);
    let snapshots: Vec<_> = engine.rows(3).await.iter().map(|row| row["snapshot"].clone()).collect();
    assert_eq!(snapshots, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_is_refused_and_the_last_one_stays() {
    let engine = Engine::start(snapshot(1, FORBID_ADMIN, ""));
    let proxy = Running::inbound(&engine, backend::start().await, "").await;
    let mut broken = snapshot(2, PERMIT_ALL, "");
    for policy in &mut broken.policies.as_mut().unwrap().access {
        policy.text = "permit (".to_owned();
    }
    engine.break_with(broken).await;
    let answer = client::send(proxy.inbound_address(), Protocol::Http1, get("/admin", &[])).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    engine.push(snapshot(3, PERMIT_ALL, "")).await;
    let answer = client::send(proxy.inbound_address(), Protocol::Http1, get("/admin", &[])).await;
    assert_eq!(answer.status, StatusCode::OK);
}
