//! Rows of several deltas become one for each key, for compaction.

use std::sync::Arc;

use arrow::array::{AsArray, DictionaryArray, Int16Array, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{FieldRef, Int16Type, Int32Type};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::cell::{Cell, KeyColumn};
use crate::emit::{Entry, Texts, sorted};
use crate::error::RollupError;
use crate::key::{Holds, NAMES_MAX, Place};
use crate::names::Names;
use crate::policy::PolicyTally;
use crate::rows::{column, mark, names, times, words};
use crate::status::{code, code_of_class, code_of_flag};
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

/// Columns that the first version of the tables did not have: null in rows of that time.
const LATER: [&str; 2] = ["status", "is_mtls"];

fn merge<C: Cell>(batches: &[RecordBatch]) -> Result<RecordBatch, RollupError> {
    let batches = batches.iter().map(conform::<C>).collect::<Result<Vec<_>, _>>()?;
    let mut all_names = Names::new(NAMES_MAX, usize::MAX);
    let mut all_words = words();
    let mut entries = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    let mut columns = Vec::with_capacity(batches.len());
    for (source, rows) in (0..).zip(&batches) {
        let mut keys = vec![0; rows.num_rows()];
        for (name, key_column) in C::KEYS {
            match *key_column {
                KeyColumn::Texts(place) => {
                    let known = if place.holds() == Holds::Words { &mut all_words } else { &mut all_names };
                    mark(names(rows, name)?, place, &mut keys, known);
                }
                // It follows from the status, but for rows that have none.
                KeyColumn::Class(place) => mark_classes(names(rows, name)?, place, &mut keys),
                KeyColumn::Status(place) => mark_statuses(statuses(rows, name)?, place, &mut keys),
                KeyColumn::Flag(place) => {
                    let flags = column(rows, name)?.as_boolean_opt();
                    let flags = flags.ok_or(RollupError::Column { column: name, expected: "boolean" })?;
                    keys.iter_mut().zip(flags).for_each(|(key, flag)| *key |= place.put(code_of_flag(flag)));
                }
            }
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

fn statuses<'a>(rows: &'a RecordBatch, name: &'static str) -> Result<&'a Int16Array, RollupError> {
    let statuses = column(rows, name)?.as_primitive_opt::<Int16Type>();
    statuses.ok_or(RollupError::Column { column: name, expected: "16-bit integer" })
}

fn mark_classes(classes: &DictionaryArray<Int32Type>, place: Place, keys: &mut [u128]) {
    let Some(texts) = classes.values().as_string_opt::<i32>() else { return };
    let codes: Vec<_> = texts.iter().map(|class| place.put(code_of_class(class.unwrap_or_default()))).collect();
    for (key, at) in keys.iter_mut().zip(classes.keys()) {
        *key |= at.and_then(|at| codes.get(at as usize)).copied().unwrap_or(0);
    }
}

/// The class is in the upper bits of a status' code, so that nothing of it is lost where it was marked before.
fn mark_statuses(statuses: &Int16Array, place: Place, keys: &mut [u128]) {
    keys.iter_mut().zip(statuses).for_each(|(key, status)| *key |= place.put(code(status)));
}

/// The columns with the types of the schema: a file may come back with plain texts.
fn conform<C: Cell>(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = C::schema();
    let column = |field: &FieldRef| {
        if rows.column_by_name(field.name()).is_none() && LATER.contains(&field.name().as_str()) {
            return Ok(new_null_array(field.data_type(), rows.num_rows()));
        }
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
