//! What HTTP asks of a proxy, on real connections.

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::backend;
use crate::client::{Protocol, get, raw, send};
use crate::engine::{Engine, snapshot};
use crate::harness::{PERMIT_ALL, Running};

async fn proxy(engine: &Engine, more: &str) -> Running {
    Running::inbound(engine, backend::start().await, more).await
}

#[tokio::test]
async fn malformed_requests_are_refused_and_recorded() {
    let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
    let proxy = proxy(&engine, "").await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\nconnection: close\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n", "400"),
        ("GET /a/../b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "400"),
        ("GET /a%2fb HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\nconnection: close\r\n\r\n0\r\n\r\n", "501"),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\nconnection: close\r\n\r\n", "501"),
        ("GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade, close\r\n\r\n", "501"),
        ("GET / HTTP/1.1\r\nhost: a\r\nexpect: miracles\r\nconnection: close\r\n\r\n", "417"),
    ] {
        let before = engine.received(|received| received.rows.len());
        let answer = raw(proxy.inbound_address(), request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {answer}");
        let rows = engine.rows(before + 1).await;
        let row = rows.last().unwrap();
        assert_eq!((&*row["status"], &*row["reason"], &*row["decision"]), (status, "bad_request", "deny"));
    }
}

#[tokio::test]
async fn nothing_that_belongs_to_one_connection_is_passed_on() {
    let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
    let proxy = proxy(&engine, "").await;
    let request = "GET http://real.host/x?y HTTP/1.1\r\nhost: other\r\nconnection: x-one\r\nconnection: close, x-two\r\n\
                   x-one: 1\r\nx-two: 2\r\nx-three: 3\r\nkeep-alive: 5\r\nupgrade: h2c\r\nte: trailers\r\n\r\n";
    let answer = raw(proxy.inbound_address(), request).await;
    for expected in ["GET /x?y HTTP/1.1", "host: real.host", "x-three: 3", "te: trailers", "via: 1.1 tollgate"] {
        assert!(answer.contains(expected), "{expected} is missing in\n{answer}");
    }
    for unexpected in ["x-one", "x-two", "keep-alive", "upgrade"] {
        assert!(!answer.contains(unexpected), "{unexpected} was passed on in\n{answer}");
    }
    let answer = send(proxy.inbound_address(), Protocol::Http1, get("/head/keeps", &[])).await;
    assert_eq!(answer.header("x-hop"), "");
}

/// What comes after such a request on the same connection would be read differently by different servers.
#[tokio::test]
async fn two_lengths_become_one_and_end_the_connection() {
    let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
    let proxy = proxy(&engine, "").await;
    let request = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 30\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
                   GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = raw(proxy.inbound_address(), request).await;
    assert!(answer.contains("connection: close") && !answer.contains("content-length: 30"), "{answer}");
    assert!(!answer.contains("smuggled"), "{answer}");
}

#[tokio::test]
async fn bad_chunks_are_the_callers_fault() {
    let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
    let proxy = proxy(&engine, "").await;
    let request = "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n";
    let answer = raw(proxy.inbound_address(), request).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 200"), "{answer}");
    let row = &engine.rows(1).await[0];
    assert_ne!(row["status"], "502", "{row:#?}");
}

#[tokio::test]
async fn a_stale_connection_is_not_the_callers_problem() {
    // A backend that answers one request on each connection and then closes it without a word.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        }
    });
    let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
    let proxy = Running::inbound(&engine, backend, "workers: 1").await;
    for _ in 0..50 {
        let answer = send(proxy.inbound_address(), Protocol::Http1, get("/", &[])).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_slow_upstream_is_a_gateway_timeout() {
    let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
    let proxy = proxy(&engine, "timeouts: { upstream: 50ms }").await;
    let answer = send(proxy.inbound_address(), Protocol::Http1, get("/never", &[])).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(engine.rows(1).await[0]["response_flags"], "upstream_timeout");
}

#[tokio::test]
async fn a_caller_who_goes_away_is_recorded() {
    let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
    let proxy = proxy(&engine, "").await;
    let mut stream = TcpStream::connect(proxy.inbound_address()).await.unwrap();
    stream.write_all(b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    let row = &engine.rows(1).await[0];
    assert_eq!((&*row["status"], &*row["response_flags"]), ("", "downstream_reset"));
}

#[tokio::test]
async fn the_admin_listener_tells_how_it_is() {
    let engine = Engine::start(snapshot(4, PERMIT_ALL, ""));
    let proxy = proxy(&engine, "").await;
    send(proxy.inbound_address(), Protocol::Http1, get("/missing", &[])).await;
    engine.rows(1).await;
    let admin = proxy.addresses.admin.unwrap();
    let ask = async |path: &str| send(admin, Protocol::Http1, get(path, &[])).await;
    assert_eq!(ask("/healthz").await.status, StatusCode::OK);
    assert_eq!(ask("/readyz").await.body, "ready\n");
    assert_eq!(ask("/config").await.json()["service"], "shop/catalog");
    let metrics = ask("/metrics").await.body;
    for expected in [
        "tollgate_proxy_requests_total{direction=\"inbound\",decision=\"allow\",status=\"4xx\"} 1",
        "tollgate_proxy_request_duration_seconds_count{direction=\"inbound\"} 1",
        "tollgate_proxy_snapshot_version 4",
        "tollgate_proxy_connected{stream=\"watch\"} 1",
        "tollgate_proxy_rows_dropped_total{reason=\"buffer_full\"} 0",
        "# EOF",
    ] {
        assert!(metrics.contains(expected), "{expected} is missing in\n{metrics}");
    }
}
