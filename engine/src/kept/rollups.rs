//! Counts requests as they are kept, then thins them out where that is asked for.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parking_lot::Mutex;
use tollgate_rollups::{Aggregator, Limits, Sampler, SamplingRule, Status, Taken};
use tollgate_store::{Derive, Derived};

use super::tables::index;
use super::uses::CountedUses;
use crate::taps::Taps;

/// Which rows of `requests` stay, of those that were neither refused nor failed. Rollups count all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SamplingConfig {
    /// The called service, or all that no other rule names.
    pub service: Option<String>,
    /// Of so many rows one stays.
    pub keep_one_in: NonZeroU32,
    /// What took longer stays.
    pub slow: Option<Duration>,
}

/// The rollups of the rows since the last seal.
pub(super) struct Rollups {
    shared: Arc<Counting>,
    sampler: Sampler,
}

/// What is seen of the rollups from elsewhere.
pub(crate) struct Counting {
    aggregator: Mutex<Aggregator>,
    status: Mutex<Status>,
    /// Whoever watches rows as they are kept.
    pub(crate) taps: Arc<Taps>,
    /// How often each policy was named.
    pub(crate) uses: Arc<CountedUses>,
}

impl Default for Counting {
    fn default() -> Self {
        let aggregator = Mutex::new(Aggregator::new(Limits::default()));
        Self { aggregator, status: Mutex::default(), taps: Arc::default(), uses: Arc::default() }
    }
}

impl Counting {
    /// How it did when it was last asked for rows.
    pub(crate) fn status(&self) -> Status {
        *self.status.lock()
    }

    /// What was counted since this process began to take in rows, in rows of `traffic`. No number ever falls.
    pub(crate) fn totals(&self) -> Result<RecordBatch, ArrowError> {
        // A copy is made while no rows are taken in; it becomes rows after that.
        let totals = self.aggregator.lock().totals();
        totals()
    }

    /// What the log brought back was counted by the process before.
    pub(super) fn restart_totals(&self) {
        self.aggregator.lock().restart_totals();
    }
}

impl Rollups {
    pub(super) fn new(sampling: &[SamplingConfig], shared: &Arc<Counting>) -> Self {
        Self { shared: Arc::clone(shared), sampler: sampler(sampling) }
    }

    fn rows(&self) -> Vec<(usize, RecordBatch)> {
        let aggregator = self.shared.aggregator.lock();
        *self.shared.status.lock() = aggregator.status();
        match aggregator.snapshot() {
            Ok(batches) => batches.into_iter().map(|(table, rows)| (index(table), rows)).collect(),
            Err(error) => {
                tracing::error!(%error, "requests were counted and cannot be shown");
                Vec::new()
            }
        }
    }
}

/// What was counted up to a seal.
struct Counted(Taken);

impl Derived for Counted {
    fn rows(&self) -> Result<Vec<(usize, RecordBatch)>, ArrowError> {
        Ok(self.0.finish()?.into_iter().map(|(table, rows)| (index(table), rows)).collect())
    }
}

impl Derive for Rollups {
    fn add(&mut self, rows: &RecordBatch) {
        if let Err(error) = self.shared.aggregator.lock().add(rows) {
            tracing::error!(%error, rows = rows.num_rows(), "requests could not be counted");
        }
        self.shared.uses.add(rows);
        self.shared.taps.show(rows);
    }

    fn snapshot(&self) -> Vec<(usize, RecordBatch)> {
        self.rows()
    }

    fn take(&mut self) -> Box<dyn Derived> {
        let mut aggregator = self.shared.aggregator.lock();
        let taken = aggregator.take();
        *self.shared.status.lock() = aggregator.status();
        Box::new(Counted(taken))
    }

    fn reduce(&mut self, rows: RecordBatch) -> RecordBatch {
        match self.sampler.sample(&rows) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::error!(%error, rows = rows.num_rows(), "requests could not be thinned out, and all stay");
                rows
            }
        }
    }
}

fn sampler(sampling: &[SamplingConfig]) -> Sampler {
    let rule = |config: &SamplingConfig| SamplingRule {
        keep_one_in: config.keep_one_in,
        slow_us: config.slow.map(|slow| i64::try_from(slow.as_micros()).unwrap_or(i64::MAX)),
    };
    let by_service = sampling.iter().filter_map(|config| Some((config.service.clone()?, rule(config))));
    let otherwise = sampling.iter().rev().find(|config| config.service.is_none()).map(rule);
    Sampler::new(by_service, otherwise)
}
