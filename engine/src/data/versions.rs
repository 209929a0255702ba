//! Snapshot versions, which grow for ever, also across restarts.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{DataDir, DataError};

const FILE: &str = "versions";
/// Versions reserved with one write. A restart skips what is left of them.
const BLOCK: u64 = 1_000_000;

/// Gives out versions from a range that is reserved on disk.
///
/// INVARIANT: no version is given out that is not below the reservation on disk.
#[derive(Debug)]
pub(crate) struct Versions {
    dir: Arc<DataDir>,
    range: Mutex<Range<u64>>,
}

impl Versions {
    pub(crate) fn open(dir: Arc<DataDir>) -> Result<Self, DataError> {
        let reserved: u64 = match dir.read(FILE)? {
            Some(text) => text.trim().parse().map_err(|error| dir.damaged(FILE, error))?,
            None => 1,
        };
        Ok(Self { dir, range: Mutex::new(reserved..reserved) })
    }

    /// A version greater than all before it.
    pub(crate) fn next(&self) -> Result<u64, DataError> {
        let mut range = self.range.lock();
        if range.is_empty() {
            let end = range.end + BLOCK;
            self.dir.write(FILE, &end.to_string())?;
            range.end = end;
        }
        let version = range.start;
        range.start += 1;
        Ok(version)
    }
}
