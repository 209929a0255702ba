//! Turns what a query reads into SQL over the rollups, and the rows into series.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use futures::TryStreamExt as _;
use tollgate_engine::QueryError;
use tollgate_promql::{BUCKET, Increment, Increments, Labels, METRIC_NAME, Matcher, Samples, Selection, Series};

use super::Asked;
use super::metrics::{Measure, Metric, Part, all_parts};
use super::naming::Column;
use super::resolution::{Resolution, SECONDS};
use super::rows::{self, Grouped};

/// Upper bounds of a histogram's buckets, in milliseconds or bytes: Envoy's own, which Istio keeps.
pub(super) use tollgate_rollups::LE_BOUNDS_MS as BOUNDS;

/// Rows that arrive later than this are counted in their interval all the same, but `irate` may have looked already.
const LATE_MS: i64 = 2_000;

/// The series of the mesh that match.
pub(super) async fn series(asked: &Asked, selection: &Selection, now_ms: i64) -> Result<Vec<Series>, QueryError> {
    let mut found = Vec::new();
    for (metric, name, part) in all_parts().filter(|(_, name, _)| has_name(&selection.matchers, name)) {
        let reading = Reading::new(metric, &name, part, selection, now_ms);
        found.extend(reading.run(asked).await?);
    }
    Ok(found)
}

/// Labels of all series that match and had traffic in this span.
pub(super) async fn labels(
    asked: &Asked,
    matchers: &[Matcher],
    span_ms: (i64, i64),
) -> Result<Vec<Labels>, QueryError> {
    let mut found = Vec::new();
    for (metric, name, part) in all_parts().filter(|(_, name, _)| has_name(matchers, name)) {
        let columns = metric.naming.columns(None::<std::iter::Empty<&str>>);
        let mut sql = "SELECT DISTINCT ".to_owned();
        list(&mut sql, columns.iter().map(|column| column.of_rollups()));
        let (start, end) = (timestamp(span_ms.0 - 3_600_000), timestamp(span_ms.1));
        // An hour that began before the span has rows of it.
        let _ = write!(sql, " FROM traffic_1h WHERE time >= {start} AND time <= {end}");
        for grouped in rows::read_names(query(asked, &sql).await?, columns.len())? {
            let values: Vec<_> = grouped.iter().map(String::as_str).collect();
            let labels = metric.naming.labels(&name, &columns, &values);
            let bounds = if part == Part::Bucket { bucket_labels(metric) } else { vec![String::new()] };
            found.extend(bounds.into_iter().map(|bound| {
                let mut labels = labels.clone();
                labels.set(BUCKET, bound);
                labels
            }));
        }
    }
    found.retain(|labels: &Labels| matchers.iter().all(|matcher| matcher.is_match(labels.get(&matcher.name))));
    found.sort();
    found.dedup();
    Ok(found)
}

/// Whether the matchers of the name let this one through.
pub(super) fn has_name(matchers: &[Matcher], name: &str) -> bool {
    matchers.iter().filter(|matcher| matcher.name == METRIC_NAME).all(|matcher| matcher.is_match(name))
}

/// Values of `le` of a metric's buckets, the last one without a bound.
pub(super) fn bucket_labels(metric: &Metric) -> Vec<String> {
    let unit = match metric.measure {
        // The bounds are milliseconds.
        Measure::Duration { unit_us } => 1_000.0 / unit_us,
        Measure::Requests | Measure::RequestBytes | Measure::ResponseBytes => 1.0,
    };
    BOUNDS.iter().map(|bound| (bound * unit).to_string()).chain(["+Inf".to_owned()]).collect()
}

pub(super) async fn query(asked: &Asked, sql: &str) -> Result<Vec<arrow::record_batch::RecordBatch>, QueryError> {
    asked.served.engine.query(&asked.asking.0, sql).await?.batches.try_collect().await
}

/// SQL for a moment.
pub(super) fn timestamp(time_ms: i64) -> String {
    format!("arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')", time_ms.saturating_mul(1_000))
}

fn list<'a>(sql: &mut String, parts: impl Iterator<Item = &'a str>) {
    let parts: Vec<_> = parts.collect();
    sql.push_str(&parts.join(", "));
}

/// One selection of one metric.
struct Reading<'a> {
    metric: &'static Metric,
    name: &'a str,
    part: Part,
    selection: &'a Selection,
    columns: Vec<Column>,
    resolution: Resolution,
    now_ms: i64,
}

impl<'a> Reading<'a> {
    fn new(metric: &'static Metric, name: &'a str, part: Part, selection: &'a Selection, now_ms: i64) -> Self {
        let matched = selection.matchers.iter().map(|matcher| matcher.name.as_str());
        let columns = metric.naming.columns(
            selection.summed_by.as_ref().map(|labels| labels.iter().map(String::as_str).chain(matched.clone())),
        );
        Self { metric, name, part, selection, columns, resolution: Resolution::of(selection, now_ms), now_ms }
    }

