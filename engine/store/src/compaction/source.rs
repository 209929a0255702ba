//! Rows in their table's sort order, batch by batch, with keys that compare as bytes.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::row::{Row, RowConverter, Rows, SortField};

use crate::TableSpec;

/// Rows of one batch that is put together from many.
pub(super) const BATCH_ROWS: usize = 16_384;

/// Makes keys of rows: the columns of the table's sort order.
pub(super) struct Keys {
    columns: Vec<usize>,
    converter: RowConverter,
}

impl Keys {
    pub(super) fn new(table: &TableSpec) -> Result<Self, ArrowError> {
        let columns = table.sort.iter().map(|name| table.schema.index_of(name)).collect::<Result<Vec<_>, _>>()?;
        let field = |column: &usize| SortField::new(table.schema.field(*column).data_type().clone());
        let converter = RowConverter::new(columns.iter().map(field).collect())?;
        Ok(Self { columns, converter })
    }

    pub(super) fn of(&self, batch: &RecordBatch) -> Result<Rows, ArrowError> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|column| Arc::clone(batch.column(*column))).collect();
        self.converter.convert_columns(&columns)
    }
}

/// Where sorted batches come from.
pub(super) type Batches<'a> = Box<dyn Iterator<Item = Result<RecordBatch, crate::StoreError>> + 'a>;

/// The batch of a source that is being merged, and how far.
pub(super) struct Head<'a> {
    batches: Batches<'a>,
    pub(super) batch: RecordBatch,
    pub(super) keys: Rows,
    pub(super) at: usize,
}

impl<'a> Head<'a> {
    /// The first batch of a source; `None` when it has no rows.
    pub(super) fn first(
        mut batches: Batches<'a>,
        next: impl Fn(RecordBatch) -> Result<(RecordBatch, Rows), crate::StoreError>,
    ) -> Result<Option<Self>, crate::StoreError> {
        for batch in batches.by_ref() {
            let (batch, keys) = next(batch?)?;
            if batch.num_rows() > 0 {
                return Ok(Some(Self { batches, batch, keys, at: 0 }));
            }
        }
        Ok(None)
    }

    /// The key of the row that is next.
    pub(super) fn key(&self) -> Row<'_> {
        self.keys.row(self.at)
    }

    /// Whether the batch is used up.
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.batch.num_rows()
    }

    /// What follows the batch.
    pub(super) fn into_rest(self) -> Batches<'a> {
        self.batches
    }
}

/// Sorts rows in memory, and hands them out in batches.
pub(super) fn sort(keys: &Keys, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>, ArrowError> {
    let rows = batches.iter().map(|batch| keys.of(batch)).collect::<Result<Vec<_>, _>>()?;
    let mut order: Vec<(u32, u32)> = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for (batch, rows) in rows.iter().enumerate() {
        order.extend((0..rows.num_rows()).map(|row| (batch as u32, row as u32)));
    }
    let key = |&(batch, row): &(u32, u32)| rows.get(batch as usize).map(|rows| rows.row(row as usize));
    // Stable, so that rows with equal keys stay in the order of arrival.
    order.sort_by(|left, right| key(left).cmp(&key(right)));
    if let [batch] = batches {
        let indices: UInt32Array = order.iter().map(|(_, row)| *row).collect();
        return Ok(vec![take_record_batch(batch, &indices)?]);
    }
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    let pick = |order: &[(u32, u32)]| {
        let order: Vec<_> = order.iter().map(|(batch, row)| (*batch as usize, *row as usize)).collect();
        interleave_record_batch(&batches, &order)
    };
    order.chunks(BATCH_ROWS).map(pick).collect()
}
