//! Lists as they last were good, on disk: an engine that starts while a source is away, or wrong, has them.
//!
//! A file for each list, replaced whole: a line that says of what and when, and the entries as they came. What cannot be read, or
//! is of another source, counts as none.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use tollgate_policies::lists::Declaration;

/// Stands before the name of a list in the name of its file.
const PREFIX: &str = "list-";

pub(super) struct Stored {
    dir: PathBuf,
}

impl Stored {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(super) fn read(&self, declaration: &Declaration) -> Option<(Bytes, u64)> {
        let bytes = Bytes::from(fs::read(self.path(&declaration.name)).ok()?);
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let (fetched_ms, source) = head.split_once(' ')?;
        (source == declaration.identity()).then_some(())?;
        Some((bytes.slice(end + 1..), fetched_ms.parse().ok()?))
    }

    pub(super) fn write(&self, declaration: &Declaration, bytes: &Bytes, fetched_ms: u64) {
        let path = self.path(&declaration.name);
        // No list has this name.
        let beside = self.path(&format!("{}~new", declaration.name));
        let replace = || {
            let head = format!("{fetched_ms} {}\n", declaration.identity());
            fs::write(&beside, [head.as_bytes(), &bytes[..]].concat())?;
            fs::rename(&beside, &path)
        };
        if let Err(error) = replace() {
            let list = &declaration.name;
            tracing::warn!(list, %error, "a list was not kept on disk: after a restart it has to be fetched first");
        }
    }

    /// Removes what is declared no more.
    pub(super) fn retain(&self, declarations: &[Declaration]) {
        let kept: BTreeSet<_> = declarations.iter().map(|list| format!("{PREFIX}{}", list.name)).collect();
        let entries = fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(PREFIX) && !kept.contains(&name) {
                // Left behind it does no harm.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{PREFIX}{name}"))
    }
}
