//! What a table counts under one key, and how it is written to and read from Arrow.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::error::RollupError;
use crate::key::Place;

/// How a column follows from a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyColumn {
    /// Names or words.
    Texts(Place),
    /// Classes of statuses, as words.
    Class(Place),
    /// Exact statuses, null where only the class is known.
    Status(Place),
    /// True, false or null.
    Flag(Place),
}

impl KeyColumn {
    /// The part of the key that the column follows from. Two columns may have the same.
    pub(crate) const fn place(self) -> Place {
        match self {
            Self::Texts(place) | Self::Class(place) | Self::Status(place) | Self::Flag(place) => place,
        }
    }
}

/// The numbers of one row of a rollup table. Adding is commutative and associative, so that rows merge in any order.
pub(crate) trait Cell: Default {
    /// Collects the columns that follow the keys.
    type Values: Default;
    /// These columns of a batch.
    type Columns<'a>;

    /// The columns after `time` and how they follow from the key, in the table's order.
    const KEYS: &'static [(&'static str, KeyColumn)];

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
