//! Reads rows that are in memory.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use tollgate_store::HotBatch;

use super::table::Wanted;

/// A plan that gives the rows of these batches, newest first. With a limit, batches beyond it are left out.
pub(super) fn plan(
    batches: &[Arc<HotBatch>],
    schema: SchemaRef,
    wanted: &Wanted<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut rows = 0;
    let needed = batches.iter().take_while(|batch| {
        let is_needed = wanted.limit.is_none_or(|limit| rows < limit);
        rows += batch.rows.num_rows();
        is_needed
    });
    let partitions = share_out(needed.map(|batch| batch.rows.clone()), wanted.partitions);
    let source = MemorySourceConfig::try_new(&partitions, schema, wanted.projection.cloned())?.with_limit(wanted.limit);
    Ok(DataSourceExec::from_data_source(source.with_show_sizes(false)))
}

/// Gives each partition about the same number of rows, in neighbouring batches so that time order is kept where it is.
fn share_out(batches: impl Iterator<Item = RecordBatch>, partitions: usize) -> Vec<Vec<RecordBatch>> {
    let batches: Vec<RecordBatch> = batches.collect();
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let share = rows.div_ceil(partitions.max(1)).max(1);
    let mut shared = vec![Vec::new()];
    let mut filled = 0;
    for batch in batches {
        if filled >= share * shared.len() {
            shared.push(Vec::new());
        }
        filled += batch.num_rows();
        if let Some(last) = shared.last_mut() {
            last.push(batch);
        }
    }
    shared
}
