//! Traces: one span for each request that was refused, failed or slow, or for every one that has a trace id.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use super::options::{OtlpOptions, Traces};
use super::rows::Rows;
use super::time_nano;

/// W3C: the trace is recorded.
const SAMPLED: u32 = 1;

/// A service, and its version where it is known.
pub(super) type Service = (String, Option<String>);

/// The spans of a batch, by the service that they belong to: the called one, and for outbound rows the calling one.
pub(super) fn spans(rows: &Rows<'_>, options: &OtlpOptions) -> BTreeMap<Service, Vec<Span>> {
    let slow_us = i64::try_from(options.slow.as_micros()).unwrap_or(i64::MAX);
    let is_slow = |row| rows.number("duration_us", row).is_some_and(|duration| duration >= slow_us);
    let is_wanted = |row: &usize| match options.traces {
        Traces::None => false,
        Traces::Notable => rows.is_refused(*row) || rows.is_failed(*row) || is_slow(*row),
        Traces::All => true,
    };
    let mut by_service = BTreeMap::<Service, Vec<Span>>::new();
    for row in (0..rows.len()).filter(is_wanted) {
        let Some(span) = span(rows, row) else { continue };
        by_service.entry(service(rows, row)).or_default().push(span);
    }
    by_service
}

fn service(rows: &Rows<'_>, row: usize) -> Service {
    let [name, version] = match rows.name("direction", row) {
        Some("outbound") => ["source", "source_version"],
        _ => ["destination", "destination_version"],
    };
    let text = |column| rows.name(column, row).map(str::to_owned);
    (text(name).unwrap_or_else(|| "unknown".to_owned()), text(version))
}

/// A request without ids belongs to no trace.
fn span(rows: &Rows<'_>, row: usize) -> Option<Span> {
    let (trace_id, span_id) = (rows.id("trace_id", row), rows.id("span_id", row));
    if trace_id.is_empty() || span_id.is_empty() {
        return None;
    }
    let is_client = rows.name("direction", row) == Some("outbound");
    let start_us = rows.number("time", row)?;
    let method = rows.name("method", row).unwrap_or("HTTP");
    let name = rows.name("route", row).map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
    // By the conventions a server's 4xx is no error of the server, and a client's is one of the client.
    let is_error = rows.is_failed(row) || is_client && rows.number("status", row).is_some_and(|status| status >= 400);
    let code = if is_error { StatusCode::Error } else { StatusCode::Unset };
    let message = rows.name("response_flags", row).filter(|_| is_error).unwrap_or_default();
    Some(Span {
        trace_id,
        span_id,
        flags: SAMPLED,
        name,
        kind: if is_client { SpanKind::Client } else { SpanKind::Server }.into(),
        start_time_unix_nano: time_nano(start_us),
        end_time_unix_nano: time_nano(start_us.saturating_add(rows.number("duration_us", row).unwrap_or_default())),
        attributes: rows.attributes(row),
        status: Some(Status { message: message.to_owned(), code: code.into() }),
        ..Span::default()
    })
}
