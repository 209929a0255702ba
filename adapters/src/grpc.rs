//! `tollgate.v1` over gRPC: telemetry, decisions and authorization, each a thin skin over the engine.

mod authorization;
mod decisions;
mod guarded;
mod telemetry;

use std::future::Future;
use std::sync::Arc;

use tokio::net::TcpListener;
use tollgate_api::v1;
use tollgate_engine::{Engine, SessionError};
use tonic::transport::Server;
use tonic::{Code, Status};

pub(crate) use self::guarded::identity;
use crate::guard::{Door, Guard, Protocol};

/// Largest message that is read, in bytes. Twice what the engine admits, so that a batch which is too large is refused by
/// the engine, with a reason, and does not end the stream.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// How long the first message of a stream may take.
const HELLO_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// Serves `tollgate.v1` on `listener`, to those whom `guard` lets in, until `shutdown` is done and every stream has ended; streams end with the engine.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    engine: Engine,
    listener: TcpListener,
    guard: Arc<Guard>,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let door = Door::open(listener, Arc::clone(&guard), Protocol::Grpc)?;
    let telemetry = v1::telemetry_server::TelemetryServer::new(telemetry::Telemetry::new(engine.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let decisions = v1::decisions_server::DecisionsServer::new(decisions::Decisions::new(engine.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let authorization =
        v1::authorization_server::AuthorizationServer::new(authorization::Authorization::new(engine.clone()));

    Server::builder()
        .http2_keepalive_interval(Some(std::time::Duration::from_secs(20)))
        .layer(guarded::layer(guard))
        .add_service(telemetry)
        .add_service(decisions)
        .add_service(authorization)
        .add_service(crate::flight::service(engine))
        .serve_with_incoming_shutdown(door, shutdown)
        .await
        .map_err(std::io::Error::other)
}

/// The gRPC status of a session that the engine does not open.
fn refused(error: &SessionError) -> Status {
    let code = match error {
        error if error.is_retryable() => Code::Unavailable,
        error if error.is_forbidden() => Code::PermissionDenied,
        _ => Code::InvalidArgument,
    };
    Status::new(code, error.to_string())
}

/// The first message of a stream, within [`HELLO_TIMEOUT`].
async fn first<T>(stream: &mut tonic::Streaming<T>) -> Result<T, Status> {
    let message = tokio::time::timeout(HELLO_TIMEOUT, stream.message()).await;
    message
        .map_err(|_| Status::deadline_exceeded("no hello within 10 s"))??
        .ok_or_else(|| Status::invalid_argument("the stream ended before its hello"))
}
