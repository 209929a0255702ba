//! Metrics of the store, stage by stage: memory, log, seals, files, rollups.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;
use tollgate_rollups::{Folded, Table};
use tollgate_store::{LogStatus, SYNC_BOUNDS_US, StoreStatus};

use super::labels::{StateLabel, TableLabel};
use crate::kept::{StorageState, StorageStatus};

type Seconds = Gauge<f64, AtomicU64>;

/// What the store says about itself.
#[derive(Debug, Default)]
pub(super) struct StorageMetrics {
    state: Family<StateLabel, Gauge>,
    hot_rows: Gauge,
    hot_bytes: Gauge,
    resident_bytes: Gauge,
    log_segments: Gauge,
    log_bytes: Gauge,
    log_waiting_bytes: Gauge,
    log_written_bytes: Counter,
    log_records: Counter,
    log_failures: Counter,
    log_sync_seconds: Syncs,
    seals: Counter,
    seals_failed: Counter,
    seal_seconds: Seconds,
    seal_lag_seconds: Seconds,
    files: Family<TableLabel, Gauge>,
    file_rows: Family<TableLabel, Gauge>,
    file_bytes: Family<TableLabel, Gauge>,
    compaction_debt_bytes: Family<TableLabel, Gauge>,
    files_aside: Gauge,
    rows_aside: Gauge,
    disk_free_bytes: Gauge,
    rollup_rows: Gauge,
    rollup_bytes: Gauge,
    rollup_folded_requests: Family<TableLabel, Counter>,
    rollup_names_refused: Counter,
}

impl StorageMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        macro_rules! register {
            ($($metric:ident: $help:literal;)*) => {
                $(registry.register(concat!("storage_", stringify!($metric)), $help, self.$metric.clone());)*
            };
        }
        register! {
            state: "1 for the state that the storage is in: ok, full, behind or failing";
            hot_rows: "Rows in memory that are not sealed";
            hot_bytes: "Memory of what is not sealed; acknowledgements wait when its bound is reached";
            resident_bytes: "Memory of sealed rows";
            log_segments: "Segments of the log on disk";
            log_bytes: "Bytes of the log on disk";
            log_waiting_bytes: "Bytes that wait to be written to the log";
            log_written_bytes: "Bytes that became durable";
            log_records: "Batches that became durable";
            log_failures: "Attempts to write the log that failed";
            log_sync_seconds: "Time that a sync of the log took";
            seals: "Seals that went well";
            seals_failed: "Seals that failed";
            seal_seconds: "Time that all seals took";
            seal_lag_seconds: "Age of the oldest row that is not sealed";
            files: "Sealed files, by table";
            file_rows: "Rows in sealed files, by table";
            file_bytes: "Bytes of sealed files, by table";
            compaction_debt_bytes: "Bytes of files that are still to be rewritten, by table";
            files_aside: "Files that cannot be served and were set aside";
            rows_aside: "Rows of files that cannot be served, as far as known";
            disk_free_bytes: "Bytes free where the data directory is";
            rollup_rows: "Rows of traffic_1s that are not sealed";
            rollup_bytes: "Memory of rollups that are not sealed";
            rollup_folded_requests: "Requests that were counted under (other) because there were too many keys, by table";
            rollup_names_refused: "Names that became (other) because there were too many";
        }
    }

    pub(super) fn note(&self, store: &StoreStatus, rollups: &tollgate_rollups::Status) {
        self.note_memory(store);
        self.note_log(&store.log);
        self.note_files(store);
        self.rollup_rows.set(integer(rollups.cells as u64));
        self.rollup_bytes.set(integer(rollups.bytes as u64));
        self.rollup_names_refused.inner().store(rollups.names_refused, Ordering::Relaxed);
        for (table, Folded { first, second, all }) in Table::ALL.into_iter().zip(rollups.folded) {
            let counter = self.rollup_folded_requests.get_or_create(&TableLabel { table: table.name() });
            counter.inner().store(first.saturating_add(second).saturating_add(all), Ordering::Relaxed);
        }
    }

    fn note_memory(&self, store: &StoreStatus) {
        let now = StorageStatus::from(store.disk()).state;
        for state in StorageState::ALL {
            self.state.get_or_create(&StateLabel { state: state.as_str() }).set(i64::from(state == now));
        }
        self.hot_rows.set(integer(store.hot_rows));
        self.hot_bytes.set(integer(store.hot_bytes as u64));
        self.resident_bytes.set(integer(store.resident_bytes as u64));
        self.seal_lag_seconds.set(store.seal_lag.as_secs_f64());
        self.seals.inner().store(store.seals.done, Ordering::Relaxed);
        self.seals_failed.inner().store(store.seals.failed, Ordering::Relaxed);
        self.seal_seconds.set(store.seals.time.as_secs_f64());
        self.disk_free_bytes.set(integer(store.free_bytes.unwrap_or(0)));
    }

    fn note_log(&self, log: &LogStatus) {
        self.log_segments.set(integer(log.segments as u64));
        self.log_bytes.set(integer(log.segment_bytes));
        self.log_waiting_bytes.set(integer(log.waiting_bytes as u64));
        self.log_written_bytes.inner().store(log.bytes, Ordering::Relaxed);
        self.log_records.inner().store(log.records, Ordering::Relaxed);
        self.log_failures.inner().store(log.failures, Ordering::Relaxed);
        *self.log_sync_seconds.0.lock() = log.clone();
    }

    fn note_files(&self, store: &StoreStatus) {
        self.files_aside.set(integer(store.sealed.aside.len() as u64));
        self.rows_aside.set(integer(store.sealed.aside.iter().map(|aside| aside.rows).sum()));
        for table in &store.sealed.tables {
            let label = TableLabel { table: table.name };
            self.files.get_or_create(&label).set(integer(table.files as u64));
            self.file_rows.get_or_create(&label).set(integer(table.rows));
            self.file_bytes.get_or_create(&label).set(integer(table.bytes));
            self.compaction_debt_bytes.get_or_create(&label).set(integer(table.compaction_debt_bytes));
        }
    }
}

fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How long syncs took, as the log has counted it.
#[derive(Debug, Clone, Default)]
struct Syncs(Arc<Mutex<LogStatus>>);

impl EncodeMetric for Syncs {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let log = self.0.lock();
        let bounds = SYNC_BOUNDS_US.iter().map(|bound_us| *bound_us as f64 / 1e6).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(log.sync_counts).collect();
        encoder.encode_histogram::<NoLabelSet>(log.sync_time.as_secs_f64(), log.syncs, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Syncs {
    const TYPE: MetricType = MetricType::Histogram;
}
