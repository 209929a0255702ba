//! Copies rows of a table to a directory, for other tools.

mod format;
mod output;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;

use crate::objects::unreadable;
use crate::parquet::adapted;
use crate::sealed::{State, directory};
use crate::verify::Progress;
use crate::{Sealed, SealedFile, StoreError, TableSpec};

use self::output::Output;

pub use self::format::ExportFormat;

/// What to copy, and where to.
#[derive(Debug, Clone)]
pub struct Export {
    /// Index of the table.
    pub table: usize,
    /// First time, in microseconds since the epoch.
    pub from_us: i64,
    /// First time that is no longer copied.
    pub to_us: i64,
    /// Where the files go: `<directory>/<table>/date=2026-03-01/hour=09/part-0.csv`. Nothing there is replaced.
    pub directory: PathBuf,
    /// What they are.
    pub format: ExportFormat,
}

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    /// The new files.
    pub files: Vec<PathBuf>,
    /// Their rows.
    pub rows: u64,
}

const BATCH_ROWS: usize = 16_384;

impl Sealed {
    /// Copies the sealed rows of a span of time, one file for each directory of the table. Calls `progress` after each
    /// sealed file. Rows that are not sealed yet are not copied: seal first.
    ///
    /// # Errors
    /// When a file cannot be read or written, or is there already. Files that are complete stay.
    pub async fn export(
        &self,
        export: Export,
        mut progress: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Exported, StoreError> {
        self.blocking(move |state| state.export(&export, &mut progress)).await
    }
}

impl State {
    fn export(&self, export: &Export, progress: &mut dyn FnMut(Progress)) -> Result<Exported, StoreError> {
        let listed = self.files.load_full();
        let mut directories: BTreeMap<&str, Vec<&Arc<SealedFile>>> = BTreeMap::new();
        let mut done = Progress::default();
        let has_some = |file: &&Arc<SealedFile>| file.time_max_us >= export.from_us && file.time_min_us < export.to_us;
        for file in listed.get(export.table).into_iter().flatten().filter(has_some) {
            directories.entry(directory(&file.key)).or_default().push(file);
            done.files_all += 1;
            done.bytes_all += file.bytes;
        }
        let mut exported = Exported::default();
        for (directory, files) in directories {
            let below = directory.split_once('/').map_or(directory, |(_, below)| below);
            let path = export.directory.join(below).join(format!("part-0.{}", export.format.extension()));
            let spec = &self.tables[export.table];
            let mut output = Output::create(path, spec, export.format)?;
            for file in files {
                let rows = self.copy(file, export, spec, &mut output)?;
                done =
                    Progress { files: done.files + 1, rows: done.rows + rows, bytes: done.bytes + file.bytes, ..done };
                progress(done);
            }
            exported.files.extend(output.finish()?);
        }
        exported.rows = done.rows;
        Ok(exported)
    }

    fn copy(
        &self,
        file: &SealedFile,
        export: &Export,
        spec: &TableSpec,
        output: &mut Output,
    ) -> Result<u64, StoreError> {
        let wrong = |source| StoreError::Rows { table: spec.name, source };
        let mut rows = 0;
        for batch in self.objects.rows(file, BATCH_ROWS)? {
            let batch = batch.map_err(|source| unreadable(file, source))?;
            let batch = adapted(batch, &spec.schema).map_err(wrong)?;
            let batch = within(batch, spec, export).map_err(wrong)?;
            if batch.num_rows() > 0 {
                output.write(&batch)?;
                rows += batch.num_rows() as u64;
            }
        }
        Ok(rows)
    }
}

fn within(batch: RecordBatch, spec: &TableSpec, export: &Export) -> Result<RecordBatch, arrow::error::ArrowError> {
    let times = batch.column_by_name(spec.time).and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
    let Some(times) = times else { return Ok(batch) };
    let is_in = |time: &i64| (export.from_us..export.to_us).contains(time);
    if times.values().iter().all(is_in) {
        return Ok(batch);
    }
    let mask: BooleanArray = times.values().iter().map(|time| Some(is_in(time))).collect();
    filter_record_batch(&batch, &mask)
}

#[cfg(test)]
mod tests;
