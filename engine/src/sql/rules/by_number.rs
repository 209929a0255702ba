//! Groups by names are groups by numbers: `GROUP BY destination` compares no texts, and looks at each text of a batch once.
//!
//! Columns of names are dictionaries, of each batch its own. DataFusion would compare them row by row as texts; a query that
//! counts by service spends most of its time with that.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable as _, LogicalPlan, Projection, ScalarUDF};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::names::{NameOf, Names, NumberOf};

#[derive(Debug)]
pub(super) struct GroupByNumber {
    /// What numbered names are counted in.
    pool: Arc<dyn MemoryPool>,
}

impl GroupByNumber {
    pub(super) fn new(pool: Arc<dyn MemoryPool>) -> Self {
        Self { pool }
    }
}

impl OptimizerRule for GroupByNumber {
    fn name(&self) -> &'static str {
        "group_by_number"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
        let of_names: Vec<bool> =
            aggregate.group_expr.iter().map(|group| is_of_names(group, aggregate.input.schema())).collect();
        if !of_names.contains(&true) {
            return Ok(Transformed::no(plan));
        }
        let names = Arc::new(Names::new(&self.pool));
        let number_of = ScalarUDF::from(NumberOf::new(Arc::clone(&names)));
        let groups = aggregate.group_expr.iter().zip(&of_names).map(|(group, is_of_names)| match is_of_names {
            true => number_of.call(vec![group.clone().unalias()]),
            false => group.clone(),
        });
        let numbered = Aggregate::try_new(Arc::clone(&aggregate.input), groups.collect(), aggregate.aggr_expr.clone())?;
        let shown = aggregate.schema.iter().zip(numbered.schema.columns()).enumerate();
        let shown = shown.map(|(at, ((table, field), column))| match of_names.get(at) {
            Some(true) => {
                let name_of = ScalarUDF::from(NameOf::new(Arc::clone(&names), Arc::clone(field)));
                name_of.call(vec![Expr::Column(column)]).alias_qualified(table.cloned(), field.name())
            }
            _ => Expr::Column(Column::from((table, field))),
        });
        let shown = shown.collect();
        let projection = Projection::try_new(shown, Arc::new(LogicalPlan::Aggregate(numbered)))?;
        Ok(Transformed::yes(LogicalPlan::Projection(projection)))
    }
}

/// Whether it is a column of names, or computed as one. Sets of groups stay as they are.
fn is_of_names(group: &Expr, input: &DFSchema) -> bool {
    let is_name = |data_type: DataType| match data_type {
        DataType::Dictionary(key, value) => *key == DataType::Int32 && *value == DataType::Utf8,
        _ => false,
    };
    !matches!(group, Expr::GroupingSet(_)) && group.get_type(input).is_ok_and(is_name)
}
