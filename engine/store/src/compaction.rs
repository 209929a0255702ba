//! Rewrites many small files as few large ones, sorted for the queries that people ask.
//!
//! One step is one bounded piece of work: it rewrites some files of one directory and replaces them by one entry of the
//! manifest. Whoever reads the old files goes on doing so.

mod blame;
mod merge;
mod plan;
mod setbacks;
mod source;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::manifest::Entry;
use crate::sealed::{Name, State, Unlisted, directory};
use crate::{Sealed, SealedFile, StoreError};

use self::plan::{Chosen, Job};
pub(crate) use self::setbacks::Setbacks;

/// How compaction is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionLimits {
    /// About how large a compacted file is.
    pub file_bytes: u64,
    /// Most rows that are sorted in memory at a time; a file with more is taken alone.
    pub rows_max: u64,
    /// Most sorted files that are merged at a time.
    pub files_max: usize,
    /// While a directory still gets rows, files are put together when there are more of about one size.
    pub open_files_max: usize,
    /// How long after its end a directory may still get rows that came late.
    pub settle: Duration,
}

impl Default for CompactionLimits {
    /// Files of 256 MiB; 2 M rows in memory, which is about half a gigabyte; 10 minutes for what is late.
    fn default() -> Self {
        let settle = Duration::from_secs(600);
        Self { file_bytes: 256 << 20, rows_max: 2_000_000, files_max: 16, open_files_max: 16, settle }
    }
}

/// What one step did.
#[derive(Debug, Clone)]
pub struct Compaction {
    /// Index of the table.
    pub table: usize,
    /// The files that are no longer listed. They are deleted when nobody holds them.
    pub removed: Vec<Arc<SealedFile>>,
    /// The files that hold their rows now.
    pub added: Vec<Arc<SealedFile>>,
}

impl Sealed {
    /// Does one bounded piece of work, if there is any: the oldest directory first. `now_us` tells which ones are closed.
    ///
    /// A directory whose files cannot be rewritten is left alone for a minute, and the next one is taken. A file that is
    /// damaged, is not there, or cannot be read for the second time is set aside, and the next step goes on without it.
    ///
    /// # Errors
    /// When files cannot be written, or nothing could be done because files cannot be read. No row has changed then, but a
    /// file may have been set aside.
    pub async fn compact_step(&self, now_us: i64) -> Result<Option<Compaction>, StoreError> {
        self.blocking(move |state| state.compact_step(now_us)).await
    }
}

impl State {
    fn compact_step(&self, now_us: i64) -> Result<Option<Compaction>, StoreError> {
        let _rewriting = self.rewriting.lock();
        let files = self.files.load_full();
        let mut failure = None;
        for (table, chosen) in files.iter().enumerate().flat_map(|(table, files)| self.chosen(table, files, now_us)) {
            let job = Job { table, generation: self.next_generation(), inputs: chosen.files, sorted: chosen.sorted };
            if self.setbacks.lock().is_deferred(job.directory(), Instant::now()) {
                continue;
            }
            match self.compact(&job) {
                Ok(added) => {
                    if let Some(error) = failure {
                        left_out(&error);
                    }
                    return Ok(Some(Compaction { table, removed: job.inputs, added }));
                }
                // What cannot be written here cannot be written elsewhere, most likely.
                Err(error) if !is_of_inputs(&error) => return Err(error),
                Err(error) => {
                    if let Some(before) = failure.replace(error) {
                        left_out(&before);
                    }
                }
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// Replaces the files of a job. After a failure its directory has to wait, unless an input that caused it is out of the way.
    fn compact(&self, job: &Job) -> Result<Vec<Arc<SealedFile>>, StoreError> {
        let mut written = Vec::new();
        if let Err(error) = self.rewrite(job, &mut written) {
            self.discard(&written);
            if !self.blame(job, &error) {
                self.setbacks.lock().defer(job.directory(), Instant::now() + setbacks::WAIT);
            }
            return Err(error);
        }
        let generation = job.generation;
        let remove = job.inputs.iter().map(|file| file.key.to_string()).collect();
        let added = self.publish(written, &job.inputs, |add| Entry::Replace { generation, remove, add })?;
        self.setbacks.lock().forget(job.directory(), job.inputs.iter().map(|file| &file.key));
        Ok(added)
    }

    /// Bytes that are to be rewritten.
    pub(crate) fn debt_bytes(&self, table: usize, files: &[Arc<SealedFile>], now_us: i64) -> u64 {
        self.chosen(table, files, now_us).flat_map(|(_, chosen)| chosen.files).map(|file| file.bytes).sum()
    }

    /// What is to be rewritten next in each directory, oldest directory first.
    fn chosen(
        &self,
        table: usize,
        files: &[Arc<SealedFile>],
        now_us: i64,
    ) -> impl Iterator<Item = (usize, Chosen)> + use<'_> {
        let mut directories: BTreeMap<String, Vec<Arc<SealedFile>>> = BTreeMap::new();
        for file in files {
            directories.entry(directory(&file.key).to_owned()).or_default().push(Arc::clone(file));
        }
        let choose = move |files| plan::choose(&self.tables[table], &self.options.compaction, files, now_us);
        directories.into_values().filter_map(choose).map(move |chosen| (table, chosen))
    }

    fn rewrite(&self, job: &Job, written: &mut Vec<Unlisted>) -> Result<(), StoreError> {
        let spec = &self.tables[job.table];
        let output = merge::Output::new(self, job, written);
        let rows = if job.sorted {
            merge::sorted(self, spec, job, output)?
        } else {
            merge::in_order(self, spec, job, output)?
        };
        let expected: u64 = job.inputs.iter().map(|file| file.rows).sum();
        let is_short = if job.sorted && spec.merge.is_some() { rows > expected } else { rows != expected };
        if is_short {
            let key = job.inputs.first().map_or_else(String::new, |file| file.key.to_string());
            let problem = format!("{expected} rows became {rows} in compaction");
            let source = parquet::errors::ParquetError::General(problem);
            return Err(StoreError::Parquet { action: "compact", key, source });
        }
        Ok(())
    }

    /// The key of a job's next file.
    fn output_name(&self, job: &Job, count: usize) -> Name {
        let (from, through) = job.positions();
        Name { engine: self.options.engine.to_string(), from, through, generation: job.generation, count }
    }
}

/// Whether what failed is about the files that were read, rather than about those that were written.
fn is_of_inputs(error: &StoreError) -> bool {
    match error {
        StoreError::Io { action, .. } => *action == "open",
        StoreError::Parquet { action, .. } => *action != "write",
        StoreError::Rows { .. } => true,
        _ => false,
    }
}

fn left_out(error: &StoreError) {
    tracing::warn!(%error, "files of a directory could not be compacted: others are meanwhile");
}

#[cfg(test)]
mod tests;
