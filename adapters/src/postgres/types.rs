//! Arrow to PostgreSQL: which type a column has on the wire, and rows in it. Only types that every client knows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::LineDelimitedWriter;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions as DisplayOptions};
use datafusion_postgres::arrow_pg::datatypes::field_into_pg_type;
use datafusion_postgres::arrow_pg::encoder::{Encoder, encode_value};
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::FieldInfo;
use datafusion_postgres::pgwire::error::PgWireResult;
use datafusion_postgres::pgwire::types::format::FormatOptions;

use super::error::error;
use super::names::Names;

/// The columns of an answer.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// Types on the wire, in Arrow's terms.
    fields: Vec<Arc<Field>>,
    names: Vec<String>,
}

impl Columns {
    pub(super) fn new(schema: &Schema, names: &Names) -> Self {
        let count = schema.fields().len();
        let name = |(index, field): (usize, &Arc<Field>)| names.get(index, count).unwrap_or(field.name()).to_owned();
        let wire = |field: &Arc<Field>| {
            Arc::new(field.as_ref().clone().with_data_type(wire_type(field.data_type())).with_nullable(true))
        };
        Self {
            names: schema.fields().iter().enumerate().map(name).collect(),
            fields: schema.fields().iter().map(wire).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// Their description for clients.
    pub(super) fn describe(&self, format: &Format, options: &Arc<FormatOptions>) -> PgWireResult<Vec<FieldInfo>> {
        if let Format::Individual(formats) = format
            && formats.len() != self.len()
        {
            let message = format!("{} result formats for {} columns", formats.len(), self.len());
            return Err(error("08P01", message));
        }
        let describe = |(index, (name, field)): (usize, (&String, &Arc<Field>))| {
            let info = FieldInfo::new(name.clone(), None, None, field_into_pg_type(field)?, format.format_for(index));
            Ok(info.with_format_options(Arc::clone(options)))
        };
        self.names.iter().zip(&self.fields).enumerate().map(describe).collect()
    }

    /// The rows with the types that were described.
    pub(super) fn convert(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, ArrowError> {
        batch.columns().iter().zip(&self.fields).map(|(array, field)| convert(array, field.data_type())).collect()
    }

    /// Appends one row of converted columns.
    pub(super) fn encode<E: Encoder>(
        &self,
        encoder: &mut E,
        arrays: &[ArrayRef],
        row: usize,
        infos: &[FieldInfo],
    ) -> PgWireResult<()> {
        for ((array, field), info) in arrays.iter().zip(&self.fields).zip(infos) {
            match array.is_null(row) {
                true => encoder.encode_field(&None::<&str>, info)?,
                false => encode_value(encoder, array, row, field, info)?,
            }
        }
        Ok(())
    }
}

/// The type that values are sent in. What PostgreSQL has no type for becomes text.
fn wire_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Boolean | DataType::Date32 | DataType::Float32 | DataType::Float64 => data_type.clone(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => DataType::Int16,
        DataType::Int32 | DataType::UInt16 => DataType::Int32,
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        // More digits than this do not fit what encodes them.
        DataType::Decimal128(precision, _) if *precision <= 28 => data_type.clone(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Interval(_) => data_type.clone(),
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        DataType::Dictionary(_, value) => wire_type(value),
        DataType::RunEndEncoded(_, value) => wire_type(value.data_type()),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let item = match wire_type(item.data_type()) {
                nested if nested.is_nested() => DataType::Utf8,
                DataType::Decimal128(..) => DataType::Utf8,
                item => item,
            };
            DataType::List(Arc::new(Field::new_list_field(item, true)))
        }
        _ => DataType::Utf8,
    }
}

fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    if *to == DataType::Utf8 {
        match array.data_type() {
            DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) => return json(array),
            DataType::Decimal128(..) | DataType::Decimal256(..) => return text(array),
            _ => {}
        }
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    match cast_with_options(array, to, &options) {
        Ok(array) => Ok(array),
        Err(ArrowError::CastError(_)) if *to == DataType::Utf8 => text(array),
        Err(error) => Err(error),
    }
}

/// Each value as JSON.
fn json(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let schema = Arc::new(Schema::new(vec![Field::new("v", array.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(schema, vec![Arc::clone(array)])?;
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(&batch)?;
    writer.finish()?;
    let lines = String::from_utf8(writer.into_inner()).map_err(|error| ArrowError::JsonError(error.to_string()))?;
    // A null is left out, which leaves an empty object.
    let value = |line: &str| line.strip_prefix("{\"v\":").and_then(|line| line.strip_suffix('}')).map(str::to_owned);
    Ok(Arc::new(lines.lines().map(value).collect::<StringArray>()))
}

fn text(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = DisplayOptions::default();
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
    let value = |row| (!array.is_null(row)).then(|| formatter.value(row).try_to_string()).transpose();
    Ok(Arc::new((0..array.len()).map(value).collect::<Result<StringArray, ArrowError>>()?))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, UInt64Array};
    use arrow::datatypes::Int32Type;
    use datafusion_postgres::pgwire::api::Type;
    use tollgate_attributes::{BatchBuilder, BatchLimits, Row, schema};

    use super::*;

    #[test]
    fn every_column_of_requests_has_a_type_that_clients_know() {
        let columns = Columns::new(&schema(), &Names::default());
        let infos = columns.describe(&Format::UnifiedText, &Arc::default()).unwrap();
        let of = |name: &str| infos.iter().find(|info| info.name() == name).unwrap().datatype().clone();
        assert_eq!(of("time"), Type::TIMESTAMPTZ);
        assert_eq!(of("source"), Type::TEXT);
        assert_eq!(of("status"), Type::INT2);
        assert_eq!(of("duration_us"), Type::INT8);
        assert_eq!(of("policies"), Type::TEXT_ARRAY);
        assert_eq!(of("trace_id"), Type::BYTEA);
        assert_eq!(of("labels"), Type::TEXT);
    }

    #[test]
    fn labels_become_json_and_nulls_stay_nulls() {
        let mut builder = BatchBuilder::new(BatchLimits::default());
        let labels = [("x-team".into(), "a \"b\"".to_owned())];
        let _ = builder.push(&Row { labels: &labels, ..Row::default() });
        let _ = builder.push(&Row::default());
        let batch = builder.finish().unwrap();
        let arrays = Columns::new(&schema(), &Names::default()).convert(&batch).unwrap();
        let labels = arrays[schema().index_of("labels").unwrap()].as_any().downcast_ref::<StringArray>().unwrap();
        assert_eq!(labels.value(0), r#"{"x-team":"a \"b\""}"#);
        assert!(labels.is_null(1));
    }

    #[test]
    fn unsigned_numbers_are_bigint_and_too_large_ones_an_error() {
        let array: ArrayRef = Arc::new(UInt64Array::from(vec![7]));
        let to = wire_type(array.data_type());
        assert_eq!(convert(&array, &to).unwrap().as_ref(), &Int64Array::from(vec![7]) as &dyn Array);
        let array: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        assert!(convert(&array, &to).is_err());
        let names: arrow::array::DictionaryArray<Int32Type> = vec!["a"].into_iter().collect();
        assert_eq!(wire_type(names.data_type()), DataType::Utf8);
    }
}
