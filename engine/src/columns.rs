//! Builds the columns of small tables, row by row.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListBuilder, MapBuilder, MapFieldNames, StringArray,
    StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::clock::WallTime;

/// Type of the columns that hold a time.
pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Type of the columns that hold several texts.
pub(crate) fn texts_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

/// A schema in which every column may be null.
pub(crate) fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

pub(crate) fn times(values: impl Iterator<Item = Option<WallTime>>) -> ArrayRef {
    let values: TimestampMicrosecondArray = values.map(|time| time.map(|time| time.us)).collect();
    Arc::new(values.with_timezone("UTC"))
}

pub(crate) fn texts<S: AsRef<str>>(values: impl Iterator<Item = Option<S>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

pub(crate) fn flags(values: impl Iterator<Item = bool>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<BooleanArray>())
}

pub(crate) fn integers(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

/// Counts and versions; what does not fit into 64 signed bits never occurs.
pub(crate) fn counts(values: impl Iterator<Item = u64>) -> ArrayRef {
    integers(values.map(|value| Some(i64::try_from(value).unwrap_or(i64::MAX))))
}

/// Tokens, from microtokens.
pub(crate) fn tokens(microtokens: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(microtokens.map(|value| value as f64 / 1e6)))
}

pub(crate) fn lists<S: AsRef<str>>(values: impl Iterator<Item = impl IntoIterator<Item = S>>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for list in values {
        list.into_iter().for_each(|text| builder.values().append_value(text));
        builder.append(true);
    }
    Arc::new(builder.finish())
}

/// Maps from text to text.
pub(crate) fn maps<'a>(values: impl Iterator<Item = Vec<(&'a str, &'a str)>>) -> ArrayRef {
    let names = MapFieldNames { entry: "entries".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for map in values {
        for (key, value) in map {
            builder.keys().append_value(key);
            builder.values().append_value(value);
        }
        // The only error is keys and values of different number, which the loop excludes.
        drop(builder.append(true));
    }
    Arc::new(builder.finish())
}

/// Type of the columns that [`maps`] makes.
pub(crate) fn map_type() -> DataType {
    let entry = vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)];
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry.into()), false)), false)
}
