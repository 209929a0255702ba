//! Finds out who asks, before anything else looks at the request.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::guard::{Guard, Peer};

/// What probes ask, which have neither tokens nor certificates. They learn yes or no.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Puts the [`tollgate_engine::Identity`] of whoever asks beside each request, and refuses those who have none.
pub(super) async fn identify(
    State(guard): State<Arc<Guard>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let authorization = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    match guard.identify(peer.certificate.as_deref(), authorization) {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Err(_) if OPEN.contains(&request.uri().path()) => next.run(request).await,
        Err(refused) => {
            let problem =
                Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "nobody in particular", refused.to_string());
            let mut response = problem.into_response();
            for challenge in ["Bearer realm=\"tollgate\"", "Basic realm=\"tollgate\", charset=\"UTF-8\""] {
                response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            response
        }
    }
}
