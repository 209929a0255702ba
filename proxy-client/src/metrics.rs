//! Numbers about the proxy itself. Each worker counts for itself, without sharing a cache line with others; a scrape adds up.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use tollgate_attributes::{Decision, Direction};
use tollgate_policies::Enforcer;

use crate::following::Following;
use crate::reporting::Reporting;

const DIRECTIONS: usize = Direction::ALL.len();
const DECISIONS: usize = Decision::ALL.len();
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
/// Upper bounds of the buckets of durations, in microseconds.
const BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// What one worker counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: [[[AtomicU64; CLASSES.len()]; DECISIONS]; DIRECTIONS],
    durations: [Durations; DIRECTIONS],
    connections: AtomicI64,
    upstream_connections: AtomicI64,
}

#[derive(Debug, Default)]
struct Durations {
    /// One more than the bounds, for what is longer.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Counters {
    pub(crate) fn request(&self, direction: Direction, decision: Decision, status: Option<u16>, duration: Duration) {
        let class = status.map_or(0, |status| usize::from(status / 100).min(CLASSES.len() - 1));
        let (direction, decision) = (direction as usize, decision as usize);
        self.requests[direction][decision][class].fetch_add(1, Ordering::Relaxed);
        let duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let durations = &self.durations[direction];
        let bucket = BOUNDS_US.partition_point(|bound| *bound < duration_us);
        durations.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        durations.sum_us.fetch_add(duration_us, Ordering::Relaxed);
    }

    pub(crate) fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn upstream_opened(&self) {
        self.upstream_connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn upstream_closed(&self) {
        self.upstream_connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Everything that a scrape shows.
pub(crate) struct ProxyMetrics {
    pub(crate) workers: Vec<Arc<Counters>>,
    pub(crate) reporting: Reporting,
    pub(crate) following: Following,
    pub(crate) enforcer: Arc<Enforcer>,
}

impl fmt::Debug for ProxyMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyMetrics").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    direction: &'static str,
    decision: &'static str,
    status: &'static str,
}

impl Collector for ProxyMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_requests(&mut encoder)?;
        self.encode_durations(&mut encoder)?;
        self.encode_rows(&mut encoder)?;
        self.encode_engine(&mut encoder)?;
        self.encode_policies(&mut encoder)?;
        let open = |count: fn(&Counters) -> &AtomicI64| self.sum(|worker| count(worker).load(Ordering::Relaxed));
        gauge(&mut encoder, "connections", "Connections of callers.", open(|worker| &worker.connections))?;
        let upstream = open(|worker| &worker.upstream_connections);
        gauge(&mut encoder, "upstream_connections", "Connections to upstreams, busy and idle.", upstream)
    }
}

impl ProxyMetrics {
    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests that have ended, by direction, decision and class of status";
        let mut family = encoder.encode_descriptor("tollgate_proxy_requests", help, None, MetricType::Counter)?;
        for direction in Direction::ALL {
            for decision in Decision::ALL {
                for (class, name) in CLASSES.iter().enumerate() {
                    let cell = |worker: &Counters| {
                        worker.requests[*direction as usize][*decision as usize][class].load(Ordering::Relaxed)
                    };
                    let requests: u64 = self.sum(cell);
                    let labels =
                        RequestLabels { direction: direction.as_str(), decision: decision.as_str(), status: name };
                    if requests > 0 {
                        family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&requests, None)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn encode_durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "From the first byte of a request to the last byte of its response";
        let name = "tollgate_proxy_request_duration";
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for direction in Direction::ALL {
            let of = |worker: &Counters, bucket: usize| {
                worker.durations[*direction as usize].buckets[bucket].load(Ordering::Relaxed)
            };
            let bounds = BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6).chain([f64::MAX]);
            let buckets: Vec<(f64, u64)> =
                bounds.enumerate().map(|(bucket, bound)| (bound, self.sum(|worker| of(worker, bucket)))).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let sum_us: u64 = self.sum(|worker| worker.durations[*direction as usize].sum_us.load(Ordering::Relaxed));
            if count > 0 {
                let labels = [("direction", direction.as_str())];
                let mut histogram = family.encode_family(&labels)?;
                histogram.encode_histogram::<NoLabelSet>(sum_us as f64 / 1e6, count, &buckets, None)?;
            }
        }
        Ok(())
    }

    fn encode_rows(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let state = self.reporting.state();
        gauge(encoder, "rows_buffered", "Rows that wait for the engine's acknowledgement.", saturating(state.rows))?;
        let bytes = saturating(state.bytes as u64);
        gauge(encoder, "buffered_bytes", "Bytes of the encoded batches that wait.", bytes)?;
        let help = "Rows that the engine has acknowledged";
        let mut rows =
            encoder.encode_descriptor("tollgate_proxy_rows_acknowledged", help, None, MetricType::Counter)?;
        rows.encode_counter::<NoLabelSet, _, u64>(&state.acknowledged_rows, None)?;
        let help = "Rows that were lost, by reason";
        let mut dropped = encoder.encode_descriptor("tollgate_proxy_rows_dropped", help, None, MetricType::Counter)?;
        for (reason, rows) in state.losses.by_reason() {
            dropped.encode_family(&[("reason", reason)])?.encode_counter::<NoLabelSet, _, u64>(&rows, None)?;
        }
        Ok(())
    }

    fn encode_engine(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let version = saturating(self.enforcer.version());
        gauge(encoder, "snapshot_version", "Version of the snapshot in force; 0 before the first.", version)?;
        let help = "Whether the stream to the engine works at this moment";
        let mut connected = encoder.encode_descriptor("tollgate_proxy_connected", help, None, MetricType::Gauge)?;
        for (stream, is_connected) in
            [("report", self.reporting.is_connected()), ("watch", self.following.is_connected())]
        {
            connected.encode_family(&[("stream", stream)])?.encode_gauge(&i64::from(is_connected))?;
        }
        Ok(())
    }

    fn encode_policies(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests for which a policy failed to evaluate: a forbid or a limit was applied, a permit was not";
        let mut failures =
            encoder.encode_descriptor("tollgate_proxy_policy_failures", help, None, MetricType::Counter)?;
        for (policy, requests) in self.enforcer.failures() {
            failures.encode_family(&[("policy", &*policy)])?.encode_counter::<NoLabelSet, _, u64>(&requests, None)?;
        }
        let report = self.enforcer.cache_report();
        let help =
            "Decisions since the policies last changed: remembered, made anew, or made anew because they read the time";
        let mut decisions = encoder.encode_descriptor("tollgate_proxy_decisions", help, None, MetricType::Gauge)?;
        for (from, count) in [("cache", report.hits), ("policies", report.misses), ("time", report.timed)] {
            decisions.encode_family(&[("from", from)])?.encode_gauge(&saturating(count))?;
        }
        let help = "About how many values of an attribute decisions were made anew for: the most ruins the cache";
        let mut values = encoder.encode_descriptor("tollgate_proxy_decision_values", help, None, MetricType::Gauge)?;
        for (attribute, count) in &report.attributes {
            values.encode_family(&[("attribute", attribute.as_str())])?.encode_gauge(&saturating(*count))?;
        }
        Ok(())
    }

    fn sum<T: std::iter::Sum>(&self, of: impl Fn(&Counters) -> T) -> T {
        self.workers.iter().map(|worker| of(worker)).sum()
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    let name = format!("tollgate_proxy_{name}");
    encoder.encode_descriptor(&name, help.trim_end_matches('.'), None, MetricType::Gauge)?.encode_gauge(&value)
}

fn saturating(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
