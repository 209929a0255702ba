//! Moves packing to where rows are read, also where a table's rows come from memory and files: DataFusion moves a projection below a
//! union only when that leaves out columns.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, make_with_child};
use datafusion::physical_plan::union::UnionExec;

use crate::sql::functions::packed::is_packed_function;

#[derive(Debug)]
pub(super) struct PackThroughUnions;

impl PhysicalOptimizerRule for PackThroughUnions {
    fn name(&self) -> &'static str {
        "pack_through_unions"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|plan| match below(&plan)? {
            Some(union) => Ok(Transformed::yes(union)),
            None => Ok(Transformed::no(plan)),
        })
        .data()
    }
}

/// The union of what the projection makes of each input; `None` when the plan is no packing of a union.
fn below(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(projection) = plan.downcast_ref::<ProjectionExec>() else { return Ok(None) };
    let Some(union) = projection.input().downcast_ref::<UnionExec>() else { return Ok(None) };
    if !projection.expr().iter().any(|expr| is_packing(expr.expr.downcast_ref())) {
        return Ok(None);
    }
    let inputs = union.inputs().iter().map(|input| {
        let projected = make_with_child(projection, input)?;
        let within = match projected.downcast_ref::<ProjectionExec>() {
            Some(projection) => input.try_swapping_with_projection(projection)?,
            None => None,
        };
        Ok(within.unwrap_or(projected))
    });
    UnionExec::try_new(inputs.collect::<Result<_>>()?).map(Some)
}

fn is_packing(call: Option<&ScalarFunctionExpr>) -> bool {
    call.is_some_and(|call| is_packed_function(call.fun()))
}
