//! The end of a proxy.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tollgate_proxy_client::Proxy;

use crate::backend;
use crate::client::{Protocol, collect, get, open, send};
use crate::engine::{Engine, snapshot};
use crate::harness::{PERMIT_ALL, Running};

#[tokio::test]
async fn finishes_what_is_under_way_and_hands_over_the_last_rows() {
    let engine = Engine::start(snapshot(1, PERMIT_ALL, ""));
    // Rows would stay in their batch for an hour.
    let proxy = Running::inbound(&engine, backend::start().await, "buffers: { batch_age: 1h }").await;
    let address = proxy.inbound_address();
    send(address, Protocol::Http1, get("/before", &[])).await;

    let (frames, stream) = mpsc::channel::<Result<_, std::convert::Infallible>>(1);
    let request =
        Request::post("/echo").header("host", "a").body(StreamBody::new(ReceiverStream::new(stream))).unwrap();
    frames.send(Ok(Frame::data(Bytes::from_static(b"first")))).await.unwrap();
    let mut response = open(address, Protocol::Http1, request).await;
    assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "first");

    proxy.begin_to_stop();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    frames.send(Ok(Frame::data(Bytes::from_static(b"last")))).await.unwrap();
    drop(frames);
    assert_eq!(collect(response).await.body, "last");
    proxy.stop().await.unwrap();
    let mut paths: Vec<_> = engine.received(|received| received.rows.iter().map(|row| row["path"].clone()).collect());
    paths.sort();
    assert_eq!(paths, ["/before", "/echo"]);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let yaml = format!("service: shop/a\ninbound: {{ listen: \"{address}\", forward: 127.0.0.1:1 }}");
    let config = tollgate_proxy_client::ProxyConfig::parse("proxy.yaml".as_ref(), &yaml).unwrap();
    let error = Proxy::start(config, std::future::pending()).map(|_| ()).unwrap_err();
    let expected = format!("port {} is in use: `inbound.listen: {address}` cannot listen there", address.port());
    assert_eq!(format!("{error:#}"), expected);
}
