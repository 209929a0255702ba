//! The engine's own metrics, in Prometheus' conventions.
//!
//! They count events at the places where these happen, or are set every half a second; nothing is computed when they are read.

mod labels;
mod storage;

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tollgate_policies::lists::{Outcome, State};
use tollgate_store::StoreStatus;

use crate::admission::RefusalCode;

pub(crate) use self::labels::SignalOutcome;
use self::labels::{CodeLabel, ExportLabels, KindLabel, OutcomeLabel, ReasonLabel, StateLabel};
use self::storage::StorageMetrics;

/// From a fraction of a millisecond to the longest query.
const SECONDS: [f64; 14] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Counters, gauges and histograms of one engine.
#[derive(Debug)]
pub struct Metrics {
    rows_admitted: Counter,
    batches_admitted: Counter,
    batches_rejected: Family<CodeLabel, Counter>,
    batches_duplicate: Counter,
    rows_lost: Family<ReasonLabel, Counter>,
    bytes_admitted: Counter,
    acknowledgement_seconds: Histogram,
    storage: StorageMetrics,
    queries: Family<OutcomeLabel, Counter>,
    query_seconds: Histogram,
    signal_runs: Family<OutcomeLabel, Counter>,
    signal_seconds: Histogram,
    policies_loaded: Family<KindLabel, Gauge>,
    policies_refused: Gauge,
    policy_loads: Family<OutcomeLabel, Counter>,
    snapshot_version: Gauge,
    snapshots_pushed: Counter,
    snapshots_refused: Counter,
    push_to_acknowledgement_seconds: Histogram,
    reporters_connected: Gauge,
    watchers_connected: Gauge,
    leases: Gauge,
    checks: Family<OutcomeLabel, Counter>,
    exported: Family<ExportLabels, Counter>,
    list_refreshes: Family<OutcomeLabel, Counter>,
    lists: Family<StateLabel, Gauge>,
    list_age_seconds: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            rows_admitted: Counter::default(),
            batches_admitted: Counter::default(),
            batches_rejected: Family::default(),
            batches_duplicate: Counter::default(),
            rows_lost: Family::default(),
            bytes_admitted: Counter::default(),
            acknowledgement_seconds: Histogram::new(SECONDS),
            storage: StorageMetrics::default(),
            queries: Family::default(),
            query_seconds: Histogram::new(SECONDS),
            signal_runs: Family::default(),
            signal_seconds: Histogram::new(SECONDS),
            policies_loaded: Family::default(),
            policies_refused: Gauge::default(),
            policy_loads: Family::default(),
            snapshot_version: Gauge::default(),
            snapshots_pushed: Counter::default(),
            snapshots_refused: Counter::default(),
            push_to_acknowledgement_seconds: Histogram::new(SECONDS),
            reporters_connected: Gauge::default(),
            watchers_connected: Gauge::default(),
            leases: Gauge::default(),
            checks: Family::default(),
            exported: Family::default(),
            list_refreshes: Family::default(),
            lists: Family::default(),
            list_age_seconds: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Registers all of them under `tollgate_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tollgate");
        macro_rules! register {
            ($($metric:ident: $help:literal;)*) => {
                $(registry.register(stringify!($metric), $help, self.$metric.clone());)*
            };
        }
        register! {
            rows_admitted: "Rows taken in";
            batches_admitted: "Batches taken in";
            batches_rejected: "Batches refused, by code";
            batches_duplicate: "Batches that had been taken in before";
            rows_lost: "Rows that reporters had to drop, by reason";
            bytes_admitted: "Bytes of the batches taken in, as they arrived";
            acknowledgement_seconds: "Time from a batch to its acknowledgement";
            queries: "SQL queries, by outcome";
            query_seconds: "Time from a query to its last row";
            signal_runs: "Runs of signal files, by outcome";
            signal_seconds: "Time that a run of a signal file took";
            policies_loaded: "Policies in force, by kind";
            policies_refused: "1 while the policy directory holds a change that was refused";
            policy_loads: "Attempts to load the policy directory, by outcome";
            snapshot_version: "Newest snapshot version";
            snapshots_pushed: "Snapshots pushed to reporters";
            snapshots_refused: "Snapshots that a reporter could not apply";
            push_to_acknowledgement_seconds: "Time from a change to its enforcement by one reporter";
            reporters_connected: "Streams of rows that are open";
            watchers_connected: "Streams of snapshots that are open";
            leases: "Leases that are in force";
            checks: "Requests decided for others, by decision";
            exported: "Records, points and spans for others, by what became of them";
            list_refreshes: "Attempts to refresh a list, by outcome";
            lists: "Lists, by state: ok, failing while the last good one holds, or empty as none was ever good";
            list_age_seconds: "Time since the list that was refreshed longest ago was";
        }
        self.storage.register(registry);
    }

    pub(crate) fn batch_kept(&self, rows: usize, bytes: usize, took: Duration) {
        self.batches_admitted.inc();
        self.rows_admitted.inc_by(rows as u64);
        self.bytes_admitted.inc_by(bytes as u64);
        self.acknowledgement_seconds.observe(took.as_secs_f64());
    }

    /// Notes how the store is doing.
    pub(crate) fn storage(&self, store: &StoreStatus, rollups: &tollgate_rollups::Status) {
        self.storage.note(store, rollups);
    }

    pub(crate) fn batch_rejected(&self, code: RefusalCode) {
        self.batches_rejected.get_or_create(&CodeLabel { code: code.as_str() }).inc();
    }

    pub(crate) fn batch_duplicate(&self) {
        self.batches_duplicate.inc();
    }

    pub(crate) fn rows_lost(&self, reason: &str, rows: u64) {
        self.rows_lost.get_or_create(&ReasonLabel::of_loss(reason)).inc_by(rows);
    }

    pub(crate) fn query(&self, outcome: &'static str, duration: Duration) {
        self.queries.get_or_create(&OutcomeLabel { outcome }).inc();
        self.query_seconds.observe(duration.as_secs_f64());
    }

    pub(crate) fn signal_run(&self, outcome: SignalOutcome, duration: Duration) {
        self.signal_runs.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
        self.signal_seconds.observe(duration.as_secs_f64());
    }

    pub(crate) fn policies_accepted(&self, access: usize, shaping: usize) {
        self.policy_loads.get_or_create(&OutcomeLabel { outcome: "accepted" }).inc();
        self.policies_loaded.get_or_create(&KindLabel { kind: "access" }).set(access as i64);
        self.policies_loaded.get_or_create(&KindLabel { kind: "shaping" }).set(shaping as i64);
        self.policies_refused.set(0);
    }

    pub(crate) fn policies_refused(&self) {
        self.policy_loads.get_or_create(&OutcomeLabel { outcome: "refused" }).inc();
        self.policies_refused.set(1);
    }

    pub(crate) fn snapshot_pushed(&self, version: u64) {
        self.snapshots_pushed.inc();
        self.snapshot_version.set(i64::try_from(version).unwrap_or(i64::MAX));
    }

    pub(crate) fn snapshot_refused(&self) {
        self.snapshots_refused.inc();
    }

    pub(crate) fn acknowledged(&self, latency_us: i64) {
        self.push_to_acknowledgement_seconds.observe(latency_us as f64 / 1e6);
    }

    pub(crate) fn reporter_connected(&self) {
        self.reporters_connected.inc();
    }

    pub(crate) fn reporter_disconnected(&self) {
        self.reporters_connected.dec();
    }

    pub(crate) fn watcher_connected(&self) {
        self.watchers_connected.inc();
    }

    pub(crate) fn watcher_disconnected(&self) {
        self.watchers_connected.dec();
    }

    pub(crate) fn leases(&self, count: usize) {
        self.leases.set(count as i64);
    }

    pub(crate) fn list_refreshed(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Changed => "changed",
            Outcome::Unchanged => "unchanged",
            Outcome::Failed => "failed",
        };
        self.list_refreshes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn lists(&self, states: impl Iterator<Item = State>) {
        let (mut counts, mut oldest_ms) = ([0; 3], 0);
        for state in states {
            let place = match (state.entries, state.problem) {
                (Some(_), None) => 0,
                (Some(_), Some(_)) => 1,
                (None, _) => 2,
            };
            counts[place] += 1;
            oldest_ms = oldest_ms.max(state.age_ms.unwrap_or(0));
        }
        for (state, count) in ["ok", "failing", "empty"].into_iter().zip(counts) {
            self.lists.get_or_create(&StateLabel { state }).set(count);
        }
        self.list_age_seconds.set(i64::try_from(oldest_ms / 1_000).unwrap_or(i64::MAX));
    }

    pub(crate) fn checked(&self, decision: &'static str) {
        self.checks.get_or_create(&OutcomeLabel { outcome: decision }).inc();
    }

    /// Notes what became of telemetry for others: `to` whom, of which `signal`. The words come from whoever exports, which has
    /// a closed set of them.
    pub fn exported(&self, to: &'static str, signal: &'static str, outcome: &'static str, items: u64) {
        self.exported.get_or_create(&ExportLabels { to, signal, outcome }).inc_by(items);
    }
}
