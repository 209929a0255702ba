//! The table `reporters`.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::{Facts, Reporter, Reporters};
use crate::columns;
use crate::sql::StateTable;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    columns::schema(&[
        ("name", DataType::Utf8),
        ("agent", DataType::Utf8),
        ("epoch", columns::time_type()),
        ("connected", DataType::Boolean),
        ("services", columns::texts_type()),
        ("acknowledged_version", DataType::Int64),
        ("pushed_version", DataType::Int64),
        ("behind", DataType::Boolean),
        ("policies_version", DataType::Int64),
        ("policies", DataType::Int64),
        ("slice", DataType::Utf8),
        ("refused", DataType::Utf8),
        ("sequence", DataType::Int64),
        ("rows", DataType::Int64),
        ("bytes", DataType::Int64),
        ("batches", DataType::Int64),
        ("duplicates", DataType::Int64),
        ("rejected", DataType::Int64),
        ("lost_rows", DataType::Int64),
        ("lost", columns::map_type()),
        ("last_seen", columns::time_type()),
    ])
});

impl StateTable for Reporters {
    fn schema(&self) -> SchemaRef {
        SCHEMA.clone()
    }

    fn rows(&self) -> Result<RecordBatch, ArrowError> {
        let all = self.all();
        let counts = |read: fn(&Facts) -> u64| columns::counts(all.iter().map(|reporter| reporter.read(read)));
        let flags = |read: fn(&Facts) -> bool| columns::flags(all.iter().map(|reporter| reporter.read(read)));
        RecordBatch::try_new(
            SCHEMA.clone(),
            vec![
                columns::texts(all.iter().map(|reporter| Some(&reporter.name))),
                columns::texts(all.iter().map(|reporter| Some(reporter.read(|facts| facts.agent.clone())))),
                columns::times(all.iter().map(|reporter| Some(reporter.read(epoch)))),
                flags(|facts| facts.reporting + facts.watching > 0),
                columns::lists(all.iter().map(|reporter| reporter.read(|facts| facts.services.clone()))),
                counts(|facts| facts.acknowledged_version),
                counts(|facts| facts.pushed_version),
                flags(|facts| facts.acknowledged_version < facts.pushed_version),
                counts(|facts| facts.held.enforced_version),
                counts(|facts| facts.held.policies as u64),
                columns::texts(all.iter().map(slice)),
                columns::texts(all.iter().map(refused)),
                counts(|facts| facts.sequence),
                counts(|facts| facts.rows),
                counts(|facts| facts.bytes),
                counts(|facts| facts.batches),
                counts(|facts| facts.duplicates),
                counts(|facts| facts.rejected),
                counts(|facts| facts.losses.total()),
                lost(&all),
                columns::times(all.iter().map(|reporter| Some(reporter.read(|facts| facts.last_seen)))),
            ],
        )
    }
}

fn epoch(facts: &Facts) -> crate::clock::WallTime {
    crate::clock::WallTime { us: i64::try_from(facts.epoch).unwrap_or(i64::MAX) }
}

fn slice(reporter: &Arc<Reporter>) -> Option<String> {
    reporter.read(|facts| (!facts.held.digest.is_empty()).then(|| facts.held.digest.clone()))
}

fn refused(reporter: &Arc<Reporter>) -> Option<String> {
    reporter.read(|facts| (!facts.refused.is_empty()).then(|| facts.refused.clone()))
}

fn lost(all: &[Arc<Reporter>]) -> arrow::array::ArrayRef {
    let texts: Vec<Vec<(String, String)>> = all
        .iter()
        .map(|reporter| {
            reporter
                .read(|facts| facts.losses.iter().map(|(reason, rows)| (reason.to_owned(), rows.to_string())).collect())
        })
        .collect();
    columns::maps(texts.iter().map(|lost| lost.iter().map(|(reason, rows)| (reason.as_str(), rows.as_str())).collect()))
}
