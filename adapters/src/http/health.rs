//! `/healthz` and `/readyz`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;

use super::{Served, json};

pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// 200 as long as the engine serves, also with a refused policy change: the last good policies are in force, and the body
/// names what was refused.
pub(super) async fn ready(State(served): State<Served>) -> impl IntoResponse {
    let status = served.engine.status();
    let code = if status.is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_value(&status).unwrap_or_default();
    (code, json(&body))
}
