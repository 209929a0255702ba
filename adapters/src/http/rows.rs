//! Encodes record batches of one schema as JSON, CSV or an Arrow stream, piece by piece.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::WriterBuilder;
use arrow::json::writer::JsonArray;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;

/// Format of the rows in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// An array with one object a row.
    Json,
    /// A header line, then one line a row.
    Csv,
    /// Arrow IPC stream.
    Arrow,
}

impl Format {
    pub(super) const ALL: [Self; 3] = [Self::Json, Self::Csv, Self::Arrow];

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// Writes batches and hands out the bytes of each.
pub(super) enum Encoder {
    Json(arrow::json::Writer<Vec<u8>, JsonArray>),
    /// The header that is still to be written.
    Csv(Option<SchemaRef>),
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Encoder {
    pub(super) fn new(format: Format, schema: &SchemaRef) -> Result<Self, ArrowError> {
        Ok(match format {
            Format::Json => Self::Json(WriterBuilder::new().with_explicit_nulls(true).build(Vec::new())),
            Format::Csv => Self::Csv(Some(schema.clone())),
            Format::Arrow => Self::Arrow(Box::new(StreamWriter::try_new(Vec::new(), schema)?)),
        })
    }

    /// The bytes of one batch, with what has to stand before it.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, ArrowError> {
        match self {
            Self::Json(writer) => {
                writer.write(batch)?;
                Ok(std::mem::take(writer.get_mut()).into())
            }
            Self::Csv(header) => csv(batch, header.take().is_some()),
            Self::Arrow(writer) => {
                writer.write(batch)?;
                Ok(std::mem::take(writer.get_mut()).into())
            }
        }
    }

    /// What has to stand at the end.
    pub(super) fn finish(&mut self) -> Result<Bytes, ArrowError> {
        match self {
            Self::Json(writer) => {
                writer.finish()?;
                Ok(std::mem::take(writer.get_mut()).into())
            }
            Self::Csv(header) => match header.take() {
                Some(schema) => csv(&RecordBatch::new_empty(schema), true),
                None => Ok(Bytes::new()),
            },
            Self::Arrow(writer) => {
                writer.finish()?;
                Ok(std::mem::take(writer.get_mut()).into())
            }
        }
    }
}

fn csv(batch: &RecordBatch, has_header: bool) -> Result<Bytes, ArrowError> {
    let mut writer = csv::WriterBuilder::new().with_header(has_header).build(Vec::new());
    writer.write(&flatten(batch)?)?;
    Ok(writer.into_inner().into())
}

/// The batch with lists and maps as text, because CSV has neither.
fn flatten(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() {
            fields.push(Field::new(field.name(), DataType::Utf8, true));
            columns.push(text(column)?);
        } else {
            fields.push(field.as_ref().clone());
            columns.push(Arc::clone(column));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn text(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
    let value = |row| (!column.is_null(row)).then(|| formatter.value(row).try_to_string()).transpose();
    Ok(Arc::new((0..column.len()).map(value).collect::<Result<StringArray, ArrowError>>()?))
}

#[cfg(test)]
mod tests {
    use arrow::ipc::reader::StreamReader;
    use tollgate_attributes::{BatchBuilder, BatchLimits, Row, schema};

    use super::*;

    fn batch() -> RecordBatch {
        let mut builder = BatchBuilder::new(BatchLimits::default());
        let policies = ["a".into(), "b".into()];
        let _ = builder.push(&Row { time: 1, source: "shop/x", policies: &policies, ..Row::default() });
        builder.finish().unwrap()
    }

    fn encode(format: Format, batches: &[RecordBatch]) -> Vec<u8> {
        let mut encoder = Encoder::new(format, &schema()).unwrap();
        let mut bytes = Vec::new();
        for batch in batches {
            bytes.extend(encoder.write(batch).unwrap());
        }
        bytes.extend(encoder.finish().unwrap());
        bytes
    }

    #[test]
    fn json_is_one_array_whatever_the_number_of_batches() {
        for count in 0..3 {
            let bytes = encode(Format::Json, &vec![batch(); count]);
            let rows: Vec<serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(rows.len(), count);
            assert!(
                rows.iter().all(|row| row["source"] == "shop/x" && row["user"].is_null() && row["policies"][1] == "b")
            );
        }
    }

    #[test]
    fn csv_has_one_header_and_lists_as_text() {
        let text = String::from_utf8(encode(Format::Csv, &[batch(), batch()])).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("time,reporter,direction"));
        assert!(lines[2].contains("\"[a, b]\""), "{}", lines[2]);
        assert_eq!(String::from_utf8(encode(Format::Csv, &[])).unwrap().lines().count(), 1);
    }

    #[test]
    fn arrow_is_a_stream_that_arrow_reads() {
        let bytes = encode(Format::Arrow, &[batch(), batch()]);
        let reader = StreamReader::try_new(bytes.as_slice(), None).unwrap();
        assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 2);
    }
}
