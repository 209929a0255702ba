//! One exported file.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::csv;
use arrow::json::LineDelimitedWriter;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::format::{ExportFormat, for_csv, for_json};
use crate::{StoreError, TableSpec};

/// One exported file: it has its name when it is complete.
pub(super) struct Output {
    table: &'static str,
    path: PathBuf,
    unfinished: PathBuf,
    writer: Writer,
    rows: usize,
}

enum Writer {
    Parquet(Box<ArrowWriter<BufWriter<File>>>),
    Csv(Box<csv::Writer<BufWriter<File>>>),
    JsonLines(LineDelimitedWriter<BufWriter<File>>),
}

impl Output {
    pub(super) fn create(path: PathBuf, table: &TableSpec, format: ExportFormat) -> Result<Self, StoreError> {
        if path.exists() {
            return Err(StoreError::io("write", &path)(io::ErrorKind::AlreadyExists.into()));
        }
        let unfinished = path.with_extension("tmp");
        let dir = path.parent().unwrap_or(Path::new("."));
        let file = fs::create_dir_all(dir).and_then(|()| File::create(&unfinished));
        let file = BufWriter::new(file.map_err(StoreError::io("create", &unfinished))?);
        let writer = match format {
            ExportFormat::Csv => Writer::Csv(Box::new(csv::Writer::new(file))),
            ExportFormat::JsonLines => Writer::JsonLines(LineDelimitedWriter::new(file)),
            ExportFormat::Parquet => {
                let writer = ArrowWriter::try_new(file, Arc::clone(&table.schema), Some(parquet_properties()));
                Writer::Parquet(Box::new(writer.map_err(|source| unwritable(&path, source))?))
            }
        };
        Ok(Self { table: table.name, path, unfinished, writer, rows: 0 })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        self.rows += batch.num_rows();
        let written = match &mut self.writer {
            Writer::Parquet(writer) => {
                return writer.write(batch).map_err(|source| unwritable(&self.path, source));
            }
            Writer::Csv(writer) => for_csv(batch).and_then(|batch| writer.write(&batch)),
            Writer::JsonLines(writer) => for_json(batch).and_then(|batch| writer.write(&batch)),
        };
        written.map_err(|source| StoreError::Rows { table: self.table, source })
    }

    /// Gives the file its name; `None` when it has no rows.
    pub(super) fn finish(self) -> Result<Option<PathBuf>, StoreError> {
        let Self { table, path, unfinished, writer, rows } = self;
        let file = match writer {
            Writer::Parquet(writer) => writer.into_inner().map_err(|source| unwritable(&path, source))?,
            Writer::Csv(writer) => writer.into_inner(),
            Writer::JsonLines(mut writer) => {
                writer.finish().map_err(|source| StoreError::Rows { table, source })?;
                writer.into_inner()
            }
        };
        let name = |mut file: BufWriter<File>| {
            file.flush()?;
            file.get_ref().sync_all()?;
            if rows == 0 { fs::remove_file(&unfinished) } else { fs::rename(&unfinished, &path) }
        };
        name(file).map_err(StoreError::io("write", &path))?;
        Ok((rows > 0).then_some(path))
    }
}

fn parquet_properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(concat!("tollgate ", env!("CARGO_PKG_VERSION")).to_owned())
        .build()
}

fn unwritable(path: &Path, source: parquet::errors::ParquetError) -> StoreError {
    StoreError::Parquet { action: "write", key: path.display().to_string(), source }
}
