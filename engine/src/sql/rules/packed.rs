//! Aggregates over histograms take counts as files hold them, where those come straight from a column.

use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use crate::sql::functions::histogram::over_packed;
use crate::sql::functions::packed::packed;

#[derive(Debug)]
pub(super) struct PackCounts;

impl OptimizerRule for PackCounts {
    fn name(&self) -> &'static str {
        "pack_counts"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
        let rewritten: Vec<Option<Expr>> = aggregate.aggr_expr.iter().map(over_packed_counts).collect();
        if rewritten.iter().all(Option::is_none) {
            return Ok(Transformed::no(plan));
        }
        let aggregates = rewritten.into_iter().zip(&aggregate.aggr_expr);
        let aggregates = aggregates.map(|(rewritten, expr)| rewritten.unwrap_or_else(|| expr.clone())).collect();
        let rewritten = Aggregate::try_new(aggregate.input.clone(), aggregate.group_expr.clone(), aggregates)?;
        Ok(Transformed::yes(LogicalPlan::Aggregate(rewritten)))
    }
}

/// The same aggregate, under the same name, over packed counts.
fn over_packed_counts(expr: &Expr) -> Option<Expr> {
    let Expr::AggregateFunction(function) = expr else { return None };
    let over_packed = over_packed(&function.func)?;
    let mut args = function.params.args.clone();
    let counts = args.len().checked_sub(2).and_then(|at| args.get_mut(at)).filter(|counts| is_column(counts))?;
    *counts = packed(counts.clone());
    let params = AggregateFunctionParams { args, ..function.params.clone() };
    Some(Expr::AggregateFunction(AggregateFunction { func: over_packed, params }).alias(expr.schema_name().to_string()))
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(_))
}
