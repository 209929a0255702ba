//! Reads rows that are in memory.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use tollgate_store::{HotBatch, is_packed};

use super::packed::unpacked;
use super::table::Wanted;

/// Plans that give the rows of these batches, newest first. With a limit, batches beyond it are left out. Those that were sealed have
/// packed columns, as in their file, and a plan of their own.
pub(super) fn plans(
    batches: &[Arc<HotBatch>],
    schema: &SchemaRef,
    wanted: &Wanted<'_>,
) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
    let mut rows = 0;
    let needed = batches.iter().take_while(|batch| {
        let is_needed = wanted.limit.is_none_or(|limit| rows < limit);
        rows += batch.rows.num_rows();
        is_needed
    });
    let (plain, packed): (Vec<_>, Vec<_>) =
        needed.map(|batch| batch.rows.clone()).partition(|rows| is_plain(rows.schema_ref(), schema));
    let mut plans = Vec::new();
    if let Some(first) = packed.first() {
        let in_memory = first.schema();
        plans.push(unpacking(plan(packed, in_memory, wanted)?, schema)?);
    }
    if !plain.is_empty() || plans.is_empty() {
        plans.push(plan(plain, Arc::clone(schema), wanted)?);
    }
    Ok(plans)
}

fn is_plain(in_memory: &SchemaRef, schema: &SchemaRef) -> bool {
    let mut fields = in_memory.fields().iter().zip(schema.fields());
    !fields.any(|(in_memory, field)| is_packed(field.data_type(), in_memory.data_type()))
}

fn plan(batches: Vec<RecordBatch>, schema: SchemaRef, wanted: &Wanted<'_>) -> Result<Arc<dyn ExecutionPlan>> {
    let partitions = share_out(batches, wanted.partitions);
    let source = MemorySourceConfig::try_new(&partitions, schema, wanted.projection.cloned())?.with_limit(wanted.limit);
    Ok(DataSourceExec::from_data_source(source.with_show_sizes(false)))
}

/// The rows of a plan with the types that the table has.
fn unpacking(plan: Arc<dyn ExecutionPlan>, schema: &SchemaRef) -> Result<Arc<dyn ExecutionPlan>> {
    let in_memory = plan.schema();
    let field = |name: &str| -> Result<&FieldRef> { Ok(&schema.fields()[schema.index_of(name)?]) };
    let mut is_needed = false;
    let exprs = in_memory.fields().iter().enumerate().map(|(at, in_memory)| {
        let field = field(in_memory.name())?;
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), at));
        let is_packed = is_packed(field.data_type(), in_memory.data_type());
        is_needed |= is_packed;
        let expr = if is_packed { unpacked(column, field) } else { column };
        Ok(ProjectionExpr { expr, alias: field.name().clone() })
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    Ok(if is_needed { Arc::new(ProjectionExec::try_new(exprs, plan)?) } else { plan })
}

/// Gives each partition about the same number of rows, in neighbouring batches so that time order is kept where it is.
fn share_out(batches: Vec<RecordBatch>, partitions: usize) -> Vec<Vec<RecordBatch>> {
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
