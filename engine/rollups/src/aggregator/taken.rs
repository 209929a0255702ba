//! Turns what was counted into deltas, away from the lock under which it was taken.

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::cell::Cell;
use crate::emit::{Entry, Texts, sorted};
use crate::error::RollupError;
use crate::interval::Interval;
use crate::names::Names;
use crate::policy::PolicyTally;
use crate::tables::Table;
use crate::traffic::Tally;

/// What was counted between two cuts.
#[derive(Debug)]
pub struct Taken {
    pub(super) names: Names,
    pub(super) words: Names,
    pub(super) seconds: Vec<Interval<Tally>>,
    pub(super) minutes: Vec<Interval<Tally>>,
    pub(super) hours: Vec<Interval<Tally>>,
    pub(super) policies: Vec<Interval<PolicyTally>>,
}

impl Taken {
    /// The deltas of all tables: one batch for each that has rows, one row for each key, sorted.
    ///
    /// # Errors
    /// Arrow's own, when a batch would be too large for it. Nothing is lost: it may be called again.
    pub fn finish(&self) -> Result<Vec<(Table, RecordBatch)>, ArrowError> {
        let texts = Texts { names: &self.names, words: &self.words };
        let mut batches = vec![
            (Table::Traffic1s, delta(&self.seconds, texts)?),
            (Table::Traffic1m, delta(&self.minutes, texts)?),
            (Table::Traffic1h, delta(&self.hours, texts)?),
            (Table::PolicyTraffic1m, delta(&self.policies, texts)?),
        ];
        batches.retain(|(_, rows)| rows.num_rows() > 0);
        Ok(batches)
    }
}

fn delta<C: Cell>(intervals: &[Interval<C>], texts: Texts<'_>) -> Result<RecordBatch, RollupError> {
    let entries = (0..).zip(intervals).flat_map(|(source, interval)| {
        let entry =
            move |(place, key): (u32, &u128)| Entry { time_us: interval.start_us, key: *key, at: (source, place) };
        (0..).zip(&interval.keys).map(entry)
    });
    sorted::<C>(entries.collect(), texts, |cell, (source, place)| {
        cell.absorb(&intervals[source as usize].cells[place as usize]);
        Ok(())
    })
}