    async fn run(&self, asked: &Asked) -> Result<Vec<Series>, QueryError> {
        let start_ms = self.selection.start_ms.div_euclid(self.resolution.interval_ms) * self.resolution.interval_ms;
        let span = format!("time >= {} AND time <= {}", timestamp(start_ms), timestamp(self.selection.end_ms));
        let mut grown = rows::read(query(asked, &self.sql(true, &span)).await?, self.columns.len(), true)?;
        grown.sort_unstable_by_key(|row| row.time_ms);
        let mut all = BTreeMap::<Labels, Increments>::new();
        for row in &grown {
            for (labels, by) in self.values(row) {
                let increments = all.entry(labels).or_insert_with(|| self.empty());
                let end_ms = (row.time_ms + self.resolution.interval_ms).min(self.now_ms.max(row.time_ms + 1));
                add(&mut increments.intervals, row.time_ms..end_ms, by);
            }
        }
        if self.selection.totals {
            let span = format!("time < {}", timestamp(start_ms));
            for row in rows::read(query(asked, &self.sql(false, &span)).await?, self.columns.len(), false)? {
                for (labels, by) in self.values(&row) {
                    all.entry(labels).or_insert_with(|| self.empty()).before += by;
                }
            }
        }
        let series = |(labels, increments)| Series { labels, samples: Samples::Increments(increments) };
        Ok(all.into_iter().map(series).collect())
    }

    fn empty(&self) -> Increments {
        let interval_ms = self.resolution.interval_ms;
        let complete_until_ms = (self.now_ms - LATE_MS).div_euclid(interval_ms) * interval_ms;
        Increments { before: 0.0, intervals: Vec::new(), complete_until_ms }
    }

    /// One row for each interval and name; one for each name where it is not `by_time`.
    fn sql(&self, by_time: bool, span: &str) -> String {
        let is_raw =
            self.part == Part::Bucket && matches!(self.metric.measure, Measure::RequestBytes | Measure::ResponseBytes);
        let column: fn(Column) -> &'static str = if is_raw { Column::of_raw_rows } else { Column::of_rollups };
        let table = match (is_raw, by_time) {
            (true, _) => "requests",
            (false, true) => self.resolution.table,
            (false, false) => "traffic",
        };
        let time = match (is_raw, by_time) {
            (true, true) => Some(format!(
                "date_bin(INTERVAL '{} seconds', time) AS time",
                self.resolution.interval_ms / SECONDS.interval_ms
            )),
            (false, true) => Some("time".to_owned()),
            (_, false) => None,
        };
        let keys: Vec<_> = time
            .into_iter()
            .chain(self.columns.iter().map(|key| format!("{} AS {}", column(*key), key.name())))
            .collect();
        let mut sql = "SELECT ".to_owned();
        list(&mut sql, keys.iter().map(String::as_str).chain([self.measured().as_str()]));
        let _ = write!(sql, " FROM {table} WHERE {span}");
        let conditions =
            self.selection.matchers.iter().filter_map(|matcher| self.metric.naming.condition(matcher, column));
        for condition in conditions {
            let _ = write!(sql, " AND {condition}");
        }
        if !keys.is_empty() {
            let _ =
                write!(sql, " GROUP BY {}", (1..=keys.len()).map(|at| at.to_string()).collect::<Vec<_>>().join(", "));
        }
        sql
    }

    /// How many there were, and what else the part needs.
    fn measured(&self) -> String {
        let sum = match self.metric.measure {
            Measure::Requests => "requests",
            Measure::Duration { .. } => "duration_sum_us",
            Measure::RequestBytes => "request_bytes",
            Measure::ResponseBytes => "response_bytes",
        };
        match (self.part, self.metric.measure) {
            (Part::Counter | Part::Count, _) => "sum(requests) AS value".to_owned(),
            (Part::Sum, _) => format!("sum({sum}) AS value"),
            (Part::Bucket, Measure::RequestBytes | Measure::ResponseBytes) => {
                let up_to = |bound: &f64| format!("sum(CASE WHEN {sum} <= {bound} THEN weight ELSE 0 END)");
                let counts: Vec<_> = BOUNDS.iter().map(up_to).collect();
                format!("sum(weight) AS value, make_array({}) AS counts", counts.join(", "))
            }
            (Part::Bucket, _) => {
                "sum(requests) AS value, le_counts(duration_offset, duration_counts, duration_zero) AS counts"
                    .to_owned()
            }
        }
    }

    /// Series that a row adds to, with how much. Those that the selection does not match are left out.
    fn values(&self, row: &Grouped) -> Vec<(Labels, f64)> {
        let names: Vec<_> = row.names.iter().map(String::as_str).collect();
        let labels = self.metric.naming.labels(self.name, &self.columns, &names);
        let unit = match (self.part, self.metric.measure) {
            (Part::Sum, Measure::Duration { unit_us }) => unit_us,
            _ => 1.0,
        };
        let values = match self.part {
            Part::Bucket => {
                let counts = row.counts.iter().copied().chain([row.value]);
                bucket_labels(self.metric)
                    .into_iter()
                    .zip(counts)
                    .map(|(bound, count)| {
                        let mut labels = labels.clone();
                        labels.set(BUCKET, bound);
                        (labels, count as f64)
                    })
                    .collect()
            }
            Part::Counter | Part::Sum | Part::Count => vec![(labels, row.value as f64 / unit)],
        };
        let values: Vec<(Labels, f64)> = values;
        values.into_iter().filter(|(labels, _)| self.selection.matches(labels)).collect()
    }
}

/// Adds to the interval that starts then: the last one, or a new one after it. One that is not over yet ends now.
fn add(intervals: &mut Vec<Increment>, span_ms: Range<i64>, by: f64) {
    match intervals.last_mut() {
        Some(last) if last.start_ms == span_ms.start => last.by += by,
        _ => intervals.push(Increment { start_ms: span_ms.start, end_ms: span_ms.end, by }),
    }
}
