//! What a crash takes.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::State;

/// What is durable of a file's contents.
#[derive(Debug)]
pub(super) struct Contents {
    synced_bytes: u64,
    /// Synced bytes that were cut off since: they may come back.
    cut: Option<Vec<u8>>,
    /// Bytes that a failed sync has lost: read back now, but not after a crash.
    lost: Vec<Range<u64>>,
}

impl Contents {
    pub(super) fn synced(bytes: u64) -> Self {
        Self { synced_bytes: bytes, cut: None, lost: Vec::new() }
    }

    pub(super) fn sync(&mut self, bytes: u64) {
        self.synced_bytes = bytes;
        self.cut = None;
    }

    /// A sync has failed: the kernel takes the pages for clean and never writes them.
    pub(super) fn forget(&mut self, bytes: u64) {
        if self.synced_bytes < bytes {
            self.lost.push(self.synced_bytes..bytes);
        }
        self.synced_bytes = self.synced_bytes.max(bytes);
    }

    /// The file is cut to `bytes`; `before` is what it held.
    pub(super) fn cut(&mut self, before: &[u8], bytes: u64) {
        let synced = usize::try_from(self.synced_bytes).unwrap_or(usize::MAX).min(before.len());
        if let Some(gone) = before.get(bytes as usize..synced).filter(|gone| !gone.is_empty()) {
            self.cut.get_or_insert_with(|| gone.to_owned());
        }
        self.synced_bytes = self.synced_bytes.min(bytes);
        self.lost.iter_mut().for_each(|lost| lost.end = lost.end.min(bytes));
        self.lost.retain(|lost| lost.start < lost.end);
    }

    /// Leaves in the file what a crash leaves of it.
    fn lose(&mut self, path: &Path, random: &mut fastrand::Rng) -> io::Result<()> {
        let mut bytes = fs::read(path)?;
        let synced = (self.synced_bytes as usize).min(bytes.len());
        let kept = random.usize(synced..=bytes.len());
        bytes.truncate(kept);
        // Pages reach the disk in any order: some of what was not synced may be zeros before something that is there.
        if kept > synced && random.u8(..4) == 0 {
            let hole = random.usize(synced..kept);
            let end = random.usize(hole..kept);
            bytes[hole..end].fill(0);
        }
        if let Some(cut) = self.cut.take().filter(|_| random.bool()) {
            bytes.truncate(synced);
            bytes.extend(cut);
        }
        for lost in self.lost.drain(..) {
            let end = (lost.end as usize).min(bytes.len());
            if let Some(lost) = bytes.get_mut(lost.start as usize..end) {
                lost.fill(0);
            }
        }
        self.synced_bytes = bytes.len() as u64;
        fs::write(path, bytes)
    }
}

/// Where a removed or replaced file waits for its removal to be durable.
#[derive(Debug)]
pub(super) struct Grave {
    pub(super) path: PathBuf,
    pub(super) contents: Arc<Mutex<Contents>>,
}

/// A change of names.
#[derive(Debug)]
pub(super) struct Change {
    /// Directories that are not synced yet.
    dirs: Vec<PathBuf>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Made { path: PathBuf, replaced: Option<Grave> },
    Renamed { from: PathBuf, to: PathBuf, replaced: Option<Grave> },
    Removed { path: PathBuf, grave: Grave },
}

impl Change {
    pub(super) fn made(path: &Path, replaced: Option<Grave>) -> Self {
        Self { dirs: parents(&[path]), kind: Kind::Made { path: path.to_owned(), replaced } }
    }

    pub(super) fn renamed(from: &Path, to: &Path, replaced: Option<Grave>) -> Self {
        Self { dirs: parents(&[from, to]), kind: Kind::Renamed { from: from.to_owned(), to: to.to_owned(), replaced } }
    }

    pub(super) fn removed(path: &Path, grave: Grave) -> Self {
        Self { dirs: parents(&[path]), kind: Kind::Removed { path: path.to_owned(), grave } }
    }

    /// Whether nothing is left to be synced once this directory is.
    pub(super) fn is_durable_with(&mut self, dir: &Path) -> bool {
        self.dirs.retain(|parent| parent != dir);
        self.dirs.is_empty()
    }
}

fn parents(paths: &[&Path]) -> Vec<PathBuf> {
    let mut parents: Vec<PathBuf> = paths.iter().filter_map(|path| path.parent()).map(Path::to_owned).collect();
    parents.dedup();
    parents
}

impl State {
    /// Undoes some of what is not durable. Names are undone from the newest back, as file systems journal them in order.
    pub(super) fn lose(&mut self) {
        let kept = self.random.usize(0..=self.changes.len());
        let undone = self.changes.split_off(kept);
        for change in undone.into_iter().rev() {
            self.undo(change.kind).expect("the change can be undone");
        }
        self.changes.clear();
        for (path, contents) in &self.files {
            contents.lock().lose(path, &mut self.random).expect("the file can be cut");
        }
        self.files.clear();
    }

    fn undo(&mut self, kind: Kind) -> io::Result<()> {
        match kind {
            Kind::Made { path, replaced } => {
                fs::remove_file(&path)?;
                self.files.remove(&path);
                self.exhume(replaced, path)
            }
            Kind::Renamed { from, to, replaced } => {
                fs::rename(&to, &from)?;
                if let Some(contents) = self.files.remove(&to) {
                    self.files.insert(from, contents);
                }
                self.exhume(replaced, to)
            }
            Kind::Removed { path, grave } => self.exhume(Some(grave), path),
        }
    }

    fn exhume(&mut self, grave: Option<Grave>, path: PathBuf) -> io::Result<()> {
        let Some(grave) = grave else { return Ok(()) };
        fs::rename(&grave.path, &path)?;
        self.files.insert(path, grave.contents);
        Ok(())
    }
}
