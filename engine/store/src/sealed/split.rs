//! Splits rows over the directories of their table.

use std::collections::BTreeMap;

use arrow::array::{AsArray, BooleanArray, PrimitiveArray};
use arrow::compute::{filter_record_batch, max, min};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::TableSpec;

/// Rows by the start of their partition.
pub(crate) type Split = BTreeMap<i64, Vec<RecordBatch>>;

/// Splits batches by partition. Nearly every batch is in one, and is not copied.
pub(crate) fn split(table: &TableSpec, batches: Vec<RecordBatch>) -> Result<Split, ArrowError> {
    let mut split = Split::new();
    for batch in batches {
        let times = times(table, &batch)?.clone();
        let Some((first, last)) = min(&times).zip(max(&times)) else { continue };
        let start_us = table.partition.start_us(first);
        if start_us == table.partition.start_us(last) {
            split.entry(start_us).or_default().push(batch);
            continue;
        }
        let starts: Vec<i64> = times.values().iter().map(|time| table.partition.start_us(*time)).collect();
        let mut distinct = starts.clone();
        distinct.sort_unstable();
        distinct.dedup();
        for start_us in distinct {
            let is_in: BooleanArray = starts.iter().map(|start| Some(*start == start_us)).collect();
            split.entry(start_us).or_default().push(filter_record_batch(&batch, &is_in)?);
        }
    }
    Ok(split)
}

fn times<'a>(
    table: &TableSpec,
    batch: &'a RecordBatch,
) -> Result<&'a PrimitiveArray<TimestampMicrosecondType>, ArrowError> {
    let column = batch.column_by_name(table.time).and_then(|column| column.as_primitive_opt());
    let column = column.filter(|column| arrow::array::Array::null_count(*column) == 0);
    column.ok_or_else(|| ArrowError::SchemaError(format!("`{}` is not a time in each row", table.time)))
}
