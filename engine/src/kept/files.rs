//! The table `storage_files`: every sealed file, and those that cannot be served.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use tollgate_store::{Aside, SealedFile, Store};

use crate::clock::WallTime;
use crate::columns;
use crate::sql::StateTable;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    columns::schema(&[
        ("table_name", DataType::Utf8),
        ("file", DataType::Utf8),
        ("rows", DataType::Int64),
        ("bytes", DataType::Int64),
        ("time_min", columns::time_type()),
        ("time_max", columns::time_type()),
        ("first_position", DataType::Int64),
        ("last_position", DataType::Int64),
        ("sorted", DataType::Boolean),
        ("in_memory", DataType::Boolean),
        ("aside", DataType::Utf8),
    ])
});

pub(super) struct FilesTable(pub(super) Option<Arc<Store>>);

impl StateTable for FilesTable {
    fn schema(&self) -> SchemaRef {
        SCHEMA.clone()
    }

    fn rows(&self) -> Result<RecordBatch, ArrowError> {
        let Some(store) = &self.0 else { return Ok(RecordBatch::new_empty(SCHEMA.clone())) };
        let view = store.stored_view();
        let served = view.tables.iter().flat_map(|table| table.files.iter());
        let name = |file: &SealedFile| store.tables().get(file.table).map(|table| table.name);
        let rows: Vec<Row> = served
            .map(|file| Row {
                table: name(file).map(str::to_owned),
                file: Some(file),
                name: file.key.to_string(),
                rows: file.rows,
                aside: None,
            })
            .chain(store.sealed().aside().into_iter().map(Row::from))
            .collect();
        let count = |read: fn(&SealedFile) -> u64| {
            columns::integers(rows.iter().map(|row| Some(i64::try_from(read(row.file?)).unwrap_or(i64::MAX))))
        };
        let time = |read: fn(&SealedFile) -> i64| {
            columns::times(rows.iter().map(|row| Some(WallTime { us: read(row.file?) })))
        };
        let flag = |read: fn(&SealedFile) -> bool| -> ArrayRef {
            Arc::new(rows.iter().map(|row| row.file.map(read)).collect::<BooleanArray>())
        };
        RecordBatch::try_new(
            SCHEMA.clone(),
            vec![
                columns::texts(rows.iter().map(|row| row.table.as_ref())),
                columns::texts(rows.iter().map(|row| Some(&row.name))),
                columns::counts(rows.iter().map(|row| row.rows)),
                count(|file| file.bytes),
                time(|file| file.time_min_us),
                time(|file| file.time_max_us),
                count(|file| file.positions.0.0),
                count(|file| file.positions.1.0),
                flag(|file| file.sorted),
                flag(|file| file.resident().is_some()),
                columns::texts(rows.iter().map(|row| row.aside.as_ref())),
            ],
        )
    }
}

/// One file.
struct Row<'a> {
    table: Option<String>,
    name: String,
    rows: u64,
    /// What is known of a file that is served.
    file: Option<&'a SealedFile>,
    /// Why it is not served, if it is not.
    aside: Option<String>,
}

impl From<Aside> for Row<'_> {
    fn from(aside: Aside) -> Self {
        // `tables/requests/date=…`; what was set aside of the log is of no table.
        let mut parts = aside.name.split('/');
        let table = parts.next().filter(|first| *first == "tables").and(parts.next()).map(str::to_owned);
        let reason = match &aside.moved_to {
            Some(path) => format!("{}; it is in `{}`", aside.reason, path.display()),
            None => aside.reason,
        };
        Self { table, name: aside.name, rows: aside.rows, file: None, aside: Some(reason) }
    }
}
