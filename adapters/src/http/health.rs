//! `/healthz` and `/readyz`.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;

use tollgate_engine::Identity;

use super::{Served, json};

pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// 200 as long as the engine serves, also with a refused policy change: the last good policies are in force, and the body
/// names what was refused, to those who may read the snapshot. Others learn the code alone.
pub(super) async fn ready(State(served): State<Served>, asker: Option<Extension<Identity>>) -> impl IntoResponse {
    let status = served.engine.status();
    let code = if status.is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reader = match &asker {
        Some(Extension(identity)) => served.engine.reader(identity).await.ok(),
        None => None,
    };
    let body = match reader.filter(|reader| reader.may_read("snapshot")) {
        Some(_) => serde_json::to_value(&status).unwrap_or_default(),
        None => serde_json::json!({ "is_ready": status.is_ready }),
    };
    (code, json(&body))
}
