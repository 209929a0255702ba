//! Several quantiles of the same histograms add them up once: `p50`, `p90` and `p99` side by side are what most panels ask for.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection, expr::AggregateFunction};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use crate::sql::functions::histogram::{is_quantile, quantile_of_sum, sum_of};

#[derive(Debug)]
pub(super) struct ShareHistograms;

impl OptimizerRule for ShareHistograms {
    fn name(&self) -> &'static str {
        "share_histograms"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
        let asked: Vec<Option<Asked<'_>>> = aggregate.aggr_expr.iter().map(Asked::of).collect();
        let is_shared = |of: &Asked<'_>| asked.iter().flatten().filter(|other| other.is_of_same(of)).count() > 1;
        if !asked.iter().flatten().any(is_shared) {
            return Ok(Transformed::no(plan));
        }
        // Sums once each, beside what stays as it is.
        let (mut aggregates, mut sums): (Vec<Expr>, Vec<&Asked<'_>>) = (Vec::new(), Vec::new());
        for (expr, asked) in aggregate.aggr_expr.iter().zip(&asked) {
            match asked.as_ref().filter(|asked| is_shared(asked)) {
                Some(asked) if sums.iter().any(|sum| sum.is_of_same(asked)) => {}
                Some(asked) => {
                    sums.push(asked);
                    aggregates.push(asked.sum());
                }
                None => aggregates.push(expr.clone()),
            }
        }
        let groups = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
        let summed = Aggregate::try_new(Arc::clone(&aggregate.input), aggregate.group_expr.clone(), aggregates)?;
        let shown = aggregate.schema.iter().enumerate().map(|(at, (table, field))| {
            let asked = at.checked_sub(groups).and_then(|at| asked.get(at)?.as_ref());
            match asked.filter(|asked| is_shared(asked)) {
                Some(asked) => {
                    let sum = Expr::Column(Column::from_name(asked.sum().schema_name().to_string()));
                    quantile_of_sum(asked.quantile.clone(), sum).alias_qualified(table.cloned(), field.name())
                }
                None => Expr::Column(Column::from((table, field))),
            }
        });
        let shown = shown.collect();
        let projection = Projection::try_new(shown, Arc::new(LogicalPlan::Aggregate(summed)))?;
        Ok(Transformed::yes(LogicalPlan::Projection(projection)))
    }
}

/// One quantile.
struct Asked<'a> {
    quantile: &'a Expr,
    function: &'a AggregateFunction,
}

impl<'a> Asked<'a> {
    fn of(expr: &'a Expr) -> Option<Self> {
        let Expr::AggregateFunction(function) = expr else { return None };
        let params = &function.params;
        let is_plain = !params.distinct && params.order_by.is_empty() && params.null_treatment.is_none();
        let quantile = params.args.first()?;
        (is_plain && is_quantile(&function.func, quantile)).then_some(Self { quantile, function })
    }

    /// Whether it is about the same histograms.
    fn is_of_same(&self, other: &Self) -> bool {
        let (of, other) = (&self.function.params, &other.function.params);
        of.args.get(1..) == other.args.get(1..) && of.filter == other.filter
    }

    fn sum(&self) -> Expr {
        let params = &self.function.params;
        sum_of(params.args.get(1..).unwrap_or_default().to_vec(), params.filter.clone())
    }
}
