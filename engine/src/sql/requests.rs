//! The table `requests`: the rows in memory, without those batches that a filter on `time` rules out.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use tollgate_attributes::schema;

use crate::hot::{HotBatch, HotStore};

/// Makes the hot store known to DataFusion.
pub(super) struct RequestsTable(pub(super) Arc<HotStore>);

impl fmt::Debug for RequestsTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestsTable").finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for RequestsTable {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Batches are left out by their bounds; rows are still filtered afterwards.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let is_on_time = |filter: &&Expr| filter.column_refs().iter().any(|column| column.name == "time");
        let pushdown = |filter| match is_on_time(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(pushdown).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let list = self.0.list();
        let kept = prune(state, filters, &list)?;
        let batches = list.iter().zip(kept).filter(|(_, keep)| *keep).map(|(batch, _)| batch.rows.clone());
        let partitions = share_out(batches, state.config().target_partitions());
        let source = MemorySourceConfig::try_new(&partitions, schema(), projection.cloned())?.with_limit(limit);
        Ok(DataSourceExec::from_data_source(source.with_show_sizes(false)))
    }
}

/// Which batches may hold a row that passes the filters.
fn prune(state: &dyn Session, filters: &[Expr], list: &[Arc<HotBatch>]) -> Result<Vec<bool>> {
    let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(vec![true; list.len()]) };
    let filter = state.create_physical_expr(filter, &DFSchema::try_from(schema())?)?;
    PruningPredicateBuilder::new().with_file_schema(schema()).try_build(filter)?.prune(&TimeBounds(list))
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

/// What is known about each batch without looking into it.
struct TimeBounds<'a>(&'a [Arc<HotBatch>]);

impl TimeBounds<'_> {
    fn times(&self, column: &Column, bound: fn(&HotBatch) -> i64) -> Option<ArrayRef> {
        if column.name != "time" {
            return None;
        }
        let times = self.0.iter().map(|batch| bound(batch));
        Some(Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")))
    }
}

impl PruningStatistics for TimeBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.times(column, |batch| batch.time_min_us)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.times(column, |batch| batch.time_max_us)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        (column.name == "time").then(|| Arc::new(UInt64Array::from(vec![0; self.0.len()])) as ArrayRef)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows = self.0.iter().map(|batch| batch.rows.num_rows() as u64);
        Some(Arc::new(UInt64Array::from_iter_values(rows)))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
