//! Who asks, with what they may read.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use tollgate_engine::{Engine, Identity, Reader};

use super::problem::{Problem, internal};

/// Whoever asks, for handlers that answer from what the engine keeps.
pub(crate) struct Asking(pub(crate) Reader);

/// State in which there is an engine.
pub(crate) trait HasEngine: Send + Sync {
    /// The engine.
    fn engine(&self) -> &Engine;
}

impl<S: HasEngine> FromRequestParts<S> for Asking {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        // Every request passes the guard, which knows who asks; should one ever not, it is nobody's.
        let Some(identity) = parts.extensions.get::<Identity>() else {
            let problem =
                Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "nobody in particular", "who asks?");
            return Err(problem.into_response());
        };
        let reader = state.engine().reader(identity).await;
        reader.map(Self).map_err(|error| internal(&error.to_string()).into_response())
    }
}

impl Asking {
    /// The answer to who may not read something that is no table of SQL but is named like one.
    pub(crate) fn refusal(&self, name: &str) -> Option<Response> {
        if self.0.may_read(name) {
            return None;
        }
        let asker = self.0.identity().name();
        let detail =
            format!("`{asker}` may not read `{name}`: no policy on data permits `readTable` on `Table::\"{name}\"`");
        Some(Problem::new(StatusCode::FORBIDDEN, "denied", "not permitted", detail).into_response())
    }
}
