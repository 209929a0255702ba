//! What outlives a restart: the engine's identity, versions that were given out, and the members of the fleet.
//!
//! A handful of small files in one directory, each replaced whole: written beside, synced, renamed, and the directory synced.

mod versions;

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

pub(crate) use self::versions::Versions;

const LOCK: &str = "lock";
/// What queries spill; emptied at the start.
const SPILL: &str = "tmp";
const IDENTITY: &str = "engine-id";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Another engine uses it.
    #[error("another engine uses the data directory `{}`: end that one, or choose another directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// There is none.
    #[error("there is no data directory `{}`: name it with --data, or in the configuration", path.display())]
    Absent {
        /// Where it should be.
        path: PathBuf,
    },
    /// A file in it could not be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file holds what no engine wrote.
    #[error("`{}` is damaged: {problem}; restore it, or move it away and accept what that loses", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// A data directory, locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    id: String,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be and takes its lock.
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        fs::create_dir_all(path).map_err(failed("make directory", path))?;
        let lock_path = path.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed("lock", &lock_path)(source)),
        }
        let mut dir = Self { path: path.to_owned(), id: String::new(), _lock: lock };
        dir.id = dir.identity()?;
        Ok(dir)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// An empty directory for what queries write when they need more memory than there is.
    pub(crate) fn spill(&self) -> Result<PathBuf, DataError> {
        let path = self.path.join(SPILL);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("empty", &path)(error)),
            _ => {}
        }
        fs::create_dir_all(&path).map_err(failed("make directory", &path))?;
        Ok(path)
    }

    /// Names this engine among all, for as long as its data live.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The id of the engine that uses a directory, or has used it; `None` when it has none yet.
    pub(crate) fn id_of(path: &Path) -> Result<Option<String>, DataError> {
        Ok(read(&path.join(IDENTITY))?.map(|id| id.trim().to_owned()))
    }

    /// Contents of a file; `None` when there is none yet.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, DataError> {
        read(&self.path.join(name))
    }

    /// Replaces a file. When this returns it is on disk, and at no moment is there half of it.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), DataError> {
        let path = self.path.join(name);
        let beside = self.path.join(format!("{name}.new"));
        let replace = || {
            let mut file = File::create(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.path)?.sync_all()
        };
        replace().map_err(failed("write", &path))
    }

    pub(crate) fn damaged(&self, name: &str, problem: impl ToString) -> DataError {
        DataError::Damaged { path: self.path.join(name), problem: problem.to_string() }
    }

    fn identity(&self) -> Result<String, DataError> {
        if let Some(id) = Self::id_of(&self.path)? {
            return Ok(id);
        }
        // Two keys of the standard library's hash maps: random enough to tell engines apart, which is all that it is for.
        let random = || RandomState::new().build_hasher().finish();
        let id = format!("{:016x}{:016x}", random(), random());
        self.write(IDENTITY, &id)?;
        Ok(id)
    }
}

fn read(path: &Path) -> Result<Option<String>, DataError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> DataError + use<> {
    let path = path.to_owned();
    move |source| DataError::Io { action, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_second_engine_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        let id = first.id().to_owned();
        let error = DataDir::open(dir.path()).unwrap_err();
        assert!(matches!(error, DataError::InUse { .. }), "{error}");
        drop(first);
        assert_eq!(DataDir::open(dir.path()).unwrap().id(), id);
    }

    #[test]
    fn versions_grow_across_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let mut last = 0;
        for _ in 0..3 {
            let versions = Versions::open(Arc::new(DataDir::open(dir.path()).unwrap())).unwrap();
            for _ in 0..5 {
                let next = versions.next().unwrap();
                assert!(next > last);
                last = next;
            }
        }
    }

    #[test]
    fn damaged_versions_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("versions"), "many").unwrap();
        let error = Versions::open(Arc::new(DataDir::open(dir.path()).unwrap())).err().unwrap();
        assert!(error.to_string().contains("is damaged"), "{error}");
    }
}
