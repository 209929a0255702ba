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
    let may_read = asker.is_some_and(|Extension(identity)| served.engine.may_read(&identity, "snapshot"));
    let body = match may_read {
        true => serde_json::to_value(&status).unwrap_or_default(),
        false => serde_json::json!({ "is_ready": status.is_ready }),
    };
    (code, json(&body))
}
