//! The metrics of the mesh: those that Istio's dashboards ask for, and our own, which say more.

use tollgate_promql::api::MetricType;

use super::naming::Naming;

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Measure {
    /// Requests.
    Requests,
    /// Time in units of so many microseconds.
    Duration {
        /// Microseconds of a unit: 1,000 for milliseconds.
        unit_us: f64,
    },
    /// Bytes of requests' bodies.
    RequestBytes,
    /// Bytes of responses' bodies.
    ResponseBytes,
}

/// A metric: its series are made from the rollups, or from raw rows where the rollups do not have it.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) measure: Measure,
    pub(crate) naming: Naming,
}

/// Which series of a metric: a counter has one kind, a histogram three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The counter itself.
    Counter,
    /// Observations up to `le`.
    Bucket,
    /// Sum of what was observed.
    Sum,
    /// Number of observations.
    Count,
}

/// Every metric.
pub(crate) static METRICS: &[Metric] = &[
    Metric {
        name: "istio_requests_total",
        help: "Requests, under the name and labels that Istio gives them.",
        unit: "",
        measure: Measure::Requests,
        naming: Naming::Istio,
    },
    Metric {
        name: "istio_request_duration_milliseconds",
        help: "Duration of requests in milliseconds, as Istio names it.",
        unit: "milliseconds",
        measure: Measure::Duration { unit_us: 1_000.0 },
        naming: Naming::Istio,
    },
    Metric {
        name: "istio_request_bytes",
        help: "Sizes of requests' bodies, as Istio names it.",
        unit: "bytes",
        measure: Measure::RequestBytes,
        naming: Naming::Istio,
    },
    Metric {
        name: "istio_response_bytes",
        help: "Sizes of responses' bodies, as Istio names it.",
        unit: "bytes",
        measure: Measure::ResponseBytes,
        naming: Naming::Istio,
    },
    Metric {
        name: "tollgate_requests_total",
        help: "Requests by caller, called service, route, method, status class and decision.",
        unit: "",
        measure: Measure::Requests,
        naming: Naming::Own,
    },
    Metric {
        name: "tollgate_request_duration_seconds",
        help: "Duration of requests in seconds.",
        unit: "seconds",
        measure: Measure::Duration { unit_us: 1_000_000.0 },
        naming: Naming::Own,
    },
];

impl Metric {
    /// Microseconds of a unit, for durations.
    pub(crate) fn unit_us(&self) -> Option<f64> {
        match self.measure {
            Measure::Duration { unit_us } => Some(unit_us),
            _ => None,
        }
    }

    pub(super) fn metric_type(&self) -> MetricType {
        if self.measure == Measure::Requests { MetricType::Counter } else { MetricType::Histogram }
    }

    /// Names of its series, with what each holds.
    pub(super) fn parts(&self) -> Vec<(String, Part)> {
        if self.measure == Measure::Requests {
            return vec![(self.name.to_owned(), Part::Counter)];
        }
        let part = |suffix: &str, part| (format!("{}_{suffix}", self.name), part);
        vec![part("bucket", Part::Bucket), part("sum", Part::Sum), part("count", Part::Count)]
    }
}

/// Every name of a series, with its metric.
pub(super) fn all_parts() -> impl Iterator<Item = (&'static Metric, String, Part)> {
    METRICS.iter().flat_map(|metric| metric.parts().into_iter().map(move |(name, part)| (metric, name, part)))
}
