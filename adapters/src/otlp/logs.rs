//! Decision logs: one record for each request that was refused, or for every one.

use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};

use super::options::Logs;
use super::rows::{Rows, integer, pair, text};
use super::time_nano;

/// Name of the event that each record is.
const EVENT: &str = "tollgate.decision";

/// The records of a batch.
pub(super) fn records(rows: &Rows<'_>, which: Logs, now_nano: u64) -> Vec<LogRecord> {
    let is_wanted = |row: &usize| match which {
        Logs::None => false,
        Logs::Refused => rows.is_refused(*row),
        Logs::All => true,
    };
    (0..rows.len()).filter(is_wanted).map(|row| record(rows, row, now_nano)).collect()
}

fn record(rows: &Rows<'_>, row: usize, now_nano: u64) -> LogRecord {
    let severity = if rows.is_refused(row) { SeverityNumber::Warn } else { SeverityNumber::Info };
    let mut attributes = rows.attributes(row);
    let duration = rows.number("duration_us", row).unwrap_or_default();
    attributes.push(pair("tollgate.duration_us", integer(duration)));
    LogRecord {
        time_unix_nano: time_nano(rows.number("time", row).unwrap_or_default()),
        observed_time_unix_nano: now_nano,
        severity_number: severity.into(),
        severity_text: if severity == SeverityNumber::Warn { "WARN" } else { "INFO" }.to_owned(),
        body: Some(text(&sentence(rows, row))),
        attributes,
        trace_id: rows.id("trace_id", row),
        span_id: rows.id("span_id", row),
        event_name: EVENT.to_owned(),
        ..LogRecord::default()
    }
}

/// `deny GET /secret from shop/intruder to shop/catalog: no_permit`
fn sentence(rows: &Rows<'_>, row: usize) -> String {
    let name = |column, otherwise| rows.name(column, row).unwrap_or(otherwise);
    format!(
        "{} {} {} from {} to {}: {}",
        name("decision", "allow"),
        name("method", "-"),
        name("path", "-"),
        name("source", "anonymous"),
        name("destination", "-"),
        name("reason", "-")
    )
}
