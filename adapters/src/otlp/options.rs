//! What is exported, and where to.

use std::path::PathBuf;
use std::time::Duration;

/// Where telemetry goes, and which.
#[derive(Clone, PartialEq, Eq)]
pub struct OtlpOptions {
    /// `http://collector:4317`, or 4318 for HTTP, without `/v1/...`.
    pub endpoint: String,
    /// How the collector is spoken to.
    pub protocol: OtlpProtocol,
    /// Sent with everything, such as a token.
    pub headers: Vec<(String, String)>,
    /// File in PEM of whoever signed the collector's certificate; without it, those whom the system trusts.
    pub ca: Option<PathBuf>,
    /// How often the totals are sent as metrics; never, where there is no rhythm.
    pub metrics_every: Option<Duration>,
    /// Which requests become log records.
    pub logs: Logs,
    /// Which requests become spans.
    pub traces: Traces,
    /// A request that took as long is notable.
    pub slow: Duration,
}

/// OTLP's transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// Usually on port 4317.
    Grpc,
    /// Protobuf by POST, usually on port 4318.
    Http,
}

/// Which requests become log records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logs {
    /// None.
    None,
    /// Those that were denied, limited or shed.
    Refused,
    /// Every one.
    All,
}

/// Which requests become spans. One without a trace id never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traces {
    /// None.
    None,
    /// Those that were refused, failed or slow.
    Notable,
    /// Every one.
    All,
}
