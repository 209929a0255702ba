//! The pages of one column in one row group, as our own encoders make them: what Parquet's writer does for the others.

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType, ZstdLevel};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::bounds::{self, Bounds};
use super::compress::Compressor;
use super::hybrid;

/// Rows of a full page.
pub(super) const PAGE_ROWS: usize = 20_000;
/// A column whose first page shrinks by less than one in so many bytes is not compressed.
const WORTH: usize = 16;

/// Whether there is a value in each row of a page.
#[derive(Debug, Default)]
pub(super) struct Levels {
    present: Vec<u32>,
    nulls: usize,
}

impl Levels {
    pub(super) fn rows(&self) -> usize {
        self.present.len()
    }

    pub(super) fn push(&mut self, is_present: bool) {
        self.present.push(u32::from(is_present));
        self.nulls += usize::from(!is_present);
    }

    /// Rows that have values, all of them.
    pub(super) fn push_present(&mut self, rows: usize) {
        self.present.resize(self.present.len() + rows, 1);
    }

    /// What stands before the values in a page: the length of the levels and the levels.
    fn encode(&self, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend([0; 4]);
        match self.nulls {
            0 => hybrid::repeat(1, self.rows(), 1, into),
            _ => hybrid::encode(&self.present, 1, into),
        }
        let bytes = (into.len() - start - 4) as u32;
        into[start..start + 4].copy_from_slice(&bytes.to_le_bytes());
    }

    fn clear(&mut self) {
        self.present.clear();
        self.nulls = 0;
    }
}

/// The pages of one column, compressed, until its row group is written.
pub(super) struct Chunk {
    column: ColumnDescPtr,
    compressor: Compressor,
    compression: Choice,
    pages: Vec<CompressedPage>,
    bytes: usize,
    /// Rows of each page.
    rows: Vec<usize>,
    nulls: usize,
    encodings: Vec<PageEncodingStats>,
    /// Bounds of each page; `None` for a column for which they say nothing.
    index: Option<ColumnIndexBuilder>,
    bounds: Option<Bounds>,
    body: Vec<u8>,
}

/// What is known about whether compressing pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Always,
    /// The first page decides.
    Undecided,
    Never,
}

/// Where in a page one part ends and another one begins, whose bytes are of another kind.
pub(super) type Parts = Vec<usize>;

/// The values of a dictionary, as they are in its page.
pub(super) struct Dictionary {
    pub(super) page: Vec<u8>,
    pub(super) values: u32,
}

impl Chunk {
    /// Pages that are compressed, and whose bounds are kept.
    pub(super) fn with_bounds(column: ColumnDescPtr) -> Result<Self> {
        let index = ColumnIndexBuilder::new(column.physical_type());
        Self::new(column, Choice::Always, Some(index))
    }

    /// Pages that are compressed if that pays.
    pub(super) fn without_bounds(column: ColumnDescPtr) -> Result<Self> {
        Self::new(column, Choice::Undecided, None)
    }

    fn new(column: ColumnDescPtr, compression: Choice, index: Option<ColumnIndexBuilder>) -> Result<Self> {
        Ok(Self {
            column,
            compressor: Compressor::new()?,
            compression,
            pages: Vec::new(),
            bytes: 0,
            rows: Vec::new(),
            nulls: 0,
            encodings: Vec::new(),
            index,
            bounds: None,
            body: Vec::new(),
        })
    }

