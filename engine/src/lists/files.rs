//! Lists that are files beside their declarations.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use tollgate_policies::Diagnostic;
use tollgate_policies::lists::{Declaration, List, Origin};

use super::{FetchedList, LIST_BYTES_MAX};

/// Reads a file below `lists/`. A link is followed: Kubernetes mounts files that way.
pub(super) fn read(policies: &Path, file: &str) -> Result<FetchedList, String> {
    let path = policies.join("lists").join(file);
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too large from one that just fits.
    let limit = LIST_BYTES_MAX as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(format!("`lists/{file}` cannot be read: {error}")),
        Ok(read) if read > LIST_BYTES_MAX => Err(format!("`lists/{file}` is larger than {} MiB", LIST_BYTES_MAX >> 20)),
        Ok(_) => Ok(FetchedList::Entries { bytes: Bytes::from(bytes), tag: None }),
    }
}

/// What is wrong with lists in files. A running engine keeps the last good entries, so that it keeps no policy from being enforced.
pub(crate) fn check(policies: &Path, lists: &[Declaration]) -> Vec<Diagnostic> {
    let problem = |list: &Declaration| {
        let Origin::File(file) = &list.origin else { return None };
        let read = read(policies, file).and_then(|fetched| match fetched {
            FetchedList::Entries { bytes, .. } => List::read(list.kind, &bytes).map_err(|error| error.to_string()),
            FetchedList::Unchanged => Err("nothing was read".to_owned()),
        });
        let message = format!("list `{}`: {}", list.name, read.err()?);
        Some(Diagnostic::warning("TG0807", &format!("lists/{file}"), message))
    };
    lists.iter().filter_map(problem).collect()
}
