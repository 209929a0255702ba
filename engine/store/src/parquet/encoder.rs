//! Encodes the columns of one field: names, ids and integers by our own encoders, whatever else there is by Parquet's writer.

use std::io::Write;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field};
use bytes::Bytes;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, compute_leaves};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedRowGroupWriter;
use parquet::schema::types::SchemaDescriptor;

use super::ids::IdColumn;
use super::ints::IntColumn;
use super::names::NameColumn;

/// The columns of one field in one row group.
pub(super) enum FieldEncoder {
    Names(NameColumn),
    Ids(IdColumn),
    Ints(IntColumn),
    Other(Vec<ArrowColumnWriter>),
}

/// One for each field. `writers` are Parquet's own, one for each column.
pub(super) fn for_fields<'a>(
    fields: impl Iterator<Item = &'a Field>,
    columns: &SchemaDescriptor,
    properties: &WriterProperties,
    writers: Vec<ArrowColumnWriter>,
) -> Result<Vec<FieldEncoder>> {
    let mut writers = writers.into_iter();
    let mut at = 0;
    let encoder = |field: &Field| {
        let of_field = |column: usize| columns.get_column_root(column).name() == field.name();
        let count = (at..columns.num_columns()).take_while(|column| of_field(*column)).count();
        let column = (count == 1).then(|| columns.column(at));
        at += count;
        let parquets_own: Vec<_> = writers.by_ref().take(count).collect();
        Ok(match (field.data_type(), column) {
            (DataType::Dictionary(key, value), Some(column))
                if **key == DataType::Int32 && **value == DataType::Utf8 =>
            {
                FieldEncoder::Names(NameColumn::new(column)?)
            }
            (DataType::FixedSizeBinary(_), Some(column)) => {
                let bloom = properties.bloom_filter_properties(column.path());
                FieldEncoder::Ids(IdColumn::new(column.clone(), bloom)?)
            }
            (data_type, Some(column)) if IntColumn::takes(data_type) => {
                FieldEncoder::Ints(IntColumn::new(column, data_type)?)
            }
            _ => FieldEncoder::Other(parquets_own),
        })
    };
    fields.map(encoder).collect()
}

impl FieldEncoder {
    pub(super) fn write(&mut self, field: &Field, array: &ArrayRef) -> Result<()> {
        match self {
            Self::Names(names) => names.write(array),
            Self::Ids(ids) => ids.write(array),
            Self::Ints(ints) => ints.write(array),
            Self::Other(columns) => {
                let leaves = compute_leaves(field, array)?;
                if leaves.len() != columns.len() {
                    return Err(ParquetError::General("other columns than the schema".into()));
                }
                leaves.iter().zip(columns).try_for_each(|(leaf, column)| column.write(leaf))
            }
        }
    }

    /// About how many bytes there are.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Names(names) => names.bytes(),
            Self::Ids(ids) => ids.bytes(),
            Self::Ints(ints) => ints.bytes(),
            Self::Other(columns) => columns.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum(),
        }
    }

    /// Puts what there is into a row group, of which these are the next columns.
    pub(super) fn close<W: Write + Send>(self, group: &mut SerializedRowGroupWriter<'_, W>) -> Result<()> {
        match self {
            Self::Names(names) => append(names.close()?, group),
            Self::Ids(ids) => append(ids.close()?, group),
            Self::Ints(ints) => append(ints.close()?, group),
            Self::Other(columns) => {
                columns.into_iter().try_for_each(|column| column.close()?.append_to_row_group(group))
            }
        }
    }
}

fn append<W: Write + Send>(
    (bytes, close): (Bytes, ColumnCloseResult),
    group: &mut SerializedRowGroupWriter<'_, W>,
) -> Result<()> {
    group.append_column(&bytes, close)
}
