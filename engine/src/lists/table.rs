//! The table `lists`.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use tollgate_policies::lists::{Declaration, State};

use super::Lists;
use crate::clock::WallTime;
use crate::columns;
use crate::sql::StateTable;

/// The lists; none where policies are only checked.
#[derive(Clone, Default)]
pub(crate) struct ListsTable(pub(crate) Option<Arc<Lists>>);

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    columns::schema(&[
        ("name", DataType::Utf8),
        ("kind", DataType::Utf8),
        ("of", DataType::Utf8),
        ("source", DataType::Utf8),
        ("refresh_s", DataType::Int64),
        ("entries", DataType::Int64),
        ("bytes", DataType::Int64),
        ("refreshed_at", columns::time_type()),
        ("error", DataType::Utf8),
    ])
});

impl StateTable for ListsTable {
    fn schema(&self) -> SchemaRef {
        SCHEMA.clone()
    }

    fn rows(&self) -> Result<RecordBatch, ArrowError> {
        let rows: Vec<(Declaration, State)> = self.0.as_ref().map(|lists| rows(lists)).unwrap_or_default();
        let now_ms = self.0.as_ref().map_or(0, |lists| lists.now_ms());
        let count = |count: Option<usize>| count.and_then(|count| i64::try_from(count).ok());
        let refreshed = |state: &State| {
            let ms = now_ms.saturating_sub(state.age_ms?);
            Some(WallTime { us: i64::try_from(ms).ok()?.saturating_mul(1_000) })
        };
        RecordBatch::try_new(
            SCHEMA.clone(),
            vec![
                columns::texts(rows.iter().map(|(list, _)| Some(&list.name))),
                columns::texts(rows.iter().map(|(list, _)| Some(list.kind.as_str()))),
                columns::texts(rows.iter().map(|(list, _)| Some(list.looked.to_string()))),
                columns::texts(rows.iter().map(|(list, _)| Some(list.origin.to_string()))),
                columns::counts(rows.iter().map(|(list, _)| list.refresh.as_secs())),
                columns::integers(rows.iter().map(|(_, state)| count(state.entries))),
                columns::integers(rows.iter().map(|(_, state)| count(state.bytes))),
                columns::times(rows.iter().map(|(_, state)| refreshed(state))),
                columns::texts(rows.iter().map(|(_, state)| state.problem.clone())),
            ],
        )
    }
}

fn rows(lists: &Lists) -> Vec<(Declaration, State)> {
    let now_ms = lists.now_ms();
    lists.keeper.lock().states(now_ms).map(|(declaration, state)| (declaration.clone(), state)).collect()
}
