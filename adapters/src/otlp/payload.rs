//! What is sent: one request of the collector's services, whichever way it goes.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::{DecodeError, Message};
use tonic::codegen::http::uri::PathAndQuery;

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

    /// The method of the collector's service.
    pub(super) fn method(self) -> PathAndQuery {
        PathAndQuery::from_static(match self {
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        })
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

/// One request, encoded: what waits takes the memory that it is counted with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) signal: Signal,
    pub(super) body: Bytes,
}

impl Payload {
    pub(super) fn logs(resource_logs: ResourceLogs) -> Self {
        Self::new(Signal::Logs, &ExportLogsServiceRequest { resource_logs: vec![resource_logs] })
    }

    pub(super) fn metrics(resource_metrics: ResourceMetrics) -> Self {
        Self::new(Signal::Metrics, &ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] })
    }

    pub(super) fn traces(resource_spans: ResourceSpans) -> Self {
        Self::new(Signal::Traces, &ExportTraceServiceRequest { resource_spans: vec![resource_spans] })
    }

    fn new(signal: Signal, request: &impl Message) -> Self {
        Self { signal, body: request.encode_to_vec().into() }
    }
}

/// Reads an answer.
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
