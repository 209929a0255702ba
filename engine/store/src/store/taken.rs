//! What was derived from the rows that are being sealed, until it is rows itself.

use std::fmt;
use std::sync::Arc;

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parking_lot::Mutex;

use super::books;
use super::derive::Derived;
use crate::table::TableSpec;
use crate::view::HotBatch;

/// Batches by table.
pub(super) type DerivedRows = Vec<(usize, Arc<HotBatch>)>;

/// Taken out at a cut. Rows are made of it once, by whoever needs them first: the seal, or a query that begins meanwhile. Neither
/// holds the lock of publication for that.
pub(super) struct Taken {
    tables: Arc<Vec<TableSpec>>,
    derived: Box<dyn Derived>,
    rows: Mutex<Option<DerivedRows>>,
}

impl Taken {
    pub(super) fn new(tables: Arc<Vec<TableSpec>>, derived: Box<dyn Derived>) -> Self {
        Self { tables, derived, rows: Mutex::new(None) }
    }

    /// The rows, if they were made; does not wait.
    pub(super) fn made(&self) -> Option<DerivedRows> {
        self.rows.try_lock()?.clone()
    }

    /// Makes the rows, or waits for somebody who does.
    pub(super) fn make(&self) -> Result<DerivedRows, ArrowError> {
        let mut made = self.rows.lock();
        if let Some(rows) = &*made {
            return Ok(rows.clone());
        }
        let rows = hot(&self.tables, self.derived.rows()?);
        *made = Some(rows.clone());
        Ok(rows)
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken").finish_non_exhaustive()
    }
}

/// What is derived, without what could never be sealed: it would keep everything else from being sealed, too.
pub(super) fn hot(tables: &[TableSpec], derived: Vec<(usize, RecordBatch)>) -> DerivedRows {
    let batch = |(table, rows): (usize, RecordBatch)| {
        let spec = tables.get(table).filter(|_| rows.num_rows() > 0)?;
        match books::check(spec, &rows) {
            Ok(()) => Some((table, Arc::new(HotBatch::new(rows, spec.time)))),
            Err(error) => {
                tracing::error!(%error, rows = rows.num_rows(), "derived rows do not fit their table and are left out");
                None
            }
        }
    };
    derived.into_iter().filter_map(batch).collect()
}
