//! A file system that fails when told to, and that forgets at a crash what was not synced.
//!
//! It lies over a real directory. Beside it, it keeps what a crash may undo: bytes written since the last sync of their
//! file, cuts, and names given or taken since the last sync of their directory.

mod losses;
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, IoSlice, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use self::losses::{Change, Contents};
use super::{Disk, DiskEntry, DiskFile, LocalDisk};

/// What happens to one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails. A write has written some of it; a sync has lost what was written since the last one.
    Error,
    /// The power goes: this operation may have been done in part, and all later ones fail until
    /// [`FailingDisk::restart`].
    Crash,
}

/// A [`Disk`] for tests. Clones are the same disk.
#[derive(Debug, Clone)]
pub(crate) struct FailingDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Where removed and replaced files are kept until their removal is durable.
    graves: PathBuf,
    buried: usize,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    is_full: bool,
    is_down: bool,
    random: fastrand::Rng,
    files: HashMap<PathBuf, Arc<Mutex<Contents>>>,
    /// Changes of names that a crash may undo, oldest first.
    changes: Vec<Change>,
}

impl FailingDisk {
    /// Works like the file system until told otherwise. `graves` is a directory for its own use.
    pub(crate) fn new(graves: &Path, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self(Arc::new(Mutex::new(State {
            graves: graves.to_owned(),
            buried: 0,
            operations: 0,
            faults: BTreeMap::new(),
            is_full: false,
            is_down: false,
            random,
            files: HashMap::new(),
            changes: Vec::new(),
        })))
    }

    /// Operations so far that change something.
    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Lets an operation fail: the next one is [`operations`](Self::operations).
    pub(crate) fn fail_at(&self, operation: u64, fault: Fault) {
        self.0.lock().faults.insert(operation, fault);
    }

    /// Whether writes find no room.
    pub(crate) fn set_full(&self, is_full: bool) {
        self.0.lock().is_full = is_full;
    }

    /// The power goes now.
    pub(crate) fn crash(&self) {
        self.0.lock().is_down = true;
    }

    /// Whether a crash has happened since the last restart.
    pub(crate) fn is_down(&self) -> bool {
        self.0.lock().is_down
    }

    /// The power comes back: what was not synced is gone, or torn, or there after all. No fault is planned any more.
    pub(crate) fn restart(&self) {
        let state = &mut *self.0.lock();
        state.lose();
        state.faults.clear();
        state.is_full = false;
        state.is_down = false;
    }
}

impl State {
    /// Counts an operation. `Ok(Some)` says how it has to fail after doing some of its work.
    fn begin(&mut self) -> io::Result<Option<Fault>> {
        if self.is_down {
            return Err(io::Error::other("the machine is down"));
        }
        let operation = self.operations;
        self.operations += 1;
        let fault = self.faults.remove(&operation);
        self.is_down = fault == Some(Fault::Crash);
        Ok(fault)
    }

    /// Counts an operation that is done whole or not at all.
    fn begin_whole(&mut self) -> io::Result<()> {
        match self.begin()? {
            // With the power gone nobody can tell whether it was done.
            Some(Fault::Crash) if self.random.bool() => Ok(()),
            Some(_) => Err(broken()),
            None => Ok(()),
        }
    }

    fn begin_with_room(&mut self) -> io::Result<()> {
        self.begin_whole()?;
        if self.is_full { Err(full()) } else { Ok(()) }
    }

    fn grave(&mut self) -> PathBuf {
        self.buried += 1;
        self.graves.join(self.buried.to_string())
    }

    fn contents(&mut self, path: &Path) -> Arc<Mutex<Contents>> {
        let synced = || Arc::new(Mutex::new(Contents::synced(fs::metadata(path).map_or(0, |metadata| metadata.len()))));
        Arc::clone(self.files.entry(path.to_owned()).or_insert_with(synced))
    }

