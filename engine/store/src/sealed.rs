//! Everything that is in Parquet: the files, the manifest that lists them, and what is done to them.
//!
//! The manifest is changed under one lock, one entry at a time. Whatever an entry makes unreachable is removed later, when
//! nobody reads it any more; whatever no entry made reachable is removed at the next start.

mod name;
mod open;
mod seal;
mod split;
mod status;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;

use crate::aside::{self, Aside};
use crate::compaction::{CompactionLimits, Setbacks};
use crate::disk::Disk;
use crate::manifest::{Entry, FileEntry, Manifest};
use crate::objects::{Objects, Remote};
use crate::parquet::{FileLabel, TableWriter, Written};
use crate::{Marks, Position, SealedFile, StoreError, TableSpec};

pub(crate) use self::name::{Name, directory};
pub(crate) use self::open::{elsewhere, is_ours};
pub use self::seal::Seal;
pub(crate) use self::split::split;
pub use self::status::{SealedStatus, TableStatus};

/// Where sealed files are, and how they are looked after.
#[derive(Debug, Clone)]
pub struct SealedOptions {
    /// The data directory. It belongs to this engine alone, which the caller sees to.
    pub dir: PathBuf,
    /// The engine's id, part of every file's name.
    pub engine: Arc<str>,
    /// How local files are reached.
    pub disk: Arc<dyn Disk>,
    /// Where Parquet files go instead of the data directory. Log and manifest stay local.
    pub remote: Option<Remote>,
    /// How compaction is bounded.
    pub compaction: CompactionLimits,
}

/// What was found.
#[derive(Debug)]
pub struct Opened {
    /// The last record whose rows are in files.
    pub sealed_through: Position,
    /// The marks as of that record.
    pub marks: Marks,
    /// Files that cannot be served.
    pub aside: Vec<Aside>,
}

/// The files of every table, by the table's index.
pub type Files = Vec<Vec<Arc<SealedFile>>>;

/// The sealed files of all tables.
#[derive(Debug, Clone)]
pub struct Sealed {
    pub(crate) state: Arc<State>,
}

/// What the blocking work shares.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) tables: Vec<TableSpec>,
    pub(crate) options: SealedOptions,
    pub(crate) objects: Objects,
    pub(crate) manifest: Mutex<Manifest>,
    pub(crate) files: ArcSwap<Files>,
    pub(crate) aside: Mutex<Vec<Aside>>,
    /// Held while files are rewritten or expired, so that no file is both.
    pub(crate) rewriting: Mutex<()>,
    pub(crate) setbacks: Mutex<Setbacks>,
    /// No longer listed; removed when nobody else holds them.
    retired: Mutex<Vec<Arc<SealedFile>>>,
    /// Written for an entry that failed and may yet turn up after a restart; removed once it cannot.
    doubtful: Mutex<Vec<Path>>,
    generation: AtomicU64,
}

impl Sealed {
    /// The files by table.
    #[must_use]
    pub fn files(&self) -> Arc<Files> {
        self.state.files.load_full()
    }

    /// Files that cannot be served.
    #[must_use]
    pub fn aside(&self) -> Vec<Aside> {
        self.state.aside.lock().clone()
    }

    /// Reads the files: keys are those of [`SealedFile::key`].
    #[must_use]
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        self.state.objects.store()
    }

    /// Where a file is, when it is on this machine.
    #[must_use]
    pub fn local_path(&self, file: &SealedFile) -> Option<PathBuf> {
        self.state.objects.path(&file.key)
    }

    /// Removes files that are no longer listed and that nobody reads any more. Returns how many are still read.
    ///
    /// # Errors
    /// [`StoreError::Stopping`] only: what cannot be removed now is tried again.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        self.blocking(|state| Ok(state.sweep())).await
    }

    /// Sets aside a file that turned out to be unreadable: it is no longer served, and not deleted.
    ///
    /// # Errors
    /// When it cannot be moved; it is no longer served then either.
    pub async fn set_aside(&self, file: &Arc<SealedFile>, reason: &str) -> Result<Aside, StoreError> {
        let (file, reason) = (Arc::clone(file), reason.to_owned());
        self.blocking(move |state| state.set_aside(&file, &reason)).await
    }

    /// Waits for a rewriting that is under way.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        self.blocking(|state| {
            drop(state.rewriting.lock());
            Ok(())
        })
        .await
    }

    /// Runs work that blocks on a thread that may.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&State) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let state = Arc::clone(&self.state);
        tokio::task::spawn_blocking(move || work(&state)).await.map_err(|_| StoreError::Stopping)?
    }
}

/// One file that was written and is not listed yet.
pub(crate) struct Unlisted {
    pub(crate) key: Path,
    pub(crate) table: usize,
    pub(crate) written: Written,
    pub(crate) positions: (Position, Position),
    pub(crate) sorted: bool,
}

