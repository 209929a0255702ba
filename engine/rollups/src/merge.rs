//! Rows of several deltas become one for each key, for compaction.

use std::sync::Arc;

use arrow::compute::cast;
use arrow::datatypes::FieldRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::cell::Cell;
use crate::emit::{Entry, Texts, sorted};
use crate::error::RollupError;
use crate::key::NAMES_MAX;
use crate::names::Names;
use crate::policy::PolicyTally;
use crate::rows::{mark, names, times, words};
use crate::traffic::Tally;

/// Merges rows of one `traffic` table: one row for each time and key, sums exact, sorted by [`TRAFFIC_SORT`](crate::TRAFFIC_SORT).
///
/// Takes about 50 bytes for each row beside input and output: pass a partition's rows, not a year's.
///
/// # Errors
/// When a column is missing or of a type that does not become the schema's, when a histogram cannot be, when there are
/// more than 16 million names, or more than 2^31 counts of histograms.
pub fn merge_traffic(batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    Ok(merge::<Tally>(batches)?)
}

/// Merges rows of `policy_traffic_1m` likewise.
///
/// # Errors
/// As [`merge_traffic`].
pub fn merge_policy_traffic(batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    Ok(merge::<PolicyTally>(batches)?)
}

fn merge<C: Cell>(batches: &[RecordBatch]) -> Result<RecordBatch, RollupError> {
    let batches = batches.iter().map(conform::<C>).collect::<Result<Vec<_>, _>>()?;
    let mut all_names = Names::new(NAMES_MAX, usize::MAX);
    let mut all_words = words();
    let mut entries = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    let mut columns = Vec::with_capacity(batches.len());
    for (source, rows) in (0..).zip(&batches) {
        let mut keys = vec![0; rows.num_rows()];
        for (name, place) in C::KEYS {
            mark(
                names(rows, name)?,
                *place,
                &mut keys,
                if place.holds_words() { &mut all_words } else { &mut all_names },
            );
        }
        let times = times(rows)?;
        entries.extend((0..).zip(times).zip(keys).map(|((row, time_us), key)| Entry {
            time_us: *time_us,
            key,
            at: (source, row),
        }));
        columns.push(C::columns(rows)?);
    }
    // Rows whose names had no room would be merged although they differ.
    if all_names.refused() + all_words.refused() > 0 {
        return Err(ArrowError::DictionaryKeyOverflowError.into());
    }
    let texts = Texts { names: &all_names, words: &all_words };
    sorted::<C>(entries, texts, |cell, (source, row)| match columns.get(source as usize) {
        Some(columns) => cell.absorb_row(columns, row as usize),
        None => Ok(()),
    })
}

/// The columns with the types of the schema: a file may come back with plain texts.
fn conform<C: Cell>(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = C::schema();
    let column = |field: &FieldRef| {
        let column = rows.column_by_name(field.name()).ok_or_else(|| {
            ArrowError::SchemaError(format!(
                "the rows have no column `{}`: pass rows of one rollup table",
                field.name()
            ))
        })?;
        if column.data_type() == field.data_type() { Ok(Arc::clone(column)) } else { cast(column, field.data_type()) }
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema, columns)
}