    /// Bytes of all pages.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a page, and clears its levels. `bounds` are those of its values; without any it has none.
    pub(super) fn push(
        &mut self,
        levels: &mut Levels,
        encoding: Encoding,
        bounds: Option<Bounds>,
        values: impl FnOnce(&mut Vec<u8>) -> Parts,
    ) -> Result<()> {
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        if self.column.max_def_level() > 0 {
            levels.encode(&mut body);
        } else if levels.nulls > 0 {
            return Err(ParquetError::General(format!("`{}` has nulls", self.column.name())));
        }
        let parts = values(&mut body);
        let buf = self.compress(&body, &parts)?;
        self.bytes += buf.len();
        let page = Page::DataPage {
            buf,
            num_values: levels.rows() as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        self.pages.push(CompressedPage::new(page, body.len()));
        self.body = body;
        self.count(PageType::DATA_PAGE, encoding);
        if let Some(index) = &mut self.index {
            let (least, most) = bounds.as_ref().map(Bounds::to_bytes).unwrap_or_default();
            index.append(bounds.is_none(), least, most, levels.nulls as i64);
        }
        self.bounds = Bounds::union(self.bounds.take(), bounds);
        self.rows.push(levels.rows());
        self.nulls += levels.nulls;
        levels.clear();
        Ok(())
    }

    /// Puts the dictionary before the pages. Returns the bytes of the whole, and what the file says about them.
    pub(super) fn close(
        mut self,
        dictionary: Option<Dictionary>,
        bloom_filter: Option<Sbbf>,
    ) -> Result<(Bytes, ColumnCloseResult)> {
        let mut sink = TrackedWrite::new(Vec::with_capacity(self.bytes + self.pages.len() * 64));
        let mut writer = SerializedPageWriter::new(&mut sink);
        let (mut uncompressed, mut dictionary_offset) = (0, None);
        if let Some(Dictionary { page, values }) = dictionary {
            let (buf, encoding) = (self.compress(&page, &[])?, Encoding::PLAIN);
            self.count(PageType::DICTIONARY_PAGE, encoding);
            let dictionary = Page::DictionaryPage { buf, num_values: values, encoding, is_sorted: false };
            let written = writer.write_page(CompressedPage::new(dictionary, page.len()))?;
            uncompressed += written.uncompressed_size;
            dictionary_offset = Some(written.offset as i64);
        }
        let (mut offsets, mut data_offset) = (OffsetIndexBuilder::new(), None);
        for (page, rows) in std::mem::take(&mut self.pages).into_iter().zip(&self.rows) {
            let written = writer.write_page(page)?;
            uncompressed += written.uncompressed_size;
            data_offset = data_offset.or(Some(written.offset as i64));
            offsets.append_offset_and_size(written.offset as i64, written.compressed_size as i32);
            offsets.append_row_count(*rows as i64);
        }
        writer.close()?;
        let bytes = Bytes::from(sink.into_inner()?);
        let rows: usize = self.rows.iter().sum();
        let mut encodings = vec![Encoding::RLE];
        encodings.extend(self.encodings.iter().map(|stats| stats.encoding));
        let mut metadata = ColumnChunkMetaData::builder(self.column.clone())
            .set_compression(self.compression())
            .set_encodings(encodings)
            .set_page_encoding_stats(std::mem::take(&mut self.encodings))
            .set_num_values(rows as i64)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(uncompressed as i64)
            .set_data_page_offset(data_offset.unwrap_or_default())
            .set_dictionary_page_offset(dictionary_offset);
        if self.index.is_some() {
            let nulls = self.nulls as u64;
            let of_nulls = || bounds::statistics_of_nulls(self.column.physical_type(), nulls);
            metadata = metadata.set_statistics(self.bounds.map_or_else(of_nulls, |bounds| bounds.statistics(nulls)));
        }
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows as u64,
            metadata: metadata.build()?,
            bloom_filter,
            column_index: self.index.map(ColumnIndexBuilder::build).transpose()?,
            offset_index: Some(offsets.build()),
        };
        Ok((bytes, close))
    }

    fn compression(&self) -> Compression {
        match self.compression {
            Choice::Never => Compression::UNCOMPRESSED,
            Choice::Always | Choice::Undecided => Compression::ZSTD(ZstdLevel::default()),
        }
    }

    fn compress(&mut self, body: &[u8], parts: &[usize]) -> Result<Bytes> {
        if self.compression == Choice::Never {
            return Ok(Bytes::copy_from_slice(body));
        }
        let compressed = self.compressor.compress(body, parts)?;
        if self.compression == Choice::Undecided {
            let is_worth = compressed.len() + body.len() / WORTH <= body.len();
            self.compression = if is_worth { Choice::Always } else { Choice::Never };
            if !is_worth {
                return Ok(Bytes::copy_from_slice(body));
            }
        }
        Ok(compressed)
    }

    fn count(&mut self, page_type: PageType, encoding: Encoding) {
        let is_same = |stats: &&mut PageEncodingStats| stats.page_type == page_type && stats.encoding == encoding;
        match self.encodings.iter_mut().find(is_same) {
            Some(stats) => stats.count += 1,
            None => self.encodings.push(PageEncodingStats { page_type, encoding, count: 1 }),
        }
    }
}
