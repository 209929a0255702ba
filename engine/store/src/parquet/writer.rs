//! Writes the rows of one file.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::{max, min};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::SerializedFileWriter;

use super::encoder::{self, FieldEncoder};
use super::packed;
use super::properties::{self, FileLabel};
use crate::TableSpec;

/// Rows of a full row group. Larger ones compress better: a million rows take a seventh less than 131,072.
pub(crate) const ROW_GROUP_ROWS: usize = 1 << 20;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) crc32c: u32,
    pub(crate) time_min_us: i64,
    pub(crate) time_max_us: i64,
}

/// Writes rows to a file of one table.
///
/// Holds one row group, encoded; it goes to the sink when it has [`ROW_GROUP_ROWS`] rows.
pub(crate) struct TableWriter<W: Write + Send> {
    /// As it is in the file.
    schema: SchemaRef,
    time: usize,
    file: SerializedFileWriter<Checksummed<W>>,
    factory: ArrowRowGroupWriterFactory,
    group: Option<RowGroup>,
    rows: u64,
    times_us: Option<(i64, i64)>,
}

struct RowGroup {
    fields: Vec<FieldEncoder>,
    rows: usize,
}

impl<W: Write + Send> TableWriter<W> {
    pub(crate) fn new(sink: W, table: &TableSpec, label: &FileLabel<'_>) -> Result<Self> {
        let schema = packed::in_files(&table.schema);
        let columns = ArrowSchemaConverter::new().convert(&schema)?;
        let mut properties = properties::of(table, &schema, &columns, label);
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        let sink = Checksummed { sink, bytes: 0, crc32c: 0 };
        let file = SerializedFileWriter::new(sink, columns.root_schema_ptr(), Arc::new(properties))?;
        let factory = ArrowRowGroupWriterFactory::new(&file, Arc::clone(&schema));
        let time = schema.index_of(table.time)?;
        Ok(Self { schema, time, file, factory, group: None, rows: 0, times_us: None })
    }

    /// Appends rows, which have the schema of the table.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < rows.num_rows() {
            let room = ROW_GROUP_ROWS - self.group.as_ref().map_or(0, |group| group.rows);
            let count = room.min(rows.num_rows() - from);
            self.write_to_group(&rows.slice(from, count))?;
            from += count;
        }
        self.note_times(rows)
    }

    /// About how large the file is so far.
    pub(crate) fn bytes(&self) -> u64 {
        let buffered: usize = self.group.iter().flat_map(|group| &group.fields).map(FieldEncoder::bytes).sum();
        (self.file.bytes_written() + buffered) as u64
    }

    /// Writes what is left and the footer, and returns the sink.
    pub(crate) fn finish(mut self) -> Result<(W, Written)> {
        self.close_group()?;
        let (time_min_us, time_max_us) = self.times_us.unwrap_or_default();
        let Checksummed { sink, bytes, crc32c } = self.file.into_inner()?;
        Ok((sink, Written { rows: self.rows, bytes, crc32c, time_min_us, time_max_us }))
    }

    fn write_to_group(&mut self, rows: &RecordBatch) -> Result<()> {
        if self.group.is_none() {
            self.group = Some(RowGroup { fields: self.encoders()?, rows: 0 });
        }
        let Some(group) = &mut self.group else { return Ok(()) };
        for ((field, array), encoder) in self.schema.fields().iter().zip(rows.columns()).zip(&mut group.fields) {
            encoder.write(field, &packed::pack(array)?)?;
        }
        group.rows += rows.num_rows();
        self.rows += rows.num_rows() as u64;
        if group.rows >= ROW_GROUP_ROWS { self.close_group() } else { Ok(()) }
    }

    fn encoders(&self) -> Result<Vec<FieldEncoder>> {
        let writers = self.factory.create_column_writers(self.file.flushed_row_groups().len())?;
        let fields = self.schema.fields().iter().map(AsRef::as_ref);
        encoder::for_fields(fields, self.file.schema_descr(), self.file.properties(), writers)
    }

    fn close_group(&mut self) -> Result<()> {
        let Some(group) = self.group.take() else { return Ok(()) };
        let mut writer = self.file.next_row_group()?;
        for field in group.fields {
            field.close(&mut writer)?;
        }
        writer.close()?;
        Ok(())
    }

    fn note_times(&mut self, rows: &RecordBatch) -> Result<()> {
        let times = rows.column(self.time).as_primitive_opt::<TimestampMicrosecondType>();
        let times = times.ok_or_else(|| ParquetError::General("the time is not in microseconds".into()))?;
        if let Some((low, high)) = min(times).zip(max(times)) {
            let (time_min_us, time_max_us) = self.times_us.unwrap_or((low, high));
            self.times_us = Some((time_min_us.min(low), time_max_us.max(high)));
        }
        Ok(())
    }
}

/// Passes bytes on, and keeps their number and checksum.
struct Checksummed<W> {
    sink: W,
    bytes: u64,
    crc32c: u32,
}

impl<W: Write> Write for Checksummed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        let written = bytes.get(..count).unwrap_or(bytes);
        self.bytes += count as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, written);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
