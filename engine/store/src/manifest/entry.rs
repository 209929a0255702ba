//! What one entry of the manifest says. Version 2; samples of it and of version 1 are read by a test for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::catalog::Ledger;
use crate::Position;
use crate::marks::Mark;
use crate::objects::Place;

/// One change of what is sealed, or all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// Everything before this entry.
    Snapshot {
        engine: String,
        /// Where the files are. Version 1 did not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<Place>,
        generation: u64,
        sealed_through: Position,
        marks: Vec<MarkEntry>,
        files: Vec<FileEntry>,
        ledger: BTreeMap<String, Ledger>,
    },
    /// The log up to `through` is in files.
    Seal { generation: u64, from: Position, through: Position, marks: Vec<MarkEntry>, add: Vec<FileEntry> },
    /// Files were rewritten as others.
    Replace { generation: u64, remove: Vec<String>, add: Vec<FileEntry> },
    /// Files are no longer kept.
    Expire { remove: Vec<String> },
}

impl Entry {
    pub(super) fn json(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "only maps whose keys are not text fail, and there are none")]
        serde_json::to_vec(self).expect("an entry is JSON")
    }
}

/// One Parquet file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    pub(crate) table: String,
    pub(crate) key: String,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    pub(crate) time_min_us: i64,
    pub(crate) time_max_us: i64,
    pub(crate) from: Position,
    pub(crate) through: Position,
    pub(crate) sorted: bool,
    pub(crate) crc32c: u32,
}

/// One [`Mark`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MarkEntry {
    reporter: String,
    epoch: u64,
    sequence: u64,
    heard_us: i64,
}

impl From<Mark> for MarkEntry {
    fn from(Mark { reporter, epoch, sequence, heard_us }: Mark) -> Self {
        Self { reporter: reporter.to_string(), epoch, sequence, heard_us }
    }
}

impl From<MarkEntry> for Mark {
    fn from(MarkEntry { reporter, epoch, sequence, heard_us }: MarkEntry) -> Self {
        Self { reporter: reporter.into(), epoch, sequence, heard_us }
    }
}
