//! The part of a query's plan that decides requests.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{CardinalityEffect, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, Partitioning, PlanProperties,
};
use futures::{StreamExt as _, TryStreamExt as _};

use super::decide::{Decider, Question};

/// Rows that are decided without a pause. Between them a query can be ended, and others get their turn.
const STEP_ROWS: usize = 1_024;

/// Adds to each row what a set of policies says of it.
pub(super) struct AuthorizeExec {
    input: Arc<dyn ExecutionPlan>,
    question: Arc<Question>,
    properties: Arc<PlanProperties>,
}

impl AuthorizeExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, schema: SchemaRef, question: Arc<Question>) -> Self {
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, question, properties: Arc::new(properties) }
    }
}

impl fmt::Debug for AuthorizeExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizeExec").field("input", &self.input).finish_non_exhaustive()
    }
}

impl DisplayAs for AuthorizeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<_> = self.question.columns.columns.iter().copied().collect();
        write!(f, "AuthorizeExec: distinct by [{}]", columns.join(", "))
    }
}

impl ExecutionPlan for AuthorizeExec {
    fn name(&self) -> &str {
        "AuthorizeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = if children.len() == 1 { children.swap_remove(0) } else { Arc::clone(&self.input) };
        Ok(Arc::new(Self::new(input, self.schema(), Arc::clone(&self.question))))
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let input = if children.len() == 1 { children.swap_remove(0) } else { Arc::clone(&self.input) };
        Ok(Arc::new(Self::new(input, self.schema(), Arc::clone(&self.question))))
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let reservation = MemoryConsumer::new(super::NAME).register(context.memory_pool());
        let rows = self.input.execute(partition, context)?;
        let mut decider = Decider::new(Arc::clone(&self.question), self.schema(), reservation);
        let steps = rows.map_ok(|batch| futures::stream::iter(steps(batch).map(Ok))).try_flatten();
        let decided = steps.and_then(move |step| {
            let decided = decider.decide(&step);
            async move {
                tokio::task::consume_budget().await;
                decided
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), decided.boxed())))
    }
}

fn steps(batch: RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    (0..rows).step_by(STEP_ROWS).map(move |start| batch.slice(start, STEP_ROWS.min(rows - start)))
}