    /// Puts the file of a name aside, where a crash finds it again.
    fn bury(&mut self, path: &Path) -> io::Result<Option<losses::Grave>> {
        if !path.is_file() {
            return Ok(None);
        }
        let (contents, grave) = (self.contents(path), self.grave());
        self.files.remove(path);
        fs::rename(path, &grave)?;
        Ok(Some(losses::Grave { path: grave, contents }))
    }
}

impl Disk for FailingDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = &mut *self.0.lock();
        state.begin_with_room()?;
        let replaced = state.bury(path)?;
        let file = LocalDisk.create(path)?;
        state.changes.push(Change::made(path, replaced));
        let contents = state.contents(path);
        Ok(Box::new(FailingFile { disk: self.clone(), file, contents, bytes: 0 }))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = &mut *self.0.lock();
        state.begin_whole()?;
        let file = LocalDisk.append(path)?;
        let bytes = fs::metadata(path)?.len();
        let contents = state.contents(path);
        Ok(Box::new(FailingFile { disk: self.clone(), file, contents, bytes }))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        if self.is_down() {
            return Err(broken());
        }
        LocalDisk.read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.begin_whole()?;
        if !from.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let contents = state.contents(from);
        let replaced = state.bury(to)?;
        fs::rename(from, to)?;
        state.files.remove(from);
        state.files.insert(to.to_owned(), contents);
        state.changes.push(Change::renamed(from, to, replaced));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.begin_whole()?;
        let grave = state.bury(path)?.ok_or(io::ErrorKind::NotFound)?;
        state.changes.push(Change::removed(path, grave));
        Ok(())
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.0.lock().begin_with_room()?;
        fs::create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.begin_whole()?;
        state.changes.retain_mut(|change| !change.is_durable_with(path));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>> {
        if self.is_down() {
            return Err(broken());
        }
        LocalDisk.list(dir)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        if self.0.lock().is_full { Ok(0) } else { LocalDisk.free_bytes(path) }
    }
}

struct FailingFile {
    disk: FailingDisk,
    file: Box<dyn DiskFile>,
    contents: Arc<Mutex<Contents>>,
    bytes: u64,
}

impl FailingFile {
    fn write_some(&mut self, parts: &[IoSlice<'_>], share: f64) -> io::Result<()> {
        let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let some = (all.len() as f64 * share) as usize;
        self.file.write_all(&mut [IoSlice::new(&all[..some])])?;
        self.bytes += some as u64;
        Ok(())
    }
}

impl DiskFile for FailingFile {
    fn write_all(&mut self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let disk = self.disk.clone();
        let state = &mut *disk.0.lock();
        let fault = state.begin()?;
        if fault.is_some() || state.is_full {
            self.write_some(parts, state.random.f64())?;
            return Err(if fault.is_some() { broken() } else { full() });
        }
        self.write_some(parts, 1.0)
    }

    fn sync(&mut self) -> io::Result<()> {
        let disk = self.disk.clone();
        let state = &mut *disk.0.lock();
        match state.begin()? {
            None => {
                self.contents.lock().sync(self.bytes);
                Ok(())
            }
            Some(Fault::Error) => {
                self.contents.lock().forget(self.bytes);
                Err(broken())
            }
            Some(Fault::Crash) => {
                if state.random.bool() {
                    self.contents.lock().sync(self.bytes);
                }
                Err(broken())
            }
        }
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        let disk = self.disk.clone();
        let state = &mut *disk.0.lock();
        state.begin_whole()?;
        let path = state.files.iter().find(|(_, contents)| Arc::ptr_eq(contents, &self.contents));
        let before = path.map(|(path, _)| fs::read(path)).transpose()?.unwrap_or_default();
        self.contents.lock().cut(&before, bytes);
        self.file.truncate(bytes)?;
        self.bytes = bytes;
        Ok(())
    }
}

fn broken() -> io::Error {
    io::Error::other("injected failure")
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}
