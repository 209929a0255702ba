//! A service as the proxy's users have them: it tells what it got, echoes bodies, and can be slow.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;

type Body = BoxBody<Bytes, hyper::Error>;

/// Serves HTTP/1.1 and HTTP/2 on a free port, as long as the test's runtime lives.
pub(crate) async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    });
    address
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    Ok(match request.uri().path() {
        "/echo" => Response::new(request.into_body().boxed()),
        "/grpc.Echo/Call" => grpc(),
        "/never" => std::future::pending().await,
        "/head/keeps" => Response::builder().header("connection", "x-hop").header("x-hop", "1").body(full("")).unwrap(),
        "/missing" => Response::builder().status(StatusCode::NOT_FOUND).body(full("nothing\n")).unwrap(),
        _ => Response::new(full(&seen(&request))),
    })
}

/// What the request looked like: its target and every header, one a line.
fn seen(request: &Request<Incoming>) -> String {
    let target = request.uri().path_and_query().map_or("", |path| path.as_str());
    let mut lines = vec![format!("{} {target} {:?}", request.method(), request.version())];
    lines.extend(request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())));
    lines.extend(request.uri().authority().map(|authority| format!(":authority: {authority}")));
    lines.join("\n")
}

fn grpc() -> Response<Body> {
    let (frames, stream) = tokio::sync::mpsc::channel(2);
    let trailers =
        HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("5"))]);
    frames.try_send(Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\0")))).unwrap();
    frames.try_send(Ok(Frame::trailers(trailers))).unwrap();
    let body = StreamBody::new(ReceiverStream::new(stream)).boxed();
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

fn full(text: &str) -> Body {
    Full::new(Bytes::copy_from_slice(text.as_bytes())).map_err(|never| match never {}).boxed()
}
