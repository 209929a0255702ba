//! Reads the rows of a file back, in the shape that its table has today.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::errors::ParquetError;
use parquet::file::metadata::FileMetaData;

use super::packed::{is_packed, unpack};
use super::properties::FORMAT_KEY;

/// Rows of one file, batch by batch.
pub(crate) type Rows = Box<dyn Iterator<Item = Result<RecordBatch, ParquetError>> + Send>;

/// The version of what is in a file; `None` when no engine wrote it.
pub(crate) fn format_version(metadata: &FileMetaData) -> Option<u32> {
    let entry = metadata.key_value_metadata()?.iter().find(|entry| entry.key == FORMAT_KEY)?;
    entry.value.as_ref()?.parse().ok()
}

/// The batch with the columns of `schema`: lists are unpacked, what an older file does not have is null, and what is no longer a
/// column is left out.
pub(crate) fn adapted(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if batch.schema_ref() == schema {
        return Ok(batch);
    }
    let column = |index: usize| -> Result<ArrayRef, ArrowError> {
        let field = schema.field(index);
        match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) if is_packed(field.data_type(), column.data_type()) => unpack(column, field.data_type()),
            Some(column) => cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        }
    };
    let columns = (0..schema.fields().len()).map(column).collect::<Result<_, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}
