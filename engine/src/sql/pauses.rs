//! Where a query pauses, so that its limits reach it.
//!
//! DataFusion's sources pause now and then, and most plans with them. A join that makes many rows of few does not: its input is
//! read once and its consumer takes whatever is ready, so that neither a deadline nor a client that leaves is noticed for hours.
//! So here joins, and whatever else multiplies rows, pause after some batches of output, and where a join's condition drops
//! everything and there is no output, the condition itself looks whether the query still has time. After its limit a query
//! keeps a thread no longer than one batch takes.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arrow::datatypes::{FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, PiecewiseMergeJoinExec,
    SortMergeJoinExec, SymmetricHashJoinExec,
};
use datafusion::physical_plan::unnest::UnnestExec;

use super::error::QueryError;

/// Whether a query still has time, for those of its parts that nothing else can stop.
#[derive(Debug)]
pub(super) struct Watch {
    until: Instant,
    is_gone: AtomicBool,
    late: QueryError,
}

impl Watch {
    /// `late` is the error of a query that goes on after `until`.
    pub(super) fn new(until: Instant, late: QueryError) -> Arc<Self> {
        Arc::new(Self { until, is_gone: AtomicBool::new(false), late })
    }

    /// Nobody waits for the rows any more.
    pub(super) fn leave(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<()> {
        if self.is_gone.load(Ordering::Relaxed) || Instant::now() > self.until {
            return Err(DataFusionError::External(Box::new(self.late.clone())));
        }
        Ok(())
    }
}

/// The plan with its pauses.
pub(super) fn with_pauses(plan: Arc<dyn ExecutionPlan>, watch: &Arc<Watch>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|plan| {
        if !multiplies(plan.as_ref()) {
            return Ok(Transformed::no(plan));
        }
        let plan = watched(plan, watch)?;
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(plan)) as Arc<dyn ExecutionPlan>))
    })
    .data()
}

/// Whether few rows may become many.
fn multiplies(plan: &dyn ExecutionPlan) -> bool {
    plan.is::<CrossJoinExec>()
        || plan.is::<HashJoinExec>()
        || plan.is::<NestedLoopJoinExec>()
        || plan.is::<PiecewiseMergeJoinExec>()
        || plan.is::<SortMergeJoinExec>()
        || plan.is::<SymmetricHashJoinExec>()
        || plan.is::<UnnestExec>()
}

fn watched(plan: Arc<dyn ExecutionPlan>, watch: &Arc<Watch>) -> Result<Arc<dyn ExecutionPlan>> {
    let filter = |filter: &JoinFilter| {
        let inner = Arc::clone(filter.expression());
        let condition = Arc::new(Watched { inner, watch: Arc::clone(watch) });
        JoinFilter::new(condition, filter.column_indices().to_vec(), Arc::clone(filter.schema()))
    };
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>()
        && let Some(condition) = join.filter()
    {
        let join = NestedLoopJoinExecBuilder::from(join).with_filter(Some(filter(condition))).build()?;
        return Ok(Arc::new(join));
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>()
        && let Some(condition) = join.filter()
    {
        return join.builder().with_filter(Some(filter(condition))).build_exec();
    }
    Ok(plan)
}

/// A condition that fails when the query has no time left.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn PhysicalExpr>,
    watch: Arc<Watch>,
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Watched {}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for Watched {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.watch.check()?;
        self.inner.evaluate(batch)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let inner = children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.inner));
        Ok(Arc::new(Self { inner, watch: Arc::clone(&self.watch) }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
