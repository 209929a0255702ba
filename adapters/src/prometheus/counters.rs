//! The mesh's counters of this process, by the labels of Istio's metrics and of ours.
//!
//! They begin when the engine starts and never fall: they come from the engine's totals, and all that has the same labels is
//! summed before anything is left out. Left out are series without traffic for [`IDLE_US`], until they have some again, and
//! of more than [`SERIES_MAX`] sets of labels those with the fewest requests.

use std::collections::HashMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use tollgate_promql::{BUCKET, Labels};
use tollgate_rollups::{HistogramColumns, LE_BOUNDS_MS};

use super::fetch::bucket_labels;
use super::metrics::{Measure, Metric};
use super::naming::{Column, Naming};
use super::rows;

const IDLE_US: i64 = 15 * 60 * 1_000_000;
const SERIES_MAX: usize = 10_000;

/// Everything that was counted for one set of labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Counted {
    pub(crate) requests: i64,
    duration_us: i64,
    request_bytes: i64,
    response_bytes: i64,
    /// Requests up to each of the classic bounds.
    up_to: [i64; LE_BOUNDS_MS.len()],
    /// When the last of them was counted.
    heard_us: i64,
}

/// The counters by the labels of one naming, in the order of the labels.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) series: Vec<(Labels, Counted)>,
    /// How many sets of labels there was no room for.
    pub(crate) left_out: usize,
}

/// One number of a metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// `_bucket`, `_sum`, `_count`, or nothing for a counter.
    pub(crate) suffix: &'static str,
    /// The bound of a bucket and its place among them.
    pub(crate) bucket: Option<(usize, String)>,
    pub(crate) value: f64,
}

impl Counters {
    /// From rows of `traffic`, one for each key, whose `time` is when it was counted last.
    pub(crate) fn new(totals: &RecordBatch, naming: Naming, now_us: i64) -> Result<Self, ArrowError> {
        let mut by_labels = HashMap::<Labels, Counted>::new();
        let columns = naming.columns(None::<std::iter::Empty<&str>>);
        let names =
            columns.iter().map(|column| rows::texts_of_rollup(totals, *column)).collect::<Result<Vec<_>, _>>()?;
        let integers = |name: &str| {
            let column = totals.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
            column.map(|column| column.values()).ok_or_else(|| missing(name))
        };
        let (requests, durations) = (integers("requests")?, integers("duration_sum_us")?);
        let (sent, received) = (integers("request_bytes")?, integers("response_bytes")?);
        let column = |name: &str| totals.column_by_name(name).ok_or_else(|| missing(name));
        let heard = column("time")?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| missing("time"))?;
        let histograms =
            HistogramColumns::try_new(column("duration_offset")?, column("duration_counts")?, column("duration_zero")?);
        let histograms = histograms.map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
        for row in 0..totals.num_rows() {
            let values: Vec<_> = names.iter().map(|column| rows::text(column, row)).collect();
            let values: Vec<_> = values.iter().map(String::as_str).collect();
            let sum = by_labels.entry(naming.labels("", &columns, &values)).or_default();
            sum.requests = sum.requests.saturating_add(requests[row]);
            sum.duration_us = sum.duration_us.saturating_add(durations[row]);
            sum.request_bytes = sum.request_bytes.saturating_add(sent[row]);
            sum.response_bytes = sum.response_bytes.saturating_add(received[row]);
            sum.heard_us = sum.heard_us.max(heard.value(row));
            let view = histograms.get(row).map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
            let up_to = view.map(|view| view.le_counts()).unwrap_or_default();
            sum.up_to.iter_mut().zip(up_to).for_each(|(sum, count)| *sum = sum.saturating_add(count));
        }
        let mut series: Vec<_> = by_labels.into_iter().filter(|(_, sum)| now_us - sum.heard_us < IDLE_US).collect();
        let left_out = series.len().saturating_sub(SERIES_MAX);
        if left_out > 0 {
            series.sort_unstable_by_key(|(_, sum)| std::cmp::Reverse(sum.requests));
            series.truncate(SERIES_MAX);
        }
        series.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        Ok(Self { series, left_out })
    }
}

