//! Rewrites many small files as few large ones, sorted for the queries that people ask.
//!
//! One step is one bounded piece of work: it rewrites some files of one directory and replaces them by one entry of the
//! manifest. Whoever reads the old files goes on doing so.

mod merge;
mod plan;
mod source;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::manifest::Entry;
use crate::sealed::{Name, State, Unlisted, directory};
use crate::{Sealed, SealedFile, StoreError};

use self::plan::{Chosen, Job};

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
    /// # Errors
    /// When files cannot be read or written; nothing has changed then. A file that is damaged is set aside, and the next
    /// step goes on without it.
    pub async fn compact_step(&self, now_us: i64) -> Result<Option<Compaction>, StoreError> {
        self.blocking(move |state| state.compact_step(now_us)).await
    }
}

impl State {
    fn compact_step(&self, now_us: i64) -> Result<Option<Compaction>, StoreError> {
        let _rewriting = self.rewriting.lock();
        let files = self.files.load_full();
        let mut chosen = files.iter().enumerate().flat_map(|(table, files)| self.chosen(table, files, now_us));
        let Some((table, Chosen { files: inputs, sorted })) = chosen.next() else { return Ok(None) };
        let job = Job { table, generation: self.next_generation(), inputs, sorted };
        let mut written = Vec::new();
        if let Err(error) = self.rewrite(&job, &mut written) {
            self.discard(&written);
            return Err(self.blame(&job, error));
        }
        let generation = job.generation;
        let remove = job.inputs.iter().map(|file| file.key.to_string()).collect();
        let added = self.publish(written, &job.inputs, |add| Entry::Replace { generation, remove, add })?;
        Ok(Some(Compaction { table: job.table, removed: job.inputs, added }))
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

    /// Sets aside the input that is not what was written, if that is why.
    fn blame(&self, job: &Job, error: StoreError) -> StoreError {
        let StoreError::Parquet { action: "read", key, .. } = &error else { return error };
        let Some(file) = job.inputs.iter().find(|file| file.key.as_ref() == key) else { return error };
        if let Ok(Some(problem)) = self.damage(file)
            && let Err(error) = self.set_aside(file, &problem)
        {
            tracing::error!(%error, "a damaged file could not be set aside");
        }
        error
    }

    /// The key of a job's next file.
    fn output_name(&self, job: &Job, count: usize) -> Name {
        let (from, through) = job.positions();
        Name { engine: self.options.engine.to_string(), from, through, generation: job.generation, count }
    }
}

#[cfg(test)]
mod tests;
