//! What is computed from rows as they are kept: rollups, and which rows stay.

use arrow::record_batch::RecordBatch;

/// Computes further tables from the rows of the first one.
///
/// It is called in the order of positions, under the lock of publication: `add` and `reduce` have to be fast. Nothing of it
/// is durable by itself: what was not taken is added again, from the log, after a restart.
pub trait Derive: Send {
    /// Counts rows that are now kept.
    fn add(&mut self, rows: &RecordBatch);

    /// What was added since the last [`take`](Self::take), by table index.
    fn snapshot(&self) -> Vec<(usize, RecordBatch)>;

    /// The same, and begins anew: these rows go into files together with those that were added.
    fn take(&mut self) -> Vec<(usize, RecordBatch)>;

    /// The rows that stay, after all were added. May be none.
    fn reduce(&mut self, rows: RecordBatch) -> RecordBatch;
}

/// Derives nothing.
impl Derive for () {
    fn add(&mut self, _rows: &RecordBatch) {}

    fn snapshot(&self) -> Vec<(usize, RecordBatch)> {
        Vec::new()
    }

    fn take(&mut self) -> Vec<(usize, RecordBatch)> {
        Vec::new()
    }

    fn reduce(&mut self, rows: RecordBatch) -> RecordBatch {
        rows
    }
}
