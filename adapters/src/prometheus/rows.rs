//! Rows of the adapter's own queries: first the interval, if any, then names, then numbers.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use tollgate_engine::QueryError;

use super::naming::Column;

/// What was counted for one set of names, in one interval where the query has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grouped {
    /// Start of the interval, or 0.
    pub(super) time_ms: i64,
    /// An empty text stands for null.
    pub(super) names: Vec<String>,
    pub(super) value: i64,
    /// For histograms, the number up to each bound.
    pub(super) counts: Vec<i64>,
}

/// Reads rows of so many names, with or without a time before them, and then `value` and, where there is one, `counts`.
pub(super) fn read(batches: Vec<RecordBatch>, names: usize, has_time: bool) -> Result<Vec<Grouped>, QueryError> {
    let mut all = Vec::new();
    for batch in batches {
        let skipped = usize::from(has_time);
        // Functions on time may give another unit.
        let microseconds = DataType::Timestamp(TimeUnit::Microsecond, None);
        let times = has_time.then(|| cast(batch.column(0), &microseconds)).transpose()?;
        let times = times.as_ref().map(|times| times.as_primitive::<TimestampMicrosecondType>());
        let texts = texts(&batch, skipped, names)?;
        let value = integers(&batch, skipped + names)?;
        let counts = batch.column_by_name("counts").map(|column| lists(column)).transpose()?;
        for row in 0..batch.num_rows() {
            all.push(Grouped {
                time_ms: times.map_or(0, |times| times.value(row).div_euclid(1_000)),
                names: texts.iter().map(|column| text(column, row)).collect(),
                value: if value.is_null(row) { 0 } else { value.value(row) },
                counts: counts.as_ref().map_or_else(Vec::new, |counts| counts[row].clone()),
            });
        }
    }
    Ok(all)
}

/// Reads rows that are only names.
pub(super) fn read_names(batches: Vec<RecordBatch>, names: usize) -> Result<Vec<Vec<String>>, QueryError> {
    let mut all = Vec::new();
    for batch in batches {
        let texts = texts(&batch, 0, names)?;
        all.extend((0..batch.num_rows()).map(|row| texts.iter().map(|column| text(column, row)).collect()));
    }
    Ok(all)
}

fn texts(batch: &RecordBatch, from: usize, names: usize) -> Result<Vec<StringArray>, QueryError> {
    let text = |column: &ArrayRef| cast(column, &DataType::Utf8).map(|column| column.as_string::<i32>().clone());
    batch.columns().iter().skip(from).take(names).map(text).collect::<Result<_, ArrowError>>().map_err(QueryError::from)
}

/// A column as texts.
pub(crate) fn texts_of(batch: &RecordBatch, name: &str) -> Result<StringArray, ArrowError> {
    let column = batch.column_by_name(name);
    let column = column.ok_or_else(|| ArrowError::SchemaError(format!("the column `{name}` is missing")))?;
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// A column of the rollups as texts, by the rule of [`Column::of_rollups`].
pub(super) fn texts_of_rollup(batch: &RecordBatch, column: Column) -> Result<StringArray, ArrowError> {
    let texts = texts_of(batch, column.name())?;
    if column != Column::Status {
        return Ok(texts);
    }
    let classes = texts_of(batch, Column::StatusClass.name())?;
    Ok(texts.iter().zip(&classes).map(|(status, class)| status.or(class)).collect())
}

/// What a row of `requests` has where the rollups have this column.
pub(super) fn name_at(batch: &RecordBatch, column: Column, row: usize) -> String {
    let status = || {
        let statuses = batch.column_by_name("status")?.as_primitive_opt::<Int16Type>()?;
        statuses.is_valid(row).then(|| statuses.value(row)).filter(|status| (100..600).contains(status))
    };
    match column {
        Column::StatusClass => return status().map_or_else(String::new, |status| format!("{}xx", status / 100)),
        Column::Status => return status().map_or_else(String::new, |status| status.to_string()),
        Column::Mtls => {
            let flags = batch.column_by_name(column.name()).and_then(|column| column.as_boolean_opt());
            let flag = flags.filter(|flags| flags.is_valid(row)).map(|flags| flags.value(row));
            return flag.map_or_else(String::new, |flag| flag.to_string());
        }
        _ => {}
    }
    let names = batch.column_by_name(column.name()).and_then(|column| column.as_dictionary_opt::<Int32Type>());
    let name = names.and_then(|names| {
        let texts = names.values().as_string_opt::<i32>()?;
        let code = names.keys().is_valid(row).then(|| names.keys().value(row))?;
        Some(texts.value(usize::try_from(code).ok()?).to_owned())
    });
    name.unwrap_or_default()
}

pub(super) fn text(column: &StringArray, row: usize) -> String {
    if column.is_null(row) { String::new() } else { column.value(row).to_owned() }
}

fn integers(batch: &RecordBatch, at: usize) -> Result<Int64Array, QueryError> {
    let column = batch.columns().get(at).ok_or_else(|| ArrowError::SchemaError("a column is missing".to_owned()))?;
    Ok(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

fn lists(column: &dyn Array) -> Result<Vec<Vec<i64>>, ArrowError> {
    let lists = column.as_list_opt::<i32>();
    let lists = lists.ok_or_else(|| ArrowError::SchemaError("`counts` is no list".to_owned()))?;
    let values = cast(lists.values(), &DataType::Int64)?;
    let values = values.as_primitive::<Int64Type>();
    let list = |row: usize| {
        let (from, to) = (lists.value_offsets()[row] as usize, lists.value_offsets()[row + 1] as usize);
        values.values()[from..to].to_vec()
    };
    Ok((0..lists.len()).map(list).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, ListArray, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn dictionaries_nulls_and_lists_are_read() {
        let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_500_000, -1_000]).with_timezone("UTC"));
        let source: DictionaryArray<Int32Type> = vec![Some("shop/a"), None].into_iter().collect();
        let value: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        let lists = vec![Some(vec![Some(1), Some(2)]), Some(vec![])];
        let counts: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
        let columns = [("time", time), ("source", Arc::new(source) as ArrayRef), ("value", value), ("counts", counts)];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let rows = read(vec![batch], 1, true).unwrap();
        let grouped = |time_ms, name: &str, value, counts: &[i64]| Grouped {
            time_ms,
            names: vec![name.to_owned()],
            value,
            counts: counts.to_vec(),
        };
        assert_eq!(rows, [grouped(1_500, "shop/a", 7, &[1, 2]), grouped(-1, "", 0, &[])]);
    }
}
