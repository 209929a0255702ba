//! Prometheus: the mesh's metrics to scrape, and the query API that Grafana asks, both from the rollups.
//!
//! | | |
//! |---|---|
//! | `GET /metrics/mesh` | counters and histograms of the mesh, for a Prometheus that scrapes |
//! | `/api/v1/query`, `query_range`, `query_exemplars`, `series`, `labels`, `label/<name>/values`, `metadata`, `rules`, `status/buildinfo` | PromQL, by `GET` or `POST` |
//!
//! In reading order: `metrics` what there is, `naming` how labels follow from columns, `resolution` which rollup answers,
//! `fetch` turns a selection into SQL and its rows into series, `own` the engine's own metrics as series, `routes` the API;
//! `counters` the counters of this process, `exemplars` the traces beside them, `mesh` the text to scrape.

mod counters;
mod exemplars;
mod fetch;
mod mesh;
mod metrics;
mod naming;
mod own;
mod resolution;
mod routes;
mod rows;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tollgate_engine::Engine;

pub(crate) use self::counters::{Counted, Counters};
pub(crate) use self::exemplars::Exemplars;
pub(crate) use self::metrics::{METRICS, Measure, Metric};
pub(crate) use self::naming::Naming;
use self::own::History;
pub(crate) use self::rows::texts_of;
use crate::http::{Asking, HasEngine};

/// What the routes share.
#[derive(Clone)]
struct Served {
    engine: Engine,
    history: Arc<History>,
    /// Collected once somebody scrapes who takes them.
    exemplars: Arc<OnceLock<Arc<Exemplars>>>,
}

impl HasEngine for Served {
    fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// One who asks, and whom.
struct Asked {
    served: Served,
    asking: Asking,
}

impl Asked {
    /// The engine's own metrics, for those who may read them.
    fn history(&self) -> Option<&History> {
        self.asking.0.may_read("metrics").then_some(&*self.served.history)
    }
}

impl FromRequestParts<Served> for Asked {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Response> {
        let asking = Asking::from_request_parts(parts, served).await?;
        Ok(Self { served: served.clone(), asking })
    }
}

/// The routes. `registry` holds the engine's own metrics, of which a short history is kept for queries as long as the router lives.
pub(crate) fn router(engine: Engine, registry: &Arc<Registry>) -> Router {
    let history = Arc::new(History::default());
    own::keep(&history, registry);
    Router::new()
        .route("/metrics/mesh", get(mesh::scrape))
        .route("/api/v1/query", get(routes::instant).post(routes::instant))
        .route("/api/v1/query_range", get(routes::range).post(routes::range))
        .route("/api/v1/query_exemplars", get(routes::exemplars).post(routes::exemplars))
        .route("/api/v1/series", get(routes::series).post(routes::series))
        .route("/api/v1/labels", get(routes::labels).post(routes::labels))
        .route("/api/v1/label/{name}/values", get(routes::label_values))
        .route("/api/v1/metadata", get(routes::metadata))
        .route("/api/v1/rules", get(routes::rules))
        .route("/api/v1/status/buildinfo", get(routes::build_info))
        .with_state(Served { engine, history, exemplars: Arc::default() })
}
