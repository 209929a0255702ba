//! Moves packing to where rows are read, where counts are packed already and need not become lists in between.
//!
//! DataFusion moves a projection below a union only when that leaves out columns, and not below a filter.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, make_with_child};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::UnionExec;

use crate::sql::functions::packed::packed_by;
use crate::sql::stored::unpacked_by;

#[derive(Debug)]
pub(super) struct PackBelow;

impl PhysicalOptimizerRule for PackBelow {
    fn name(&self) -> &'static str {
        "pack_below"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let lowered = rewritten(plan, lowered)?;
        rewritten(lowered, without_detours)
    }
}

/// What stands in the place of a projection; `None` when it stays.
type Rewrite = fn(&ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>>;

/// The plan with its projections as `rewrite` has them, where it has another.
fn rewritten(plan: Arc<dyn ExecutionPlan>, rewrite: Rewrite) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_down(|plan| {
        let rewritten = plan.downcast_ref().map_or(Ok(None), rewrite)?;
        Ok(rewritten.map_or_else(|| Transformed::no(plan), Transformed::yes))
    })
    .data()
}

/// The same rows, with what the projection packs packed below its input; `None` when it packs nothing, or cannot be moved.
fn lowered(projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if !projection.expr().iter().any(|expr| is_packing(&expr.expr)) {
        return Ok(None);
    }
    let input = projection.input();
    if let Some(union) = input.downcast_ref::<UnionExec>() {
        let inputs = union.inputs().iter().map(|input| make_with_child(projection, input));
        return UnionExec::try_new(inputs.collect::<Result<_>>()?).map(Some);
    }
    if let Some(repartition) = input.downcast_ref::<RepartitionExec>() {
        let is_by_rows = matches!(repartition.partitioning(), Partitioning::RoundRobinBatch(_));
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let below =
            || Arc::clone(input).replace_children(vec![make_with_child(projection, repartition.input())?], options);
        return if is_by_rows { below().map(Some) } else { Ok(None) };
    }
    match input.downcast_ref::<FilterExec>() {
        Some(filter) => below_filter(projection, filter),
        None => input.try_swapping_with_projection(projection),
    }
}

/// The filter, over a projection that packs and keeps what else is needed.
fn below_filter(projection: &ProjectionExec, filter: &FilterExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if filter.fetch().is_some() {
        return Ok(None);
    }
    let input = filter.input();
    let shown: Vec<usize> = match filter.projection() {
        Some(shown) => shown.to_vec(),
        None => (0..input.schema().fields().len()).collect(),
    };
    let mut kept = Kept::default();
    let mut outer = Vec::new();
    for ProjectionExpr { expr, alias } in projection.expr() {
        let expr = renumbered(expr, |at| shown.get(at).copied().unwrap_or(at))?;
        let expr = if is_packing(&expr) { kept.packed(expr) } else { kept.columns(&expr)? };
        outer.push(ProjectionExpr { expr, alias: alias.clone() });
    }
    let predicate = kept.columns(filter.predicate())?;
    let inner: Arc<dyn ExecutionPlan> = Arc::new(ProjectionExec::try_new(kept.exprs, Arc::clone(input))?);
    let filter = FilterExec::try_new(predicate, inner)?
        .with_default_selectivity(filter.default_selectivity())?
        .with_batch_size(filter.batch_size())?;
    Ok(Some(Arc::new(ProjectionExec::try_new(outer, Arc::new(filter))?)))
}

/// What a projection below a filter gives.
#[derive(Default)]
struct Kept {
    exprs: Vec<ProjectionExpr>,
    /// Where columns of the input are among them.
    places: BTreeMap<usize, usize>,
}

impl Kept {
    fn packed(&mut self, expr: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
        let (at, alias) = (self.exprs.len(), format!("packed {}", self.exprs.len()));
        self.exprs.push(ProjectionExpr { expr, alias: alias.clone() });
        Arc::new(Column::new(&alias, at))
    }

    /// An expression over the input's columns, as one over these.
    fn columns(&mut self, expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        for column in collect_columns(expr) {
            self.places.entry(column.index()).or_insert_with(|| {
                let alias = column.name().to_owned();
                self.exprs.push(ProjectionExpr { expr: Arc::new(column), alias });
                self.exprs.len() - 1
            });
        }
        renumbered(expr, |at| self.places.get(&at).copied().unwrap_or(at))
    }
}

/// An expression whose columns are at other places.
fn renumbered(expr: &Arc<dyn PhysicalExpr>, place: impl Fn(usize) -> usize) -> Result<Arc<dyn PhysicalExpr>> {
    Arc::clone(expr)
        .transform_down(|expr| {
            Ok(match expr.downcast_ref::<Column>() {
                Some(column) => Transformed::yes(Arc::new(Column::new(column.name(), place(column.index()))) as _),
                None => Transformed::no(expr),
            })
        })
        .data()
}

/// The projection without packing what was only just unpacked; `None` when it does not do that.
fn without_detours(projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let direct = |expr: Arc<dyn PhysicalExpr>| match packed_by(&expr).and_then(unpacked_by) {
        Some(packed) => Transformed::new(Arc::clone(packed), true, TreeNodeRecursion::Jump),
        None => Transformed::no(expr),
    };
    let mut is_changed = false;
    let exprs = projection.expr().iter().map(|ProjectionExpr { expr, alias }| {
        let direct = Arc::clone(expr).transform_down(|expr| Ok(direct(expr)))?;
        is_changed |= direct.transformed;
        Ok(ProjectionExpr { expr: direct.data, alias: alias.clone() })
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    if !is_changed {
        return Ok(None);
    }
    Ok(Some(Arc::new(ProjectionExec::try_new(exprs, Arc::clone(projection.input()))?)))
}

/// Whether a column is packed. What is computed stays where it is: it may fail for rows that a filter leaves out.
fn is_packing(expr: &Arc<dyn PhysicalExpr>) -> bool {
    packed_by(expr).is_some_and(|counts| counts.downcast_ref::<Column>().is_some())
}
