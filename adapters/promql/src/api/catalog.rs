//! Responses about what there is: labels, metadata, exemplars, the build.

use std::collections::BTreeSet;

use serde::{Serialize, Serializer};

use crate::answer::format_value;
use crate::labels::Labels;

/// Names of all labels of these series, sorted.
pub fn label_names<'a>(series: impl IntoIterator<Item = &'a Labels>) -> Vec<String> {
    let names: BTreeSet<&str> = series.into_iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Values of one label among these series, sorted.
pub fn label_values<'a>(series: impl IntoIterator<Item = &'a Labels>, name: &str) -> Vec<String> {
    let values: BTreeSet<&str> =
        series.into_iter().map(|labels| labels.get(name)).filter(|value| !value.is_empty()).collect();
    values.into_iter().map(str::to_owned).collect()
}

/// Kinds of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricType {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counters by `le`.
    Histogram,
}

/// One value of the map of `/api/v1/metadata`, which is by metric and holds lists of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MetricMetadata {
    /// Kind of the metric.
    #[serde(rename = "type")]
    pub metric_type: MetricType,
    /// What it counts.
    pub help: &'static str,
    /// Its unit, or an empty text.
    pub unit: &'static str,
}

/// `/api/v1/status/buildinfo`. Grafana tells from the version which features there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildInfo {
    /// Version of Prometheus whose API this is.
    pub version: String,
    /// Version of the software itself.
    pub revision: String,
    /// Empty.
    pub branch: String,
    /// Empty.
    pub build_user: String,
    /// Empty.
    pub build_date: String,
    /// Empty: it is no Go.
    pub go_version: String,
}

impl BuildInfo {
    /// Of an API as Prometheus 2.42 has it, served by this software.
    #[must_use]
    pub fn of(software: &str) -> Self {
        let empty = String::new;
        Self {
            version: "2.42.0".to_owned(),
            revision: software.to_owned(),
            branch: empty(),
            build_user: empty(),
            build_date: empty(),
            go_version: empty(),
        }
    }
}

/// One element of the list of `/api/v1/query_exemplars`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExemplarSeries {
    /// The series that they are examples of.
    pub series_labels: Labels,
    /// By rising time.
    pub exemplars: Vec<Exemplar>,
}

/// One observation that stands for others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exemplar {
    /// Such as `trace_id`.
    pub labels: Labels,
    /// What was observed.
    #[serde(serialize_with = "as_text")]
    pub value: f64,
    /// Milliseconds since the epoch; written as seconds.
    #[serde(rename = "timestamp", serialize_with = "as_seconds")]
    pub time_ms: i64,
}

fn as_text<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_value(*value))
}

fn as_seconds<S: Serializer>(time_ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(*time_ms as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_names_and_values_once_and_sorted() {
        let series: Vec<Labels> = vec![
            [("__name__", "up"), ("job", "b")].into_iter().collect(),
            [("__name__", "up"), ("job", "a"), ("zone", "x")].into_iter().collect(),
            [("__name__", "up"), ("job", "b")].into_iter().collect(),
        ];
        assert_eq!(label_names(&series), ["__name__", "job", "zone"]);
        assert_eq!(label_values(&series, "job"), ["a", "b"]);
        assert_eq!(label_values(&series, "zone"), ["x"]);
        assert!(label_values(&series, "absent").is_empty());
    }

    #[test]
    fn exemplars_have_prometheus_shape() {
        let labels: Labels = [("trace_id", "ab")].into_iter().collect();
        let exemplars = vec![Exemplar { labels, value: 0.5, time_ms: 1500 }];
        let series = ExemplarSeries { series_labels: Labels::default(), exemplars };
        let expected =
            r#"{"seriesLabels":{},"exemplars":[{"labels":{"trace_id":"ab"},"value":"0.5","timestamp":1.5}]}"#;
        assert_eq!(serde_json::to_string(&series).unwrap(), expected);
    }
}
