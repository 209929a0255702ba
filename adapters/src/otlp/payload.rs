//! What is sent: one request of the collector's services, whichever way it goes.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::{DecodeError, Message as _};

use crate::export::outbox::Accepted;

/// The kinds of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Logs,
    Metrics,
    Traces,
}

impl Signal {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Metrics => "metrics",
            Self::Traces => "traces",
        }
    }

    /// For the log.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Logs => "OTLP logs",
            Self::Metrics => "OTLP metrics",
            Self::Traces => "OTLP traces",
        }
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Payload {
    Logs(ExportLogsServiceRequest),
    Metrics(ExportMetricsServiceRequest),
    Traces(ExportTraceServiceRequest),
}

impl Payload {
    pub(super) const fn signal(&self) -> Signal {
        match self {
            Self::Logs(_) => Signal::Logs,
            Self::Metrics(_) => Signal::Metrics,
            Self::Traces(_) => Signal::Traces,
        }
    }

    pub(super) fn encoded_len(&self) -> usize {
        match self {
            Self::Logs(request) => request.encoded_len(),
            Self::Metrics(request) => request.encoded_len(),
            Self::Traces(request) => request.encoded_len(),
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        match self {
            Self::Logs(request) => request.encode_to_vec(),
            Self::Metrics(request) => request.encode_to_vec(),
            Self::Traces(request) => request.encode_to_vec(),
        }
        .into()
    }
}

/// Reads the body of an answer over HTTP.
pub(super) fn accepted(signal: Signal, body: Bytes) -> Result<Accepted, DecodeError> {
    Ok(match signal {
        Signal::Logs => ExportLogsServiceResponse::decode(body)?.into(),
        Signal::Metrics => ExportMetricsServiceResponse::decode(body)?.into(),
        Signal::Traces => ExportTraceServiceResponse::decode(body)?.into(),
    })
}

macro_rules! accepted {
    ($($response:ty: $rejected:ident;)*) => {
        $(impl From<$response> for Accepted {
            fn from(response: $response) -> Self {
                let partial = response.partial_success.unwrap_or_default();
                Self { rejected: u64::try_from(partial.$rejected).unwrap_or(0), message: partial.error_message }
            }
        })*
    };
}

accepted! {
    ExportLogsServiceResponse: rejected_log_records;
    ExportMetricsServiceResponse: rejected_data_points;
    ExportTraceServiceResponse: rejected_spans;
}
