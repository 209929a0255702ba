//! The manifest: which Parquet files count, and up to which record the log is in them.
//!
//! ```text
//! file    magic "TGMF", version u32, frames
//! frame   length u32, crc32c of the payload u32, crc32c of these eight bytes u32, payload
//! payload one entry as JSON; the first of a file is a snapshot of everything before it
//! ```
//! Integers are little endian. Entries are appended and synced one at a time, so only the last can be torn; when the file
//! has become long it is written anew under the next number. Nothing else decides what a query sees: a Parquet file that
//! is not in the manifest is a leftover.

mod catalog;
mod entry;
mod frames;

use std::io::{IoSlice, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::objects::Place;
use crate::{Marks, StoreError};

pub(crate) use self::catalog::Catalog;
pub(crate) use self::entry::{Entry, FileEntry};

/// A manifest is written anew when it is this long and [`REWRITE_FACTOR`] times as long as its snapshot.
const REWRITE_BYTES: u64 = 4 << 20;
const REWRITE_FACTOR: u64 = 4;

/// How often a manifest is looked for again that was written anew while it was to be read.
const PEEKS_MAX: usize = 10;

const SUFFIX: &str = ".manifest";
const UNFINISHED: &str = ".manifest.tmp";

/// The manifest of one engine, open for appending.
pub(crate) struct Manifest {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    engine: Arc<str>,
    number: u64,
    /// `None` after a failed append: what is at the file's end is not known then, and the next entry goes to a new file.
    file: Option<Box<dyn DiskFile>>,
    bytes: u64,
    snapshot_bytes: u64,
    catalog: Catalog,
}

impl std::fmt::Debug for Manifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manifest").field("number", &self.number).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Manifest {
    /// Reads the engine's manifest; `None` when there is none. Cuts off a torn last entry.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, engine: Arc<str>) -> Result<Option<Self>, StoreError> {
        disk.make_dir(dir).map_err(StoreError::io("make directory", dir))?;
        remove_unfinished(disk.as_ref(), dir)?;
        let mut numbers = numbers(disk.as_ref(), dir, &engine)?;
        let Some(number) = numbers.pop() else { return Ok(None) };
        let path = path(dir, &engine, number);
        let bytes = read(disk.as_ref(), &path).map_err(StoreError::io("read", &path))?;
        let Contents { catalog, whole_bytes, snapshot_bytes } = contents(&path, &bytes, &engine)?;
        let mut file = disk.append(&path).map_err(StoreError::io("open", &path))?;
        if whole_bytes < bytes.len() as u64 {
            tracing::warn!(path = %path.display(), bytes = bytes.len() as u64 - whole_bytes, "cut off a torn last entry");
            file.truncate(whole_bytes).map_err(StoreError::io("cut", &path))?;
        }
        // A process that was killed, or failed half-way, may have left name and entries to the kernel alone.
        file.sync().and_then(|()| disk.sync_dir(dir)).map_err(StoreError::io("sync", &path))?;
        let manifest = Self {
            dir: dir.to_owned(),
            engine,
            number,
            file: Some(file),
            bytes: whole_bytes,
            snapshot_bytes,
            catalog,
            disk,
        };
        numbers.into_iter().for_each(|older| manifest.remove(older));
        Ok(Some(manifest))
    }

    /// What the engine's manifest says now, and where it is; `None` when there is none. Nothing is changed: the engine may be
    /// running, and writing it.
    pub(crate) fn peek(disk: &dyn Disk, dir: &Path, engine: &str) -> Result<Option<(PathBuf, Catalog)>, StoreError> {
        let mut tries = 0;
        loop {
            let Some(number) = numbers(disk, dir, engine)?.pop() else { return Ok(None) };
            let path = path(dir, engine, number);
            match read(disk, &path) {
                Ok(bytes) => {
                    let catalog = contents(&path, &bytes, engine)?.catalog;
                    return Ok(Some((path, catalog)));
                }
                // It was written anew meanwhile, under the next number.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && tries < PEEKS_MAX => tries += 1,
                Err(error) => return Err(StoreError::io("read", &path)(error)),
            }
        }
    }

    /// Writes the first manifest of an engine, whose files go to a place.
    pub(crate) fn create(disk: Arc<dyn Disk>, dir: &Path, engine: Arc<str>, place: Place) -> Result<Self, StoreError> {
        let catalog = Catalog { engine: engine.to_string(), place: Some(place), ..Catalog::default() };
        let (dir, number, bytes, snapshot_bytes) = (dir.to_owned(), 0, 0, 0);
        let mut manifest = Self { disk, dir, engine, number, file: None, bytes, snapshot_bytes, catalog };
        manifest.rewrite()?;
        Ok(manifest)
    }

    /// Writes down that the files are in another place than it says, or where they are, if it does not say it.
    pub(crate) fn settle_in(&mut self, place: Place) -> Result<(), StoreError> {
        self.catalog.place = Some(place);
        self.rewrite()
    }

    /// Everything that the entries so far add up to.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Size of the manifest.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether an entry that failed may yet turn up after a restart.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.file.is_none()
    }

    /// Where the manifest is.
    pub(crate) fn path(&self) -> PathBuf {
        path(&self.dir, &self.engine, self.number)
    }

    /// The marks that differ from those of the manifest.
    pub(crate) fn changed(&self, marks: &Marks) -> Vec<entry::MarkEntry> {
        self.catalog.changed(marks)
    }

    /// Appends an entry. After success it is durable. After a failure it counts as never written; should the machine stop
    /// before the next success, it may be found to have been written after all.
    pub(crate) fn append(&mut self, entry: Entry) -> Result<(), StoreError> {
        let path = self.path();
        self.catalog.check(&entry).map_err(|problem| StoreError::Damaged { path: path.clone(), problem })?;
        let is_long = self.bytes > REWRITE_BYTES && self.bytes > REWRITE_FACTOR * self.snapshot_bytes;
        if is_long && let Err(error) = self.rewrite() {
            tracing::warn!(%error, "the manifest could not be written anew");
        }
        let Some(file) = &mut self.file else { return self.append_by_rewriting(entry) };
        let frame = frames::frame(&entry.json());
        let written = file.write_all(&mut [IoSlice::new(&frame)]).and_then(|()| file.sync());
        if let Err(source) = written {
            self.file = None;
            return Err(StoreError::Io { action: "append to", path, source });
        }
        self.bytes += frame.len() as u64;
        self.catalog.apply(entry).map_err(|problem| StoreError::Damaged { path, problem })
    }

    fn append_by_rewriting(&mut self, entry: Entry) -> Result<(), StoreError> {
        let before = self.catalog.clone();
        let path = self.path();
        self.catalog.apply(entry).map_err(|problem| StoreError::Damaged { path, problem })?;
        self.rewrite().inspect_err(|_| self.catalog = before)
    }

    /// Writes a snapshot under the next number and goes on there.
    fn rewrite(&mut self) -> Result<(), StoreError> {
        let old = self.number;
        self.number += 1;
        self.file = None;
        let path = self.path();
        let unfinished = path.with_extension("manifest.tmp");
        let bytes = frames::file(&self.catalog.snapshot().json());
        let write = || {
            let mut file = self.disk.create(&unfinished)?;
            file.write_all(&mut [IoSlice::new(&bytes)])?;
            file.sync()?;
            self.disk.rename(&unfinished, &path)?;
            self.disk.sync_dir(&self.dir)?;
            Ok(file)
        };
        self.file = Some(write().map_err(StoreError::io("write", &path))?);
        self.bytes = bytes.len() as u64;
        self.snapshot_bytes = self.bytes;
        if old > 0 {
            (1..=old).rev().take(8).for_each(|older| self.remove(older));
        }
        Ok(())
    }

    /// Removes an older manifest. If that fails it is removed at the next start: the highest number counts.
    fn remove(&self, number: u64) {
        let path = path(&self.dir, &self.engine, number);
        match self.disk.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %path.display(), "an older manifest could not be removed");
            }
            _ => {}
        }
    }
}

