//! Bodies that come little by little.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::backend;
use crate::client::{Protocol, collect, get, open, send};
use crate::engine::{Engine, snapshot};
use crate::harness::{PERMIT_ALL, Running, inbound_yaml};

/// Each piece comes back before the next one is sent: nothing on the way collects the body.
#[tokio::test]
async fn bodies_are_passed_on_piece_by_piece() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
        let backend = format!("h2c://{}", backend::start().await);
        let proxy = Running::start(engine.address, &inbound_yaml(backend, ""));
        engine.wait(|received| received.acknowledged.contains(&1)).await;
        let (frames, stream) = mpsc::channel::<Result<_, std::convert::Infallible>>(1);
        let body = StreamBody::new(ReceiverStream::new(stream));
        let request = Request::post("/echo").header("host", "catalog.shop").body(body).unwrap();
        frames.send(Ok(Frame::data(Bytes::from_static(b"first")))).await.unwrap();
        let mut response = open(proxy.inbound_address(), protocol, request).await;
        let mut next = async || response.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(next().await, "first");
        for piece in ["second", "third"] {
            frames.send(Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).await.unwrap();
            assert_eq!(next().await, piece);
        }
        drop(frames);
        assert_eq!(collect(response).await.body, "");
        let row = &engine.rows(1).await[0];
        assert_eq!((&*row["request_bytes"], &*row["response_bytes"]), ("16", "16"));
        assert_eq!(row["response_flags"], "");
    }
}

#[tokio::test]
async fn grpc_trailers_pass_and_are_recorded() {
    let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
    let backend = format!("h2c://{}", backend::start().await);
    let proxy = Running::start(engine.address, &inbound_yaml(backend, ""));
    engine.wait(|received| received.acknowledged.contains(&1)).await;
    let request = get("/grpc.Echo/Call", &[("content-type", "application/grpc"), ("te", "trailers")]);
    let answer = send(proxy.inbound_address(), Protocol::Http2, request).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.trailers["grpc-status"], "5");
    let row = &engine.rows(1).await[0];
    assert_eq!((&*row["protocol"], &*row["status"], &*row["grpc_status"]), ("grpc", "200", "5"));
}

#[tokio::test]
async fn connections_to_the_upstream_are_used_again() {
    let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
    let proxy = Running::inbound(&engine, backend::start().await, "workers: 1").await;
    for _ in 0..20 {
        send(proxy.inbound_address(), Protocol::Http1, get("/", &[])).await;
    }
    let metrics = send(proxy.addresses.admin.unwrap(), Protocol::Http1, get("/metrics", &[])).await.body;
    assert!(metrics.contains("tollgate_proxy_upstream_connections 1\n"), "{metrics}");
}
