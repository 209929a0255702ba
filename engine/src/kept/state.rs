//! How the store is doing: the table `storage`, and what `/readyz` says about it.

use std::iter::once;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use serde::Serialize;
use tollgate_store::{DiskState, Store, StoreStatus};

use super::files::FilesTable;
use crate::columns;
use crate::sql::StateTable;
use crate::tables::StateTables;

/// Whether what arrives can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageState {
    /// It can.
    Ok,
    /// There is no room on the disk: acknowledgements wait until there is.
    Full,
    /// Rows cannot be sealed, such as while the object store is away: they are kept in the log, and acknowledgements go on while
    /// there is room in memory.
    Behind,
    /// Writing fails: acknowledgements wait until it works again.
    Failing,
}

impl StorageState {
    /// All there are.
    pub(crate) const ALL: [Self; 4] = [Self::Ok, Self::Full, Self::Behind, Self::Failing];

    /// The word for it in SQL and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Full => "full",
            Self::Behind => "behind",
            Self::Failing => "failing",
        }
    }
}

/// Whether what arrives can be kept, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StorageStatus {
    /// In a word.
    pub state: StorageState,
    /// What is wrong, in the words of the system.
    pub reason: Option<String>,
}

impl From<DiskState> for StorageStatus {
    fn from(disk: DiskState) -> Self {
        match disk {
            DiskState::Good => Self { state: StorageState::Ok, reason: None },
            DiskState::Full { reason } => Self { state: StorageState::Full, reason: Some(reason) },
            DiskState::Behind { reason } => Self { state: StorageState::Behind, reason: Some(reason) },
            DiskState::Failing { reason } => Self { state: StorageState::Failing, reason: Some(reason) },
        }
    }
}

/// The tables about the store; without rows where there is none.
#[derive(Default)]
pub(crate) struct StorageTables(pub(crate) Option<Arc<Store>>);

impl StorageTables {
    pub(crate) fn tables(&self) -> StateTables {
        vec![
            ("storage", Arc::new(StorageTable(self.0.clone()))),
            ("storage_files", Arc::new(FilesTable(self.0.clone()))),
        ]
    }
}

/// One row.
struct StorageTable(Option<Arc<Store>>);

/// A column of numbers, and where its value is.
type Count = (&'static str, fn(&StoreStatus) -> u64);

const COUNTS: [Count; 19] = [
    ("position", |status| status.position.0),
    ("sealed_through", |status| status.sealed_through.0),
    ("hot_rows", |status| status.hot_rows),
    ("hot_bytes", |status| status.hot_bytes as u64),
    ("hot_bytes_max", |status| status.hot_bytes_max as u64),
    ("resident_bytes", |status| status.resident_bytes as u64),
    ("log_segments", |status| status.log.segments as u64),
    ("log_bytes", |status| status.log.segment_bytes),
    ("log_waiting_records", |status| status.log.waiting_records as u64),
    ("log_waiting_bytes", |status| status.log.waiting_bytes as u64),
    ("log_syncs", |status| status.log.syncs),
    ("log_failures", |status| status.log.failures),
    ("seals", |status| status.seals.done),
    ("seals_failed", |status| status.seals.failed),
    ("files", |status| status.sealed.tables.iter().map(|table| table.files as u64).sum()),
    ("file_rows", |status| status.sealed.tables.iter().map(|table| table.rows).sum()),
    ("file_bytes", |status| status.sealed.tables.iter().map(|table| table.bytes).sum()),
    ("compaction_debt_bytes", |status| status.sealed.tables.iter().map(|table| table.compaction_debt_bytes).sum()),
    ("manifest_bytes", |status| status.sealed.manifest_bytes),
];

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let counts = COUNTS.iter().map(|(name, _)| (*name, DataType::Int64));
    let columns = [("state", DataType::Utf8), ("reason", DataType::Utf8), ("seal_lag_s", DataType::Float64)];
    let others = [("free_bytes", DataType::Int64), ("aside", columns::texts_type())];
    columns::schema(&columns.into_iter().chain(counts).chain(others).collect::<Vec<_>>())
});

impl StateTable for StorageTable {
    fn schema(&self) -> SchemaRef {
        SCHEMA.clone()
    }

    fn rows(&self) -> Result<RecordBatch, ArrowError> {
        let Some(store) = &self.0 else { return Ok(RecordBatch::new_empty(SCHEMA.clone())) };
        let status = store.status();
        let disk = StorageStatus::from(status.disk());
        let mut columns: Vec<ArrayRef> = vec![
            columns::texts(once(Some(disk.state.as_str()))),
            columns::texts(once(disk.reason)),
            Arc::new(Float64Array::from(vec![status.seal_lag.as_secs_f64()])),
        ];
        columns.extend(COUNTS.iter().map(|(_, count)| columns::counts(once(count(&status)))));
        let aside = status.sealed.aside.iter().map(|aside| format!("{}: {}", aside.name, aside.reason));
        columns.push(columns::integers(once(status.free_bytes.and_then(|bytes| i64::try_from(bytes).ok()))));
        columns.push(columns::lists(once(aside)));
        RecordBatch::try_new(SCHEMA.clone(), columns)
    }
}
