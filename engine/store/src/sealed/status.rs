//! Says what is sealed.

use std::collections::BTreeMap;

use super::{Sealed, name::directory};
use crate::{Aside, Position, SealedFile};
use std::sync::Arc;

/// What is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedStatus {
    /// By table, in the order of the tables.
    pub tables: Vec<TableStatus>,
    /// The last record whose rows are in files.
    pub sealed_through: Position,
    /// Files that cannot be served.
    pub aside: Vec<Aside>,
    /// Size of the manifest.
    pub manifest_bytes: u64,
    /// Files that are no longer listed and still being read, as of the last look.
    pub retired_files: usize,
}

/// What is sealed of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableStatus {
    /// Its name.
    pub name: &'static str,
    /// Its files.
    pub files: usize,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Earliest and latest time of a row, in microseconds since the epoch; `None` when there is none.
    pub times_us: Option<(i64, i64)>,
    /// Directories.
    pub partitions: usize,
    /// Bytes that compaction has yet to rewrite.
    pub compaction_debt_bytes: u64,
}

impl Sealed {
    /// Says what is sealed. `now_us` tells which partitions are closed.
    #[must_use]
    pub fn status(&self, now_us: i64) -> SealedStatus {
        let files = self.files();
        let tables = self.state.tables.iter().enumerate().zip(files.iter());
        let (sealed_through, manifest_bytes) = {
            let manifest = self.state.manifest.lock();
            (manifest.catalog().sealed_through, manifest.bytes())
        };
        SealedStatus {
            tables: tables.map(|((table, _), files)| self.table_status(table, files, now_us)).collect(),
            sealed_through,
            aside: self.state.aside.lock().clone(),
            manifest_bytes,
            retired_files: self.state.retired.lock().len(),
        }
    }

    fn table_status(&self, table: usize, files: &[Arc<SealedFile>], now_us: i64) -> TableStatus {
        let mut partitions: BTreeMap<&str, Vec<Arc<SealedFile>>> = BTreeMap::new();
        for file in files {
            partitions.entry(directory(&file.key)).or_default().push(Arc::clone(file));
        }
        let times = files.iter().map(|file| (file.time_min_us, file.time_max_us));
        TableStatus {
            name: self.state.tables[table].name,
            files: files.len(),
            rows: files.iter().map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            times_us: times.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1))),
            partitions: partitions.len(),
            compaction_debt_bytes: self.state.debt_bytes(table, files, now_us),
        }
    }
}
