//! Rows in memory: batches with their bounds, and small ones put together.

mod coalesce;
mod unify;

#[cfg(test)]
mod tests;

use arrow::array::{Array, AsArray};
use arrow::compute::{max, min};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;

pub(crate) use self::coalesce::runs;
pub(crate) use self::unify::concat;
use crate::view::HotBatch;

impl HotBatch {
    /// Rows with their bounds; `time` is their column of time.
    #[must_use]
    pub fn new(rows: RecordBatch, time: &str) -> Self {
        let times = rows.column_by_name(time).and_then(|time| time.as_primitive_opt::<TimestampMicrosecondType>());
        let (time_min_us, time_max_us) =
            times.and_then(|times| min(times).zip(max(times))).unwrap_or((i64::MIN, i64::MAX));
        let bytes = memory_bytes(&rows);
        Self { rows, time_min_us, time_max_us, bytes }
    }
}

/// Memory that rows take.
pub(crate) fn memory_bytes(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(|column| column.get_array_memory_size()).sum()
}
