//! The table `leases`: rates and demand in tokens per second, bursts in tokens.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::Fleet;
use crate::columns;
use crate::sql::StateTable;

/// The ledger; empty where there is no fleet.
pub(crate) struct LeasesTable(pub(crate) Option<Arc<Fleet>>);

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    columns::schema(&[
        ("policy", DataType::Utf8),
        ("key", DataType::Utf8),
        ("reporter", DataType::Utf8),
        ("rate", DataType::Float64),
        ("burst", DataType::Float64),
        ("safe_rate", DataType::Float64),
        ("outstanding_rate", DataType::Float64),
        ("demand", DataType::Float64),
        ("expires_in_ms", DataType::Int64),
        ("acknowledged", DataType::Boolean),
    ])
});

impl StateTable for LeasesTable {
    fn schema(&self) -> SchemaRef {
        SCHEMA.clone()
    }

    fn rows(&self) -> Result<RecordBatch, ArrowError> {
        let rows =
            self.0.as_ref().map(|fleet| fleet.leases.lock().rows(fleet.clock.monotonic_ms())).unwrap_or_default();
        RecordBatch::try_new(
            SCHEMA.clone(),
            vec![
                columns::texts(rows.iter().map(|row| Some(&row.policy))),
                columns::texts(rows.iter().map(|row| Some(&row.key))),
                columns::texts(rows.iter().map(|row| Some(&row.reporter))),
                columns::tokens(rows.iter().map(|row| row.rate)),
                columns::tokens(rows.iter().map(|row| row.burst)),
                columns::tokens(rows.iter().map(|row| row.safe_rate)),
                columns::tokens(rows.iter().map(|row| row.outstanding_rate)),
                columns::tokens(rows.iter().map(|row| row.demand)),
                columns::counts(rows.iter().map(|row| row.expires_in_ms)),
                columns::flags(rows.iter().map(|row| row.acknowledged)),
            ],
        )
    }
}
