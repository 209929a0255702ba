//! HTTP on port 7400: health, metrics, SQL and the snapshot.
//!
//! | | |
//! |---|---|
//! | `GET /healthz` | the process lives |
//! | `GET /readyz` | it takes traffic; names a policy change that was refused |
//! | `GET /metrics` | the engine's own metrics, for Prometheus |
//! | `GET /v1/openapi.json` | all of this, for programs |
//! | `POST /v1/sql` | the body is SQL, `Accept` chooses JSON, CSV or an Arrow stream |
//! | `GET /v1/tail` | rows of `requests` as they are admitted, as server-sent events |
//! | `GET /v1/snapshot` | what reporters enforce now |
//!
//! The routes of Prometheus (`adapters/src/prometheus`) are beside them.

mod asking;
mod guarded;
mod health;
mod problem;
mod rows;
mod sql;
mod tail;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tollgate_engine::{Engine, QueryError};

pub(crate) use self::asking::{Asking, HasEngine};
use crate::guard::{Door, Guard, Peer, Protocol};

/// Longest body in bytes; SQL is the longest that anybody sends.
const BODY_BYTES_MAX: usize = 1 << 20;

#[derive(Clone)]
struct Served {
    engine: Engine,
    registry: Arc<Registry>,
    /// Places for tails.
    tails: Arc<Semaphore>,
}

impl HasEngine for Served {
    fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// Serves the engine over HTTP on `listener`, to those whom `guard` lets in, until `shutdown` is done and open requests are answered.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    engine: Engine,
    listener: TcpListener,
    guard: Arc<Guard>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let door = Door::open(listener, Arc::clone(&guard), Protocol::Http1)?;
    let routes = router(engine).layer(from_fn_with_state(guard, guarded::identify));
    let routes = routes.into_make_service_with_connect_info::<Peer>();
    axum::serve(door, routes).with_graceful_shutdown(shutdown).await
}

/// The routes, with the engine's metrics registered.
pub fn router(engine: Engine) -> Router {
    let mut registry = Registry::default();
    engine.metrics().register(&mut registry);
    let registry = Arc::new(registry);
    let prometheus = crate::prometheus::router(engine.clone(), &registry);
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics))
        .route("/v1/openapi.json", get(openapi))
        .route("/v1/sql", post(sql::query))
        .route("/v1/tail", get(tail::follow))
        .route("/v1/snapshot", get(snapshot))
        .with_state(Served { engine, registry, tails: Arc::new(Semaphore::new(tail::TAILS_MAX)) })
        .merge(prometheus)
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(map_response(problem::everywhere))
}

async fn index() -> &'static str {
    "tollgate engine\n\n\
     GET  /healthz      alive\n\
     GET  /readyz       ready, and a policy change that was refused\n\
     GET  /metrics      Prometheus metrics of the engine\n\
     POST /v1/sql       SQL in the body; Accept: application/json, text/csv, application/vnd.apache.arrow.stream\n\
     GET  /v1/tail      requests as they are admitted; ?where=status+>=+500&columns=time,path&limit=10\n\
     GET  /v1/openapi.json  all of this, for programs\n\
     GET  /v1/snapshot  what reporters enforce now\n"
}

async fn metrics(State(served): State<Served>, asking: Asking) -> axum::response::Response {
    if let Some(refused) = asking.refusal("metrics") {
        return refused;
    }
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &served.registry) {
        Ok(()) => {
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        }
        Err(error) => problem::internal(&error.to_string()).into_response(),
    }
}

/// What this module serves, for programs. `tests/e2e/openapi.rs` holds it against what is served.
async fn openapi() -> impl IntoResponse {
    let text = include_str!("http/openapi.json").replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    ([(CONTENT_TYPE, "application/json")], text)
}

async fn snapshot(State(served): State<Served>, asking: Asking) -> axum::response::Response {
    match asking.refusal("snapshot") {
        None => json(&served.engine.snapshot_json()).into_response(),
        Some(refused) => refused,
    }
}

/// An answer for what went wrong on our side.
pub(crate) fn internal(detail: &str) -> axum::response::Response {
    problem::internal(detail).into_response()
}

/// An answer for a query that was not answered.
pub(crate) fn failed(error: &QueryError) -> axum::response::Response {
    problem::Problem::from(error).into_response()
}

fn json(value: &serde_json::Value) -> impl IntoResponse + use<> {
    ([(CONTENT_TYPE, "application/json")], value.to_string())
}
