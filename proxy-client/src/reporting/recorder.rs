//! Where rows become batches, one recorder per thread.

use tollgate_attributes::{BatchBuilder, Fill, Row, encode};

use super::Reporting;
use super::outbox::Encoded;

/// Collects the rows of one thread.
///
/// Bound: one batch of [`BatchLimits`](tollgate_attributes::BatchLimits); a full one leaves at once. Whoever owns the recorder calls
/// [`Recorder::flush`] when the batch is old.
pub struct Recorder {
    reporting: Reporting,
    builder: BatchBuilder,
}

/// What a row did to its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It began a new one: its age counts from now.
    First,
    /// It joined others.
    Joined,
    /// It was the last one that fitted, and the batch has left.
    Left,
}

impl Recorder {
    pub(super) fn new(reporting: Reporting) -> Self {
        let builder = BatchBuilder::new(reporting.shared.config.batch);
        Self { reporting, builder }
    }

    /// Appends a row; sends the batch when it is full.
    pub fn record(&mut self, row: &Row<'_>) -> Recorded {
        match self.builder.push(row) {
            Fill::Full => {
                self.flush();
                Recorded::Left
            }
            Fill::Room if self.builder.rows() == 1 => Recorded::First,
            Fill::Room => Recorded::Joined,
        }
    }

    /// Sends what there is.
    pub fn flush(&mut self) {
        let rows = self.builder.rows() as u64;
        if rows == 0 {
            return;
        }
        let outbox = &self.reporting.shared.outbox;
        match self.builder.finish().and_then(|batch| encode(&batch)) {
            Ok(arrow_ipc) => outbox.push(Encoded { rows, arrow_ipc: arrow_ipc.into() }),
            Err(error) => {
                tracing::error!(%error, rows, "rows could not be encoded");
                outbox.lose_unencoded(rows);
            }
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
    }
}
