//! The table `storage_files`: every sealed file.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use tollgate_store::{SealedFile, Store};

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
        let files: Vec<&Arc<SealedFile>> = view.tables.iter().flat_map(|table| table.files.iter()).collect();
        let name = |file: &&Arc<SealedFile>| store.tables().get(file.table).map(|table| table.name);
        let time = |us| Some(WallTime { us });
        RecordBatch::try_new(
            SCHEMA.clone(),
            vec![
                columns::texts(files.iter().map(name)),
                columns::texts(files.iter().map(|file| Some(&file.key))),
                columns::counts(files.iter().map(|file| file.rows)),
                columns::counts(files.iter().map(|file| file.bytes)),
                columns::times(files.iter().map(|file| time(file.time_min_us))),
                columns::times(files.iter().map(|file| time(file.time_max_us))),
                columns::counts(files.iter().map(|file| file.positions.0.0)),
                columns::counts(files.iter().map(|file| file.positions.1.0)),
                columns::flags(files.iter().map(|file| file.sorted)),
                columns::flags(files.iter().map(|file| file.resident().is_some())),
            ],
        )
    }
}
