//! Columns of integers: one row's says nothing about the next one's, but its upper bytes are those of most others. So each page is
//! split into streams of bytes, which zstd then shrinks; a page of equal values takes a few bytes.
//!
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/>

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray as _};
use arrow::datatypes::{DataType, Int16Type, Int32Type, Int64Type};
use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::ColumnDescPtr;

use super::bounds::Bounds;
use super::chunk::{Chunk, Levels, PAGE_ROWS, Parts};

/// Encodes one column of integers of a row group.
///
/// Bound: one page, and the pages that are encoded.
pub(super) struct IntColumn {
    chunk: Chunk,
    levels: Levels,
    values: Vec<i64>,
    is_64_bit: bool,
}

impl IntColumn {
    /// Whether a type is one of integers, which this encodes.
    pub(super) fn takes(data_type: &DataType) -> bool {
        matches!(data_type, DataType::Int64 | DataType::Int32 | DataType::Int16)
    }

    pub(super) fn new(column: ColumnDescPtr, data_type: &DataType) -> Result<Self> {
        let chunk = Chunk::with_bounds(column)?;
        Ok(Self { chunk, levels: Levels::default(), values: Vec::new(), is_64_bit: *data_type == DataType::Int64 })
    }

    pub(super) fn write(&mut self, array: &ArrayRef) -> Result<()> {
        match array.data_type() {
            DataType::Int64 => self.write_of::<Int64Type>(array),
            DataType::Int32 => self.write_of::<Int32Type>(array),
            DataType::Int16 => self.write_of::<Int16Type>(array),
            other => Err(ParquetError::General(format!("a column of integers holds `{other}`"))),
        }
    }

    fn write_of<T: ArrowPrimitiveType<Native: Into<i64>>>(&mut self, array: &ArrayRef) -> Result<()> {
        let array = array.as_primitive::<T>();
        let mut from = 0;
        while from < array.len() {
            let end = array.len().min(from + PAGE_ROWS - self.levels.rows());
            if array.null_count() == 0 {
                let values = array.values().get(from..end).unwrap_or_default();
                self.values.extend(values.iter().map(|value| (*value).into()));
                self.levels.push_present(end - from);
            } else {
                for row in from..end {
                    self.levels.push(array.is_valid(row));
                    self.values.extend(array.is_valid(row).then(|| array.value(row).into()));
                }
            }
            from = end;
            if self.levels.rows() >= PAGE_ROWS {
                self.close_page()?;
            }
        }
        Ok(())
    }

    /// About how many bytes there are.
    pub(super) fn bytes(&self) -> usize {
        self.chunk.bytes() + self.values.len() * size_of::<i64>()
    }

    pub(super) fn close(mut self) -> Result<(Bytes, ColumnCloseResult)> {
        if self.levels.rows() > 0 {
            self.close_page()?;
        }
        self.chunk.close(None, None)
    }

    fn close_page(&mut self) -> Result<()> {
        let (values, is_64_bit) = (&self.values, self.is_64_bit);
        let least_and_most = values.iter().copied().min().zip(values.iter().copied().max());
        let bounds = least_and_most.map(|(least, most)| Bounds::of_integers(least, most, is_64_bit));
        match least_and_most {
            Some((least, most)) if least == most => {
                let encoding = Encoding::DELTA_BINARY_PACKED;
                self.chunk.push(&mut self.levels, encoding, bounds, |body| repeat(least, values.len(), body))?;
            }
            _ => {
                let encoding = Encoding::BYTE_STREAM_SPLIT;
                self.chunk.push(&mut self.levels, encoding, bounds, |body| match is_64_bit {
                    true => split::<8>(values, body),
                    false => split::<4>(values, body),
                })?;
            }
        }
        self.values.clear();
        Ok(())
    }
}

/// The first bytes of all values, then the second bytes, and so on.
fn split<const BYTES: usize>(values: &[i64], into: &mut Vec<u8>) -> Parts {
    let mut parts = Parts::with_capacity(BYTES);
    for byte in 0..BYTES {
        parts.push(into.len());
        into.extend(values.iter().map(|value| (value >> (byte * 8)) as u8));
    }
    parts
}

/// One value as often as it occurs: differences of 0, which take no bits.
fn repeat(value: i64, times: usize, into: &mut Vec<u8>) -> Parts {
    const BLOCK: usize = 128;
    const MINI_BLOCKS: usize = 4;
    let zigzag = (value << 1 ^ value >> 63) as u64;
    for number in [BLOCK as u64, MINI_BLOCKS as u64, times as u64, zigzag] {
        super::hybrid::varint(number, into);
    }
    // For each block the least difference, and the bits of each of its parts.
    let blocks = times.saturating_sub(1).div_ceil(BLOCK);
    into.resize(into.len() + blocks * (1 + MINI_BLOCKS), 0);
    Parts::new()
}
