//! What is computed from rows as they are kept: rollups, and which rows stay.

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

/// Computes further tables from the rows of the first one.
///
/// It is called in the order of positions, under the lock of publication: `add`, `reduce` and `take` have to be fast. Nothing of it
/// is durable by itself: what was not taken is added again, from the log, after a restart.
pub trait Derive: Send {
    /// Counts rows that are now kept.
    fn add(&mut self, rows: &RecordBatch);

    /// What was added since the last [`take`](Self::take), by table index.
    fn snapshot(&self) -> Vec<(usize, RecordBatch)>;

    /// Takes out the same, and begins anew: rows are made of it later, away from the lock, and go into files together with those that
    /// were added.
    fn take(&mut self) -> Box<dyn Derived>;

    /// The rows that stay, after all were added. May be none.
    fn reduce(&mut self, rows: RecordBatch) -> RecordBatch;
}

/// What [`Derive::take`] has taken out.
pub trait Derived: Send + Sync {
    /// Its rows, by table index.
    ///
    /// # Errors
    /// Arrow's own. Nothing is lost: it is asked again.
    fn rows(&self) -> Result<Vec<(usize, RecordBatch)>, ArrowError>;
}

impl Derived for Vec<(usize, RecordBatch)> {
    fn rows(&self) -> Result<Vec<(usize, RecordBatch)>, ArrowError> {
        Ok(self.clone())
    }
}

/// Derives nothing.
impl Derive for () {
    fn add(&mut self, _rows: &RecordBatch) {}

    fn snapshot(&self) -> Vec<(usize, RecordBatch)> {
        Vec::new()
    }

    fn take(&mut self) -> Box<dyn Derived> {
        Box::new(Vec::new())
    }

    fn reduce(&mut self, rows: RecordBatch) -> RecordBatch {
        rows
    }
}
