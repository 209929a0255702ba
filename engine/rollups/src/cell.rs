//! What a table counts under one key, and how it is written to and read from Arrow.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::error::RollupError;
use crate::key::Place;

/// The numbers of one row of a rollup table. Adding is commutative and associative, so that rows merge in any order.
pub(crate) trait Cell: Default {
    /// Collects the columns that follow the keys.
    type Values: Default;
    /// These columns of a batch.
    type Columns<'a>;

    /// The columns after `time` and their places in the key, in the table's order.
    const KEYS: &'static [(&'static str, Place)];

    fn schema() -> SchemaRef;
    fn requests(&self) -> i64;
    fn heap_bytes(&self) -> usize;
    /// Back to the default, keeping memory.
    fn clear(&mut self);
    fn absorb(&mut self, other: &Self);

    fn push(&self, values: &mut Self::Values);
    fn finish(values: Self::Values) -> Result<Vec<ArrayRef>, ArrowError>;

    fn columns(rows: &RecordBatch) -> Result<Self::Columns<'_>, RollupError>;
    fn absorb_row(&mut self, columns: &Self::Columns<'_>, row: usize) -> Result<(), RollupError>;
}
