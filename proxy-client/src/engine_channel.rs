//! A gRPC connection to the engine.

use std::time::Duration;

use http::Uri;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// How long the engine may take to open a stream, or to take a message from it, before it is given up.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects, and notices within seconds when the other side is gone without a word.
pub(crate) async fn connect(engine: &Uri) -> Result<Channel, tonic::Status> {
    let endpoint = Endpoint::from(engine.clone())
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    endpoint.connect().await.map_err(|error| tonic::Status::unavailable(chain(&error)))
}

/// One step of a stream, which has to end in time: an engine that is there but stuck is no better than one that is gone.
pub(crate) async fn in_time<T>(step: impl Future<Output = Result<T, tonic::Status>>) -> Result<T, tonic::Status> {
    let done = tokio::time::timeout(STEP_TIMEOUT, step).await;
    done.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("the engine takes too long")))
}

/// Says that a stream ended, and aloud unless the engine is only away.
pub(crate) fn log_end(stream: &'static str, error: &tonic::Status, wait: Duration) {
    let wait_ms = wait.as_millis();
    match error.code() {
        Code::Unavailable | Code::Cancelled => tracing::debug!(stream, %error, wait_ms, "a stream to the engine ended"),
        _ => tracing::warn!(stream, %error, wait_ms, "a stream to the engine ended"),
    }
}

/// An error with its causes: tonic's own text is only "transport error".
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
