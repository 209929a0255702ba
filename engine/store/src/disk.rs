//! Local files, as the log, the manifest and local Parquet files need them: what was written and synced outlives a crash.
//!
//! A trait, so that tests can let every step fail, tear or be forgotten. It knows nothing of what is in the files.

#[cfg(test)]
pub(crate) mod failing;
mod local;
mod space;

use std::fmt;
use std::io::{self, IoSlice, Read};
use std::path::Path;

pub use self::local::LocalDisk;

/// What the store asks of a file system. All calls block.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Makes an empty file for writing; what was there before under this name is emptied. The name is durable after
    /// [`sync_dir`](Self::sync_dir) of its directory.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that is there, for writing at its end.
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file for reading from its beginning.
    fn read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;

    /// Gives a file another name; a file that has it is replaced. Durable after [`sync_dir`](Self::sync_dir) of both
    /// directories.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`sync_dir`](Self::sync_dir) of its directory.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory and those above it, durably.
    fn make_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes durable which names a directory holds.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The files and directories in a directory, by name; none when there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>>;

    /// Bytes that are left for us where this path is.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// An open file that is written at its end.
pub trait DiskFile: Send {
    /// Writes all parts, one after the other. After an error, an unknown part of them was written.
    fn write_all(&mut self, parts: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Makes the file's contents durable. After an error nothing is known about what was written since the last success,
    /// not even if a later call succeeds: the kernel has forgotten which pages it could not write.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file; what is written next follows there.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
}

/// What a directory holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskEntry {
    /// Its name; names that are not text are left out of listings, as we never give such.
    pub name: String,
    /// Its size; 0 for a directory.
    pub bytes: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}
