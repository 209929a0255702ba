//! Columns of ids of a fixed length: random bytes, which are copied as they are.

use arrow::array::{Array, AsArray as _};
use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::bloom_filter::Sbbf;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::BloomFilterProperties;
use parquet::schema::types::ColumnDescPtr;

use super::chunk::{Chunk, Levels, PAGE_ROWS, Parts};

/// Encodes one column of ids of a row group.
///
/// Bound: one page, its bloom filter, and the pages that are encoded.
pub(super) struct IdColumn {
    chunk: Chunk,
    levels: Levels,
    values: Vec<u8>,
    /// With the share of false answers that it may give.
    bloom: Option<(Sbbf, f64)>,
}

impl IdColumn {
    pub(super) fn new(column: ColumnDescPtr, bloom: Option<&BloomFilterProperties>) -> Result<Self> {
        let bloom = match bloom {
            Some(bloom) => Some((Sbbf::new_with_ndv_fpp(bloom.ndv(), bloom.fpp())?, bloom.fpp())),
            None => None,
        };
        Ok(Self { chunk: Chunk::without_bounds(column)?, levels: Levels::default(), values: Vec::new(), bloom })
    }

    pub(super) fn write(&mut self, ids: &dyn Array) -> Result<()> {
        let ids = ids.as_fixed_size_binary_opt();
        let ids = ids.ok_or_else(|| ParquetError::General("a column of ids has another type".into()))?;
        let mut from = 0;
        while from < ids.len() {
            let end = ids.len().min(from + PAGE_ROWS - self.levels.rows());
            if ids.null_count() == 0 {
                let bytes_each = ids.value_size();
                let bytes = ids.value_data().get(from * bytes_each..end * bytes_each);
                self.values.extend_from_slice(bytes.ok_or_else(|| ParquetError::General("ids are missing".into()))?);
                self.levels.push_present(end - from);
            } else {
                for row in from..end {
                    let id = ids.is_valid(row).then(|| ids.value(row));
                    self.levels.push(id.is_some());
                    self.values.extend_from_slice(id.unwrap_or_default());
                }
            }
            if let Some((bloom, _)) = &mut self.bloom {
                (from..end).filter(|row| ids.is_valid(*row)).for_each(|row| bloom.insert(ids.value(row)));
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
        self.chunk.bytes() + self.values.len()
    }

    pub(super) fn close(mut self) -> Result<(Bytes, ColumnCloseResult)> {
        if self.levels.rows() > 0 {
            self.close_page()?;
        }
        let bloom = self.bloom.map(|(mut bloom, false_positives)| {
            bloom.fold_to_target_fpp(false_positives);
            bloom
        });
        self.chunk.close(None, bloom)
    }

    fn close_page(&mut self) -> Result<()> {
        let values = &mut self.values;
        self.chunk.push(&mut self.levels, Encoding::PLAIN, None, |body| {
            body.append(values);
            Parts::new()
        })
    }
}
