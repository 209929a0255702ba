//! A gRPC connection to the engine.

use std::time::Duration;

use http::Uri;
use tonic::transport::{Channel, Endpoint};

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

/// An error with its causes: tonic's own text is only "transport error".
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
