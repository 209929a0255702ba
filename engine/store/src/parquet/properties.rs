//! How the columns are encoded that have no [encoder](super::encoder) of our own, and what a file says about itself.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::{ColumnPath, SchemaDescriptor};

use crate::{Position, TableSpec};

/// Version of what is in our Parquet files; since 2, lists of integers are packed. A file with a higher one is not read.
pub(crate) const FORMAT_VERSION: u32 = 2;
/// Key of the version in a file's metadata.
pub(super) const FORMAT_KEY: &str = "tollgate.format";

/// One false answer in forty. A filter's size is a power of two, and at this rate a full row group's takes one byte a row.
const BLOOM_FALSE_POSITIVES: f64 = 0.026;
/// A dictionary of policies' ids and of labels, which may be many.
const DICTIONARY_BYTES: usize = 8 << 20;

/// What a file says about itself.
#[derive(Debug, Clone)]
pub(crate) struct FileLabel<'a> {
    pub(crate) engine: &'a str,
    pub(crate) positions: (Position, Position),
    pub(crate) sorted: bool,
}

/// Properties of a table's files, in which the columns are these.
pub(super) fn of(
    table: &TableSpec,
    schema: &SchemaRef,
    columns: &SchemaDescriptor,
    label: &FileLabel<'_>,
) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_created_by(concat!("tollgate ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(metadata(table, label)));
    for field in schema.fields() {
        let leaves = columns.columns().iter().filter(|leaf| leaf.path().parts().first() == Some(field.name()));
        for leaf in leaves {
            builder = encode(builder, leaf.path(), field);
        }
    }
    for name in table.bloom {
        builder = builder.set_column_bloom_filter_fpp(ColumnPath::from(*name), BLOOM_FALSE_POSITIVES);
    }
    builder.build()
}

fn encode(builder: WriterPropertiesBuilder, path: &ColumnPath, field: &Arc<Field>) -> WriterPropertiesBuilder {
    let path = path.clone();
    match field.data_type() {
        // Rows come about in the order of time.
        DataType::Timestamp(..) => builder
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
        // Free text, of which an id in hexadecimal takes zstd little more than half of its characters, and packed lists.
        DataType::Utf8 | DataType::Binary => builder
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path.clone(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
            .set_column_statistics_enabled(path, EnabledStatistics::None),
        _ => builder.set_column_dictionary_page_size_limit(path, DICTIONARY_BYTES),
    }
}

fn metadata(table: &TableSpec, label: &FileLabel<'_>) -> Vec<KeyValue> {
    let (from, through) = label.positions;
    let entry = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    vec![
        entry(FORMAT_KEY, FORMAT_VERSION.to_string()),
        entry("tollgate.engine", label.engine.to_owned()),
        entry("tollgate.table", table.name.to_owned()),
        entry("tollgate.positions", format!("{from}-{through}")),
        entry("tollgate.sorted", label.sorted.to_string()),
    ]
}
