//! What a query sees: the hot rows and the sealed files of every table at one moment.
//!
//! A view never changes. Readers hold one for as long as they read; the next one replaces it in a single swap, so that
//! rows move from memory to a file without being seen twice or not at all.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use arrow::record_batch::RecordBatch;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

/// Number of a record in the log: dense, rising for ever, across segments and restarts. The first record has 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// All tables at one moment.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// In the order of the store's [`TableSpec`](crate::TableSpec)s.
    pub tables: Vec<TableView>,
    /// The last record whose rows are in it.
    pub position: Position,
}

/// One table at one moment.
#[derive(Debug, Clone, Default)]
pub struct TableView {
    /// Rows that are in no file yet, oldest first.
    pub hot: Arc<Vec<Arc<HotBatch>>>,
    /// Sealed files.
    pub files: Arc<Vec<Arc<SealedFile>>>,
}

/// Rows that came together, or were put together.
#[derive(Debug)]
pub struct HotBatch {
    /// The rows. Those of a sealed file have packed columns, as files do: see [`is_packed`](crate::is_packed).
    pub rows: RecordBatch,
    /// Earliest time of a row, in microseconds since the epoch.
    pub time_min_us: i64,
    /// Latest time of a row.
    pub time_max_us: i64,
    /// Memory that they take.
    pub bytes: usize,
}

/// A Parquet file that the manifest lists.
///
/// Whoever reads the file holds the `Arc` of it: a file that is no longer listed is deleted when nobody holds it any more.
#[derive(Debug)]
pub struct SealedFile {
    /// Index of its table.
    pub table: usize,
    /// Where it is in the object store.
    pub key: Path,
    /// Its size.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// Earliest time of a row, in microseconds since the epoch.
    pub time_min_us: i64,
    /// Latest time of a row.
    pub time_max_us: i64,
    /// First and last record whose rows may be in it.
    pub positions: (Position, Position),
    /// Whether its rows are in the table's sort order, rather than in order of arrival.
    pub sorted: bool,
    /// CRC-32C of the whole file.
    pub crc32c: u32,
    /// Its rows, while they are still in memory.
    pub(crate) resident: ArcSwapOption<Vec<Arc<HotBatch>>>,
}

impl SealedFile {
    /// The file's rows, if they are still in memory.
    #[must_use]
    pub fn resident(&self) -> Option<Arc<Vec<Arc<HotBatch>>>> {
        self.resident.load_full()
    }
}
