//! Files that cannot be served are named and kept: moved to a directory of their own, with the reason beside them.

use std::io::{self, IoSlice, Read as _};
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::disk::Disk;

/// A file that is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// What it is called: a key of the object store, or a path.
    pub name: String,
    /// Why it is not served.
    pub reason: String,
    /// Rows that are missing while it is not served, as far as known.
    pub rows: u64,
    /// Where it is now; `None` when it was left where it is, or is not there.
    pub moved_to: Option<PathBuf>,
}

/// Moves a file into `dir`, under a name that is free there, and writes why. Returns where it is; `None` when there is no
/// such file.
pub(crate) fn move_aside(
    disk: &dyn Disk,
    path: &Path,
    dir: &Path,
    reason: &str,
) -> Result<Option<PathBuf>, StoreError> {
    if disk.read(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(None);
    }
    disk.make_dir(dir).map_err(StoreError::io("make directory", dir))?;
    let taken = disk.list(dir).map_err(StoreError::io("list", dir))?;
    let name = path.file_name().map_or_else(|| "unnamed".into(), |name| name.to_string_lossy());
    let is_free = |name: &String| !taken.iter().any(|entry| entry.name == *name);
    let mut names = std::iter::once(name.to_string()).chain((1_u32..).map(|count| format!("{name}.{count}")));
    let target = dir.join(names.find(is_free).unwrap_or_else(|| name.to_string()));
    write_reason(disk, &target, &format!("{}: {reason}\n", path.display()))?;
    disk.rename(path, &target).map_err(StoreError::io("move", path))?;
    let parent = path.parent().unwrap_or(dir);
    disk.sync_dir(dir).and_then(|()| disk.sync_dir(parent)).map_err(StoreError::io("move", path))?;
    tracing::error!(path = %path.display(), moved_to = %target.display(), reason, "a file cannot be served and was set aside");
    Ok(Some(target))
}

/// Writes into `dir` why an object is not served that cannot be moved there.
pub(crate) fn leave_note(
    disk: &dyn Disk,
    key: &object_store::path::Path,
    dir: &Path,
    reason: &str,
) -> Result<(), StoreError> {
    disk.make_dir(dir).map_err(StoreError::io("make directory", dir))?;
    write_reason(disk, &dir.join(key.filename().unwrap_or("unnamed")), &format!("{key}: {reason}\n"))?;
    disk.sync_dir(dir).map_err(StoreError::io("sync", dir))?;
    tracing::error!(%key, reason, "an object cannot be served: it is left where it is");
    Ok(())
}

/// Why a file of this name was set aside, if one was: of several, the first.
pub(crate) fn reason(disk: &dyn Disk, key: &object_store::path::Path, dir: &Path) -> Option<String> {
    let mut text = String::new();
    disk.read(&reason_path(&dir.join(key.filename()?))).ok()?.take(REASON_BYTES_MAX).read_to_string(&mut text).ok()?;
    let text = text.trim_end();
    // It begins with where the file was.
    Some(text.split_once(": ").map_or(text, |(_, reason)| reason).to_owned())
}

fn write_reason(disk: &dyn Disk, file: &Path, text: &str) -> Result<(), StoreError> {
    let path = reason_path(file);
    let write = || {
        let mut file = disk.create(&path)?;
        file.write_all(&mut [IoSlice::new(text.as_bytes())])?;
        file.sync()
    };
    write().map_err(StoreError::io("write", &path))
}

fn reason_path(file: &Path) -> PathBuf {
    let mut path = file.to_owned().into_os_string();
    path.push(".reason");
    path.into()
}

/// What is read of a reason at most.
const REASON_BYTES_MAX: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LocalDisk;

    #[test]
    fn files_of_one_name_are_all_kept_with_their_reasons() {
        let dir = tempfile::tempdir().unwrap();
        let aside = dir.path().join("aside");
        let path = dir.path().join("a.parquet");
        let moved: Vec<PathBuf> = (0..3)
            .map(|count| {
                std::fs::write(&path, format!("{count}")).unwrap();
                move_aside(&LocalDisk, &path, &aside, "it is truncated").unwrap().unwrap()
            })
            .collect();
        for (count, moved) in moved.iter().enumerate() {
            assert_eq!(std::fs::read_to_string(moved).unwrap(), count.to_string());
            let reason = std::fs::read_to_string(format!("{}.reason", moved.display())).unwrap();
            assert!(reason.ends_with("a.parquet: it is truncated\n"), "{reason}");
        }
        assert!(!path.exists());
        assert_eq!(move_aside(&LocalDisk, &path, &aside, "it is truncated").unwrap(), None, "it is not there any more");
        assert_eq!(std::fs::read_dir(&aside).unwrap().count(), 6, "and leaves no reason behind");
    }
}