fn path(dir: &Path, engine: &str, number: u64) -> PathBuf {
    dir.join(format!("{engine}-{number:016x}{SUFFIX}"))
}

/// What one file says.
struct Contents {
    catalog: Catalog,
    /// Its length without what is torn at its end.
    whole_bytes: u64,
    snapshot_bytes: u64,
}

fn contents(path: &Path, bytes: &[u8], engine: &str) -> Result<Contents, StoreError> {
    let damaged = |problem: String| StoreError::Damaged { path: path.to_owned(), problem };
    let frames = frames::parse(bytes).map_err(|problem| problem.at(path))?;
    let mut catalog = Catalog::default();
    for (index, frame) in frames.payloads.iter().enumerate() {
        let entry = serde_json::from_slice(frame).map_err(|error| damaged(format!("entry {index}: {error}")))?;
        catalog.apply(entry).map_err(|problem| damaged(format!("entry {index}: {problem}")))?;
    }
    let Some(first) = frames.payloads.first() else { return Err(damaged("it has no first entry".to_owned())) };
    if *catalog.engine != *engine {
        return Err(foreign(path));
    }
    Ok(Contents { catalog, whole_bytes: frames.whole_bytes, snapshot_bytes: first.len() as u64 })
}

fn remove_unfinished(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    for entry in disk.list(dir).map_err(StoreError::io("list", dir))? {
        if entry.name.ends_with(UNFINISHED) {
            let path = dir.join(&entry.name);
            disk.remove(&path).map_err(StoreError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Numbers of the manifests that are there, lowest first.
fn numbers(disk: &dyn Disk, dir: &Path, engine: &str) -> Result<Vec<u64>, StoreError> {
    let mut numbers = Vec::new();
    for entry in disk.list(dir).map_err(StoreError::io("list", dir))? {
        if let Some(name) = entry.name.strip_suffix(SUFFIX) {
            let path = dir.join(&entry.name);
            let number = name.rsplit_once('-').filter(|(owner, _)| *owner == engine);
            let number = number.and_then(|(_, number)| u64::from_str_radix(number, 16).ok());
            numbers.push(number.ok_or_else(|| foreign(&path))?);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn foreign(path: &Path) -> StoreError {
    StoreError::Foreign { path: path.to_owned(), problem: "is another engine's manifest".to_owned() }
}

fn read(disk: &dyn Disk, path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    disk.read(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
