//! The admin listener: is it alive, is it ready, what does it count, how is it configured.

use std::convert::Infallible;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tollgate_policies::Enforcer;

use crate::config::{ProxyConfig, WithoutSnapshot};
use crate::metrics::ProxyMetrics;

/// Connections beyond this wait.
const CONNECTIONS_MAX: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the admin listener shows.
pub(crate) struct Admin {
    config: Arc<ProxyConfig>,
    enforcer: Arc<Enforcer>,
    registry: Registry,
    drain: CancellationToken,
}

impl Admin {
    pub(crate) fn new(config: Arc<ProxyConfig>, metrics: ProxyMetrics, drain: CancellationToken) -> Self {
        let enforcer = Arc::clone(&metrics.enforcer);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(metrics));
        Self { config, enforcer, registry, drain }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        }
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.readiness(),
            "/metrics" => self.metrics(),
            "/config" => json(&self.config.effective()),
            _ => text(StatusCode::NOT_FOUND, "there are /healthz, /readyz, /metrics and /config\n"),
        }
    }

    /// Ready means that requests are decided by policies, or that they pass without.
    fn readiness(&self) -> Response<Full<Bytes>> {
        if self.drain.is_cancelled() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
        }
        match (self.enforcer.version(), self.config.without_snapshot) {
            (0, WithoutSnapshot::Deny) => text(StatusCode::SERVICE_UNAVAILABLE, "no snapshot yet\n"),
            _ => text(StatusCode::OK, "ready\n"),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut exposition = String::new();
        match prometheus_client::encoding::text::encode(&mut exposition, &self.registry) {
            Ok(()) => with_type("application/openmetrics-text; version=1.0.0; charset=utf-8", exposition),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n"),
        }
    }
}

/// Serves until it is aborted.
pub(crate) async fn serve(listener: StdListener, admin: Admin) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the admin listener cannot be used"),
    };
    let admin = Arc::new(admin);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let admin = Arc::clone(&admin);
        let service = service_fn(move |request| {
            let response = admin.answer(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        connections.spawn(async move {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
            if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "an admin connection ended");
            }
            drop(place);
        });
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = with_type("text/plain; charset=utf-8", body);
    *response.status_mut() = status;
    response
}

fn json(value: &serde_json::Value) -> Response<Full<Bytes>> {
    with_type("application/json", format!("{value:#}\n"))
}

fn with_type(content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