impl State {
    /// The number for the names of the next files. It is never used twice.
    pub(crate) fn next_generation(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Begins a file of a table.
    pub(crate) fn create(
        &self,
        table: usize,
        key: &Path,
        positions: (Position, Position),
        sorted: bool,
    ) -> Result<TableWriter<crate::objects::Upload>, StoreError> {
        let label = FileLabel { engine: &self.options.engine, positions, sorted };
        let upload = self.objects.create(key)?;
        TableWriter::new(upload, &self.tables[table], &label).map_err(|source| unwritable(key, source))
    }

    /// Lists files that were written. When this fails they are removed, or kept until it is certain that they are not listed.
    pub(crate) fn publish(
        &self,
        added: Vec<Unlisted>,
        removed: &[Arc<SealedFile>],
        entry: impl FnOnce(Vec<FileEntry>) -> Entry,
    ) -> Result<Vec<Arc<SealedFile>>, StoreError> {
        let entries: Vec<FileEntry> = added.iter().map(|file| self.entry(file)).collect();
        let files = entries.iter().zip(&added).map(|(entry, file)| Arc::new(sealed_file(file.table, entry)));
        let files: Vec<_> = files.collect();
        let mut manifest = self.manifest.lock();
        if let Err(error) = manifest.append(entry(entries)) {
            self.doubtful.lock().extend(added.into_iter().map(|file| file.key));
            return Err(error);
        }
        self.replace(removed, &files);
        let doubtful = if manifest.is_in_doubt() { Vec::new() } else { std::mem::take(&mut *self.doubtful.lock()) };
        drop(manifest);
        self.retired.lock().extend_from_slice(removed);
        doubtful.iter().for_each(|key| self.remove(key));
        self.sweep();
        Ok(files)
    }

    /// Removes files that were written and will not be listed.
    pub(crate) fn discard(&self, files: &[Unlisted]) {
        files.iter().for_each(|file| self.remove(&file.key));
    }

    pub(crate) fn set_aside(&self, file: &Arc<SealedFile>, reason: &str) -> Result<Aside, StoreError> {
        self.replace(std::slice::from_ref(file), &[]);
        let (disk, dir) = (self.options.disk.as_ref(), self.options.dir.join(ASIDE));
        let moved = match self.objects.path(&file.key) {
            Some(path) => aside::move_aside(disk, &path, &dir, reason),
            // It stays where it is, and the next start reads here that it is not served.
            None => aside::leave_note(disk, &file.key, &dir, reason).map(|()| None),
        };
        let (moved_to, failure) = match moved {
            Ok(moved_to) => (moved_to, None),
            Err(error) => (None, Some(error)),
        };
        let aside = Aside { name: file.key.to_string(), reason: reason.to_owned(), rows: file.rows, moved_to };
        self.aside.lock().push(aside.clone());
        failure.map_or(Ok(aside), Err)
    }

    /// Stops serving a file that is good, but not for this version, and leaves it where it is: another start may know it.
    pub(crate) fn pass_over(&self, file: &Arc<SealedFile>, reason: &str) -> Aside {
        self.replace(std::slice::from_ref(file), &[]);
        tracing::error!(key = %file.key, rows = file.rows, reason, "a file cannot be served");
        let aside = Aside { name: file.key.to_string(), reason: reason.to_owned(), rows: file.rows, moved_to: None };
        self.aside.lock().push(aside.clone());
        aside
    }

    fn sweep(&self) -> usize {
        let mut retired = self.retired.lock();
        let (unread, read): (Vec<_>, Vec<_>) = retired.drain(..).partition(|file| Arc::strong_count(file) == 1);
        *retired = read;
        let count = retired.len();
        drop(retired);
        unread.iter().for_each(|file| self.remove(&file.key));
        count
    }

    fn replace(&self, removed: &[Arc<SealedFile>], added: &[Arc<SealedFile>]) {
        self.files.rcu(|files| {
            let mut files = Files::clone(files);
            for table in removed.iter().map(|file| file.table) {
                files[table].retain(|file| !removed.iter().any(|gone| Arc::ptr_eq(gone, file)));
            }
            added.iter().for_each(|file| files[file.table].push(Arc::clone(file)));
            files
        });
    }

    /// Removes a file. One that stays is a leftover, removed at the next start.
    fn remove(&self, key: &Path) {
        if let Err(error) = self.objects.remove(key) {
            tracing::warn!(%error, "a file that is no longer needed could not be removed");
        }
    }

    fn entry(&self, file: &Unlisted) -> FileEntry {
        let Written { rows, bytes, crc32c, time_min_us, time_max_us } = file.written;
        let (from, through) = file.positions;
        let table = self.tables[file.table].name.to_owned();
        let key = file.key.to_string();
        FileEntry { table, key, bytes, rows, time_min_us, time_max_us, from, through, sorted: file.sorted, crc32c }
    }
}

/// Files that cannot be served.
pub(crate) const ASIDE: &str = "aside";
/// The manifest.
pub(crate) const MANIFEST: &str = "manifest";
/// The Parquet files.
pub(crate) const TABLES: &str = "tables";

pub(crate) fn unwritable(key: &Path, source: parquet::errors::ParquetError) -> StoreError {
    StoreError::Parquet { action: "write", key: key.to_string(), source }
}

pub(crate) fn sealed_file(table: usize, entry: &FileEntry) -> SealedFile {
    SealedFile {
        table,
        key: Path::from(entry.key.as_str()),
        bytes: entry.bytes,
        rows: entry.rows,
        time_min_us: entry.time_min_us,
        time_max_us: entry.time_max_us,
        positions: (entry.from, entry.through),
        sorted: entry.sorted,
        crc32c: entry.crc32c,
        resident: arc_swap::ArcSwapOption::empty(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
