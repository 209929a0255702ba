//! Errors as `application/problem+json` (RFC 9457).

use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tollgate_engine::{QueryError, QueryErrorKind};

/// Longest text that becomes the detail of a problem.
const DETAIL_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Serialize)]
pub(super) struct Problem {
    /// What kind of problem, a stable word.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, kind: &str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { kind: format!("urn:tollgate:{kind}"), title, status: status.as_u16(), detail: detail.into() }
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl From<&QueryError> for Problem {
    fn from(error: &QueryError) -> Self {
        let (status, kind, title) = match error.kind() {
            QueryErrorKind::Syntax => (StatusCode::BAD_REQUEST, "sql-syntax", "SQL syntax error"),
            QueryErrorKind::Plan => (StatusCode::BAD_REQUEST, "sql-plan", "query cannot be planned"),
            QueryErrorKind::ReadOnly => (StatusCode::FORBIDDEN, "sql-read-only", "SQL is read only"),
            QueryErrorKind::Denied => (StatusCode::FORBIDDEN, "sql-denied", "not permitted"),
            QueryErrorKind::Memory => (StatusCode::UNPROCESSABLE_ENTITY, "sql-memory", "query needs too much memory"),
            QueryErrorKind::Time => (StatusCode::UNPROCESSABLE_ENTITY, "sql-time", "query takes too long"),
            QueryErrorKind::Rows => (StatusCode::UNPROCESSABLE_ENTITY, "sql-rows", "query returns too many rows"),
            QueryErrorKind::Execution => (StatusCode::BAD_REQUEST, "sql-execution", "query failed"),
        };
        Self::new(status, kind, title, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_else(|_| "{}".to_owned());
        (status, [(CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

/// Errors that come from below the routes, such as those of an unknown method or of a body that is too long, in the form of all
/// others. Headers such as `Allow` stay.
pub(super) async fn everywhere(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_error || content_type.contains("json") {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let text = axum::body::to_bytes(body, DETAIL_BYTES_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let (kind, title, otherwise) = match status {
        StatusCode::NOT_FOUND => ("path", "no such path", "nothing is here; GET / says what there is"),
        StatusCode::METHOD_NOT_ALLOWED => {
            ("method", "no such method", "the header `Allow` says which methods there are")
        }
        StatusCode::PAYLOAD_TOO_LARGE => ("body", "body too long", "the body is longer than is read"),
        _ if status.is_client_error() => ("request", "wrong request", "the request cannot be read"),
        _ => ("internal", "internal error", "something went wrong here"),
    };
    let detail = if text.is_empty() { otherwise.to_owned() } else { text };
    let (problem, body) = Problem::new(status, kind, title, detail).into_response().into_parts();
    head.headers.remove(CONTENT_LENGTH);
    head.headers.extend(problem.headers);
    Response::from_parts(head, body)
}

/// Something went wrong on our side.
pub(super) fn internal(detail: &str) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error", detail)
}
