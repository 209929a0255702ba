//! What exported files are, and how rows become theirs.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// What exported files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// Parquet, in encodings that any reader knows.
    Parquet,
    /// Comma-separated values with a line of names. Lists and maps are text.
    Csv,
    /// One JSON object a line; nulls are left out.
    JsonLines,
}

impl ExportFormat {
    /// What file names end with.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
        }
    }
}

impl FromStr for ExportFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "parquet" => Ok(Self::Parquet),
            "csv" => Ok(Self::Csv),
            "jsonl" => Ok(Self::JsonLines),
            _ => Err(format!("`{text}` is no format: choose `parquet`, `csv` or `jsonl`")),
        }
    }
}

/// With times as offsets from UTC, which can be written without a table of time zones.
pub(super) fn for_json(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    converted(batch, |column| match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            cast(column, &DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())))
        }
        _ => Ok(Arc::clone(column)),
    })
}

/// And with lists and maps as text: a cell holds no more.
pub(super) fn for_csv(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    converted(&for_json(batch)?, |column| match column.data_type() {
        DataType::List(_) | DataType::Map(..) => as_text(column),
        _ => Ok(Arc::clone(column)),
    })
}

fn as_text(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let formatter = ArrayFormatter::try_new(column, &FormatOptions::default())?;
    let text = |row: usize| match column.is_null(row) {
        true => Ok(None),
        false => formatter.value(row).try_to_string().map(Some),
    };
    Ok(Arc::new((0..column.len()).map(text).collect::<Result<StringArray, _>>()?))
}

fn converted(
    batch: &RecordBatch,
    convert: impl Fn(&ArrayRef) -> Result<ArrayRef, ArrowError>,
) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(convert).collect::<Result<Vec<_>, _>>()?;
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(&columns);
    let fields =
        fields.map(|(field, column)| Field::new(field.name(), column.data_type().clone(), field.is_nullable()));
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)
}
