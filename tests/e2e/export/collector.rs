//! A collector of telemetry: the receiving side of OTLP, by gRPC and by HTTP, made of the protocol's own generated services.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::server::ServerTlsConfig;
use tonic::transport::{Identity, Server};
use tonic::{Status, async_trait};

/// What arrived, and how to answer.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) records: Vec<LogRecord>,
    pub(crate) spans: Vec<ResourceSpans>,
    /// Values of the header `x-token`.
    pub(crate) tokens: Vec<String>,
    /// So many requests are turned away first, as by a collector that has no time.
    pub(crate) unavailable: usize,
    /// So many records of the next request are rejected.
    pub(crate) rejected: i64,
}

/// A listening collector.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    received: Shared,
    task: JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Received>>);

impl Collector {
    /// By gRPC, with this certificate and key where they are given.
    pub(crate) async fn grpc(identity: Option<(String, String)>) -> Self {
        let (listener, address) = listen().await;
        let received = Shared::default();
        let mut server = Server::builder();
        if let Some((cert, key)) = identity {
            server = server.tls_config(ServerTlsConfig::new().identity(Identity::from_pem(cert, key))).unwrap();
        }
        let server = server
            .add_service(LogsServiceServer::new(received.clone()))
            .add_service(TraceServiceServer::new(received.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move { server.await.unwrap() });
        Self { address, received, task }
    }

    /// By protobuf over HTTP/1.1.
    pub(crate) async fn http() -> Self {
        let (listener, address) = listen().await;
        let received = Shared::default();
        let shared = received.clone();
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let shared = shared.clone();
                let service = service_fn(move |request| answer(shared.clone(), request));
                let serving =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move { drop(serving.await) });
            }
        });
        Self { address, received, task }
    }

    pub(crate) fn received(&self) -> MutexGuard<'_, Received> {
        self.received.0.lock().unwrap()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

impl Shared {
    /// Whether the request is taken.
    fn enter(&self, token: Option<&str>) -> bool {
        let mut received = self.0.lock().unwrap();
        received.tokens.extend(token.map(str::to_owned));
        let is_taken = received.unavailable == 0;
        received.unavailable = received.unavailable.saturating_sub(1);
        is_taken
    }

    fn logs(&self, request: ExportLogsServiceRequest) -> ExportLogsServiceResponse {
        let mut received = self.0.lock().unwrap();
        let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        received.records.extend(scopes.flat_map(|scope| scope.log_records));
        let rejected_log_records = std::mem::take(&mut received.rejected);
        let error_message = if rejected_log_records > 0 { "too old" } else { "" }.to_owned();
        let partial_success = Some(ExportLogsPartialSuccess { rejected_log_records, error_message });
        ExportLogsServiceResponse { partial_success }
    }

    fn traces(&self, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse {
        self.0.lock().unwrap().spans.extend(request.resource_spans);
        ExportTraceServiceResponse::default()
    }
}

fn token<T>(request: &tonic::Request<T>) -> Option<String> {
    Some(request.metadata().get("x-token")?.to_str().ok()?.to_owned())
}

#[async_trait]
impl LogsService for Shared {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        match self.enter(token(&request).as_deref()) {
            true => Ok(tonic::Response::new(self.logs(request.into_inner()))),
            false => Err(Status::unavailable("starting")),
        }
    }
}

#[async_trait]
impl TraceService for Shared {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        match self.enter(token(&request).as_deref()) {
            true => Ok(tonic::Response::new(self.traces(request.into_inner()))),
            false => Err(Status::unavailable("starting")),
        }
    }
}

async fn answer(shared: Shared, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let token = request.headers().get("x-token").map(|value| value.to_str().unwrap().to_owned());
    let (path, kind) = (request.uri().path().to_owned(), request.headers().get("content-type").cloned());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let response = |status: u16, body: Vec<u8>| {
        Ok(Response::builder().status(status).header("retry-after", "0").body(Full::new(body.into())).unwrap())
    };
    if !shared.enter(token.as_deref()) {
        return response(503, b"starting".to_vec());
    }
    if kind.is_none_or(|kind| kind != "application/x-protobuf") {
        return response(415, Vec::new());
    }
    match path.as_str() {
        "/v1/logs" => response(200, shared.logs(ExportLogsServiceRequest::decode(body).unwrap()).encode_to_vec()),
        "/v1/traces" => response(200, shared.traces(ExportTraceServiceRequest::decode(body).unwrap()).encode_to_vec()),
        _ => response(404, Vec::new()),
    }
}
