//! Keeps the rows that were admitted, in memory, newest last.
//!
//! Readers take a snapshot of the list and never wait for a writer. Bound: [`HotLimits`]; what goes over it, or gets too
//! old, is dropped from the oldest end in whole batches, and counted.

mod coalesce;
mod unify;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use arrow::array::{Array, AsArray};
use arrow::compute::{max, min};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use parking_lot::Mutex;

use crate::metrics::{DropReason, Metrics};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HotLimits {
    /// Most bytes that all batches may take.
    pub(crate) bytes_max: usize,
    /// How long a row is kept after its time.
    pub(crate) retention: Duration,
}

/// Rows that came together, or were put together.
#[derive(Debug)]
pub(crate) struct HotBatch {
    pub(crate) rows: RecordBatch,
    /// Earliest and latest time of a row, in microseconds since the epoch.
    pub(crate) time_min_us: i64,
    pub(crate) time_max_us: i64,
    bytes: usize,
}

impl HotBatch {
    fn new(rows: RecordBatch) -> Self {
        let times = rows.column_by_name("time").and_then(|time| time.as_primitive_opt::<TimestampMicrosecondType>());
        let (time_min_us, time_max_us) =
            times.and_then(|times| min(times).zip(max(times))).unwrap_or((i64::MIN, i64::MAX));
        let bytes = rows.columns().iter().map(|column| column.get_array_memory_size()).sum();
        Self { rows, time_min_us, time_max_us, bytes }
    }
}

/// The batches at one moment.
pub(crate) type HotList = Vec<Arc<HotBatch>>;

/// The rows of `requests`.
pub(crate) struct HotStore {
    limits: HotLimits,
    metrics: Arc<Metrics>,
    list: ArcSwap<HotList>,
    writing: Mutex<()>,
}

impl HotStore {
    pub(crate) fn new(limits: HotLimits, metrics: Arc<Metrics>) -> Self {
        Self { limits, metrics, list: ArcSwap::default(), writing: Mutex::new(()) }
    }

    /// Adds rows; they are visible to every query that starts after this returns.
    pub(crate) fn append(&self, rows: RecordBatch) {
        let batch = Arc::new(HotBatch::new(rows));
        let _writing = self.writing.lock();
        let mut list = HotList::clone(&self.list.load());
        list.push(batch);
        let excess = self.over_the_bound(&list);
        self.drop_oldest(&mut list, excess, DropReason::Memory);
        self.publish(list);
    }

    /// Drops what is older than the retention.
    pub(crate) fn expire(&self, now_us: i64) {
        let retention_us = i64::try_from(self.limits.retention.as_micros()).unwrap_or(i64::MAX);
        let horizon_us = now_us.saturating_sub(retention_us);
        let _writing = self.writing.lock();
        let (mut expired, kept): (HotList, HotList) =
            self.list.load().iter().cloned().partition(|batch| batch.time_max_us < horizon_us);
        if expired.is_empty() {
            return;
        }
        let count = expired.len();
        self.drop_oldest(&mut expired, count, DropReason::Retention);
        self.publish(kept);
    }

    /// Puts small batches together, so that a query meets few large ones. Returns how many batches went into others.
    pub(crate) fn coalesce(&self) -> usize {
        let mut merged = 0;
        for run in coalesce::runs(&self.list.load()) {
            let Ok(rows) = unify::concat(run.iter().map(|batch| &batch.rows)) else {
                tracing::warn!(batches = run.len(), "small batches could not be put together and stay as they are");
                continue;
            };
            if self.replace(&run, Arc::new(HotBatch::new(rows))) {
                merged += run.len();
            }
        }
        merged
    }

    /// The batches now.
    pub(crate) fn list(&self) -> Arc<HotList> {
        self.list.load_full()
    }

    /// Replaces a run, unless its beginning was dropped meanwhile.
    fn replace(&self, run: &[Arc<HotBatch>], with: Arc<HotBatch>) -> bool {
        let _writing = self.writing.lock();
        let mut list = HotList::clone(&self.list.load());
        let is_first = |batch: &Arc<HotBatch>| run.first().is_some_and(|first| Arc::ptr_eq(batch, first));
        let Some(start) = list.iter().position(is_first) else { return false };
        let here = list.get(start..start + run.len());
        if !here.is_some_and(|here| here.iter().zip(run).all(|(left, right)| Arc::ptr_eq(left, right))) {
            return false;
        }
        list.splice(start..start + run.len(), [with]);
        self.publish(list);
        true
    }

    /// How many of the oldest batches have to go so that the rest is within the bound. The newest one always stays.
    fn over_the_bound(&self, list: &HotList) -> usize {
        let mut bytes: usize = list.iter().map(|batch| batch.bytes).sum();
        let mut excess = 0;
        while bytes > self.limits.bytes_max && excess + 1 < list.len() {
            bytes -= list[excess].bytes;
            excess += 1;
        }
        excess
    }

    fn drop_oldest(&self, list: &mut HotList, count: usize, reason: DropReason) {
        let rows: usize = list.drain(..count).map(|batch| batch.rows.num_rows()).sum();
        self.metrics.rows_dropped(reason, rows);
    }

    fn publish(&self, list: HotList) {
        let rows = list.iter().map(|batch| batch.rows.num_rows()).sum();
        self.metrics.hot(rows, list.iter().map(|batch| batch.bytes).sum(), list.len());
        self.list.store(Arc::new(list));
    }
}

#[cfg(test)]
mod tests;
