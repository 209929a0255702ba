//! A gRPC connection to the engine, with TLS, a client certificate and a token where they are configured.
//!
//! Files are read for each connection, so that renewed ones are used from the next one on.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request};

/// How long the engine may take to open a stream, or to take a message from it, before it is given up.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the engine is, what it is known by, and how we introduce ourselves.
#[derive(Debug, Clone)]
pub struct EngineAddress {
    /// The engine's gRPC address, `http://host:port` or, with `tls`, `https://host:port`.
    pub uri: Uri,
    /// What TLS is begun with.
    pub tls: Option<EngineTls>,
    /// File with the token that the engine knows this reporter by.
    pub token_file: Option<PathBuf>,
}

/// Files in PEM.
#[derive(Debug, Clone)]
pub struct EngineTls {
    /// Authority that signed the engine's certificate.
    pub ca: PathBuf,
    /// Certificate of the reporter, and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Name in the engine's certificate, where that is not the host of its address.
    pub server_name: Option<String>,
}

impl From<Uri> for EngineAddress {
    fn from(uri: Uri) -> Self {
        Self { uri, tls: None, token_file: None }
    }
}

/// A connection, and what each call on it is introduced with.
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    authorization: Option<MetadataValue<Ascii>>,
}

impl Connection {
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }
}

/// Connects, and notices within seconds when the other side is gone without a word.
pub(crate) async fn connect(engine: &EngineAddress) -> Result<Connection, tonic::Status> {
    let authorization = engine.token_file.as_deref().map(authorization).transpose()?;
    let mut endpoint = Endpoint::from(engine.uri.clone())
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    if let Some(tls) = &engine.tls {
        endpoint = endpoint.tls_config(tls.read()?).map_err(|error| unusable(&tls.ca, &error))?;
    }
    let channel = endpoint.connect().await.map_err(|error| tonic::Status::unavailable(chain(&error)))?;
    Ok(Connection { channel, authorization })
}

impl EngineTls {
    fn read(&self) -> Result<ClientTlsConfig, tonic::Status> {
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&self.ca)?));
        if let Some((cert, key)) = &self.client {
            config = config.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        if let Some(name) = &self.server_name {
            config = config.domain_name(name);
        }
        Ok(config)
    }
}

fn authorization(file: &Path) -> Result<MetadataValue<Ascii>, tonic::Status> {
    let token = read(file)?;
    let token = String::from_utf8(token).map_err(|error| unusable(file, &error))?;
    let mut value: MetadataValue<Ascii> =
        format!("Bearer {}", token.trim()).parse().map_err(|error| unusable(file, &error))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Largest file of certificates, a key or a token in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

fn read(file: &Path) -> Result<Vec<u8>, tonic::Status> {
    let length = std::fs::metadata(file).map_err(|error| unusable(file, &error))?.len();
    if length > FILE_BYTES_MAX {
        return Err(unusable(file, &format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    std::fs::read(file).map_err(|error| unusable(file, &error))
}

/// Said aloud: an engine that is there cannot be reached until this is mended.
fn unusable(file: &Path, error: &dyn Display) -> tonic::Status {
    tonic::Status::failed_precondition(format!("`{}` cannot be used: {error}", file.display()))
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
