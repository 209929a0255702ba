//! `GET /metrics/mesh`: the mesh's counters as text, for a Prometheus that scrapes.
//!
//! Counters run from the start of the hour in which the engine started. A series without traffic for [`IDLE`] is left out until
//! it has some again. Bound: [`SERIES_MAX`] sets of labels, those with the most requests; how many were left out is itself shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use tollgate_engine::QueryError;
use tollgate_promql::{BUCKET, Labels, METRIC_NAME};

use super::metrics::{METRICS, Measure, Metric};
use super::naming::Column;
use super::rows::{self, Grouped};
use super::{Served, fetch};

const IDLE: &str = "15 minutes";
const SERIES_MAX: usize = 10_000;
const HOUR_US: i64 = 3_600_000_000;
const COLUMNS: [Column; 7] = [
    Column::Direction,
    Column::Source,
    Column::Destination,
    Column::Route,
    Column::Method,
    Column::StatusClass,
    Column::Decision,
];

pub(super) async fn scrape(State(served): State<Served>) -> Response {
    match text(&served).await {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => crate::http::internal(&error.to_string()),
    }
}

/// Everything that was counted for one set of labels.
#[derive(Debug, Default)]
struct Counted {
    requests: i64,
    duration_us: i64,
    request_bytes: i64,
    response_bytes: i64,
    up_to: Vec<i64>,
}

async fn text(served: &Served) -> Result<String, QueryError> {
    let since_ms = served.since_us.div_euclid(HOUR_US) * (HOUR_US / 1_000);
    let columns = COLUMNS.map(Column::name).join(", ");
    let sql = format!(
        "SELECT {columns}, sum(requests) AS value, \
         le_counts(duration_offset, duration_counts, duration_zero) AS counts, \
         sum(duration_sum_us) AS duration_us, sum(request_bytes) AS request_bytes, sum(response_bytes) AS response_bytes, \
         count(*) OVER () AS sets \
         FROM traffic WHERE time >= {} GROUP BY {columns} HAVING max(time) >= now() - INTERVAL '{IDLE}' \
         ORDER BY value DESC LIMIT {SERIES_MAX}",
        fetch::timestamp(since_ms)
    );
    let mut rows = Vec::new();
    let mut sets = 0;
    for batch in fetch::query(&served.engine, &sql).await? {
        let numbers = |name: &str| {
            let column = batch.column_by_name(name).ok_or_else(|| missing(name))?;
            Ok::<_, QueryError>(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
        };
        let (durations, sent, received) =
            (numbers("duration_us")?, numbers("request_bytes")?, numbers("response_bytes")?);
        sets = numbers("sets")?.values().first().copied().unwrap_or(sets);
        for (at, row) in rows::read(vec![batch.clone()], COLUMNS.len(), false)?.into_iter().enumerate() {
            let counted = Counted {
                requests: row.value,
                duration_us: durations.value(at),
                request_bytes: sent.value(at),
                response_bytes: received.value(at),
                up_to: row.counts.clone(),
            };
            rows.push((row, counted));
        }
    }
    let mut text = String::new();
    METRICS.iter().for_each(|metric| write_metric(&mut text, metric, &rows));
    let left_out = sets - rows.len() as i64;
    text.push_str("# HELP tollgate_mesh_series_left_out Sets of labels beyond the bound of this page.\n");
    let _ = writeln!(text, "# TYPE tollgate_mesh_series_left_out gauge\ntollgate_mesh_series_left_out {left_out}");
    Ok(text)
}

fn missing(name: &str) -> QueryError {
    arrow::error::ArrowError::SchemaError(format!("the column `{name}` is missing")).into()
}

/// Adds up what has the same labels in the metric's words, and writes it.
fn write_metric(text: &mut String, metric: &Metric, rows: &[(Grouped, Counted)]) {
    let mut all = BTreeMap::<Labels, Counted>::new();
    for (row, counted) in rows {
        let names: Vec<_> = row.names.iter().map(String::as_str).collect();
        let sum = all.entry(metric.naming.labels("", &COLUMNS, &names)).or_default();
        sum.requests += counted.requests;
        sum.duration_us += counted.duration_us;
        sum.request_bytes += counted.request_bytes;
        sum.response_bytes += counted.response_bytes;
        sum.up_to.resize(counted.up_to.len().max(sum.up_to.len()), 0);
        sum.up_to.iter_mut().zip(&counted.up_to).for_each(|(sum, count)| *sum += count);
    }
    // Sizes have no histogram in the rollups: a summary is what has a sum and a count alone.
    let kind = match metric.measure {
        Measure::Requests => "counter",
        Measure::Duration { .. } => "histogram",
        Measure::RequestBytes | Measure::ResponseBytes => "summary",
    };
    let name = metric.name;
    let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", metric.help);
    for (labels, counted) in &all {
        let sum = match metric.measure {
            Measure::Requests => {
                line(text, name, labels, counted.requests as f64);
                continue;
            }
            Measure::Duration { unit_us } => {
                let counts = counted.up_to.iter().copied().chain([counted.requests]);
                for (bound, count) in fetch::bucket_labels(metric).into_iter().zip(counts) {
                    let mut labels = labels.clone();
                    labels.set(BUCKET, bound);
                    line(text, &format!("{name}_bucket"), &labels, count as f64);
                }
                counted.duration_us as f64 / unit_us
            }
            Measure::RequestBytes => counted.request_bytes as f64,
            Measure::ResponseBytes => counted.response_bytes as f64,
        };
        line(text, &format!("{name}_sum"), labels, sum);
        line(text, &format!("{name}_count"), labels, counted.requests as f64);
    }
}

fn line(text: &mut String, name: &str, labels: &Labels, value: f64) {
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
    let pairs: Vec<_> = pairs.map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    let _ = writeln!(text, "{name}{{{}}} {value}", pairs.join(","));
}