impl Counted {
    /// The numbers of a metric, buckets first.
    pub(crate) fn samples(&self, metric: &Metric) -> Vec<Sample> {
        let plain = |suffix, value| Sample { suffix, bucket: None, value };
        let sum = match metric.measure {
            Measure::Requests => return vec![plain("", self.requests as f64)],
            Measure::Duration { unit_us } => self.duration_us as f64 / unit_us,
            Measure::RequestBytes => self.request_bytes as f64,
            Measure::ResponseBytes => self.response_bytes as f64,
        };
        let mut samples = Vec::new();
        if matches!(metric.measure, Measure::Duration { .. }) {
            let counts = self.up_to.iter().copied().chain([self.requests]);
            let buckets = bucket_labels(metric).into_iter().zip(counts).enumerate();
            samples.extend(buckets.map(|(at, (bound, count))| Sample {
                suffix: "_bucket",
                bucket: Some((at, bound)),
                value: count as f64,
            }));
        }
        samples.push(plain("_sum", sum));
        samples.push(plain("_count", self.requests as f64));
        samples
    }
}

impl Sample {
    /// The labels of the series that this belongs to, but for its name.
    pub(crate) fn labels(&self, labels: &Labels) -> Labels {
        let mut labels = labels.clone();
        if let Some((_, bound)) = &self.bucket {
            labels.set(BUCKET, bound.clone());
        }
        labels
    }
}

/// The columns that tell series apart.
pub(super) const KEYS: [Column; 9] = [
    Column::Direction,
    Column::Source,
    Column::Destination,
    Column::Route,
    Column::Method,
    Column::StatusClass,
    Column::Status,
    Column::Decision,
    Column::Mtls,
];

fn missing(name: &str) -> ArrowError {
    ArrowError::SchemaError(format!("the column `{name}` is missing"))
}

#[cfg(test)]
mod tests {
    use super::super::metrics::METRICS;
    use super::*;
    use tollgate_attributes::{BatchBuilder, BatchLimits, Row};
    use tollgate_rollups::{Aggregator, Limits};

    const NOW_US: i64 = 1_700_000_000_000_000;

    fn counters(naming: Naming, now_us: i64, requests: &[(&str, &str, i64)]) -> Counters {
        let mut builder = BatchBuilder::new(BatchLimits::default());
        for (source, route, duration_us) in requests {
            let row = Row {
                time: NOW_US,
                direction: "inbound",
                destination: "shop/catalog",
                status: Some(200),
                decision: "allow",
                weight: 1,
                response_bytes: 10,
                ..Row::default()
            };
            let _ = builder.push(&Row { source, route, duration_us: *duration_us, ..row });
        }
        let mut aggregator = Aggregator::new(Limits::default());
        aggregator.add(&builder.finish().unwrap()).unwrap();
        Counters::new(&aggregator.totals()().unwrap(), naming, now_us).unwrap()
    }

    #[test]
    fn what_has_the_same_labels_is_one_series() {
        let requests = [("shop/a", "/x", 400), ("shop/a", "/y", 900), ("shop/b", "/x", 4_000)];
        let istio = counters(Naming::Istio, NOW_US, &requests);
        let by_source: Vec<_> =
            istio.series.iter().map(|(labels, sum)| (labels.get("source_workload"), sum.requests)).collect();
        assert_eq!(by_source, [("a", 2), ("b", 1)]);
        assert_eq!(counters(Naming::Own, NOW_US, &requests).series.len(), 3);
        let duration = METRICS.iter().find(|metric| metric.name == "istio_request_duration_milliseconds").unwrap();
        let samples = istio.series[0].1.samples(duration);
        let value = |at: usize| samples[at].value as i64;
        assert_eq!((value(0), value(1), value(19)), (1, 2, 2), "up to 0.5 ms, 1 ms and without a bound");
        assert_eq!(samples[19].labels(&Labels::default()).get(BUCKET), "+Inf");
        assert!((samples[20].value - 1.3).abs() < 1e-9 && samples[20].suffix == "_sum");
    }

    #[test]
    fn idle_series_are_left_out() {
        let requests = [("shop/a", "/x", 400)];
        assert_eq!(counters(Naming::Own, NOW_US + IDLE_US - 1, &requests).series.len(), 1);
        assert_eq!(counters(Naming::Own, NOW_US + IDLE_US + 1, &requests).series.len(), 0);
    }
}
