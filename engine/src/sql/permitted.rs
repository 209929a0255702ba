//! Tables as one reader may see them.
//!
//! INVARIANT: every table that a reader's query can name is a [`PermittedTable`], or a view over nothing else. What may not
//! be read leaves [`PermittedExec`] neither as a column nor as a row, and nothing of a query is evaluated below it but
//! comparisons of columns with values, which cannot fail and so tell nothing about a row that is left out.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, PlanProperties,
};
use futures::StreamExt as _;

use super::error::QueryError;
use crate::access::{Rights, RowRule};

/// What becomes of a column that may not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Withheld {
    /// It is not there: a query that names it is refused, and `*` does not.
    Absent,
    /// It is there and null: what views are made of, so that they go on without it.
    Null,
}

/// A table as one reader may see it.
pub(super) struct PermittedTable {
    inner: Arc<dyn TableProvider>,
    schema: SchemaRef,
    /// Of each column its place in the inner table, or `None` where it is null.
    columns: Vec<Option<usize>>,
    /// What decides about rows, and the places of the columns that it reads. `None`: all may be read.
    rows: Option<(RowRule, Vec<usize>)>,
    rights: Arc<Rights>,
}

impl PermittedTable {
    pub(super) fn new(name: &str, inner: Arc<dyn TableProvider>, rights: &Arc<Rights>, withheld: Withheld) -> Self {
        let all = inner.schema();
        let (mut columns, mut fields) = (Vec::new(), Vec::new());
        for (place, field) in all.fields().iter().enumerate() {
            let is_readable = rights.is_everything() || rights.column(name, field.name());
            match (is_readable, withheld) {
                (true, _) => {
                    columns.push(Some(place));
                    fields.push(Arc::clone(field));
                }
                (false, Withheld::Absent) => {}
                (false, Withheld::Null) => {
                    columns.push(None);
                    fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
                }
            }
        }
        let rule = RowRule::of(name, &all);
        let rows = (!rights.every_service() && rule != RowRule::Open).then(|| {
            let places = rule.columns().into_iter().filter_map(|column| all.index_of(column).ok());
            (rule, places.collect())
        });
        Self { inner, schema: Arc::new(Schema::new(fields)), columns, rows, rights: Arc::clone(rights) }
    }

    /// What of a whole batch of the inner table may be read.
    pub(super) fn of_batches(&self) -> Permitted {
        let rows = self.rows.as_ref().map(|(rule, places)| Keep {
            rule: *rule,
            places: places.clone(),
            rights: Arc::clone(&self.rights),
        });
        Permitted { schema: self.schema(), columns: self.columns.clone(), rows }
    }

    fn is_whole(&self) -> bool {
        let is_same = self.columns.iter().enumerate().all(|(place, column)| *column == Some(place));
        self.rows.is_none() && is_same && self.columns.len() == self.inner.schema().fields().len()
    }

    /// Whether the table below may know of this filter: it reads nothing that is withheld, and cannot fail.
    fn may_pass(&self, filter: &Expr) -> bool {
        let is_readable = |name: &str| {
            let place = self.schema.index_of(name).ok();
            place.and_then(|place| self.columns.get(place)).is_some_and(Option::is_some)
        };
        is_comparison(filter) && filter.column_refs().iter().all(|column| is_readable(&column.name))
    }
}

/// Comparisons of columns with values, and what combines them.
fn is_comparison(filter: &Expr) -> bool {
    let is_operand = |expr: &Expr| matches!(expr, Expr::Column(_) | Expr::Literal(..));
    match filter {
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::And | Operator::Or => is_comparison(&binary.left) && is_comparison(&binary.right),
            Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {
                is_operand(&binary.left) && is_operand(&binary.right)
            }
            _ => false,
        },
        Expr::Between(between) => is_operand(&between.expr) && is_operand(&between.low) && is_operand(&between.high),
        Expr::InList(list) => is_operand(&list.expr) && list.list.iter().all(is_operand),
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => is_operand(inner),
        _ => false,
    }
}

impl fmt::Debug for PermittedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PermittedTable").field(&self.inner).finish()
    }
}

#[async_trait]
impl TableProvider for PermittedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        self.inner.table_type()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        if self.is_whole() {
            return self.inner.supports_filters_pushdown(filters);
        }
        let support = |filter: &&Expr| match self.may_pass(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // A plan may be older than the policies, such as that of a prepared statement.
        if !self.rights.is_current() {
            return Err(DataFusionError::External(Box::new(Rights::outdated())));
        }
        if self.is_whole() {
            return self.inner.scan(session, projection, filters, limit).await;
        }
        let all: Vec<_> = (0..self.columns.len()).collect();
        let wanted = projection.unwrap_or(&all);
        let mut read = Vec::new();
        let mut place_of = |inner: usize| {
            let known = read.iter().position(|place| *place == inner);
            known.unwrap_or_else(|| {
                read.push(inner);
                read.len() - 1
            })
        };
        let columns = wanted.iter().map(|place| self.columns.get(*place).copied().flatten().map(&mut place_of));
        let columns: Vec<_> = columns.collect();
        let rows = self.rows.as_ref().map(|(rule, places)| {
            let places = places.iter().map(|place| place_of(*place)).collect();
            Keep { rule: *rule, places, rights: Arc::clone(&self.rights) }
        });
        let filters: Vec<_> = filters.iter().filter(|filter| self.may_pass(filter)).cloned().collect();
        let limit = limit.filter(|_| rows.is_none());
        let input = self.inner.scan(session, Some(&read), &filters, limit).await?;
        let schema = Arc::new(self.schema.project(wanted)?);
        Ok(Arc::new(PermittedExec::new(input, Permitted { schema, columns, rows })))
    }
}

/// What may be read of rows that are like those of `traffic`, which is a view over the others.
pub(crate) fn of_traffic(rights: &Arc<Rights>, rows: RecordBatch) -> Result<RecordBatch, QueryError> {
    if rights.is_everything() {
        return Ok(rows);
    }
    if !rights.table(TRAFFIC) {
        return Err(rights.refuse(TRAFFIC));
    }
    let of = |name| {
        let inner = Arc::new(EmptyTable::new(rows.schema()));
        PermittedTable::new(name, inner, rights, Withheld::Null).of_batches()
    };
    let mut permitted = of(TRAFFIC);
    for below in ["traffic_1s", "traffic_1m", "traffic_1h"].map(of) {
        for (column, below) in permitted.columns.iter_mut().zip(below.columns) {
            *column = column.and(below);
        }
    }
    let nullable = |field: &FieldRef| field.as_ref().clone().with_nullable(true);
    permitted.schema = Arc::new(Schema::new(rows.schema().fields().iter().map(nullable).collect::<Vec<_>>()));
    Ok(permitted.apply(&rows)?)
}

const TRAFFIC: &str = "traffic";

/// Which columns and rows of its input leave a [`PermittedExec`].
#[derive(Clone)]
pub(super) struct Permitted {
    pub(super) schema: SchemaRef,
    columns: Vec<Option<usize>>,
    rows: Option<Keep>,
}

#[derive(Clone)]
struct Keep {
    rule: RowRule,
    places: Vec<usize>,
    rights: Arc<Rights>,
}

impl Permitted {
    pub(super) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let kept;
        let batch = match &self.rows {
            None => batch,
            Some(keep) => {
                let columns: Vec<_> = keep.places.iter().map(|place| Arc::clone(batch.column(*place))).collect();
                kept = filter_record_batch(batch, &keep.rule.keep(&keep.rights, &columns, batch.num_rows())?)?;
                &kept
            }
        };
        let column = |(column, field): (&Option<usize>, &FieldRef)| -> ArrayRef {
            match column {
                Some(place) => Arc::clone(batch.column(*place)),
                None => new_null_array(field.data_type(), batch.num_rows()),
            }
        };
        let columns = self.columns.iter().zip(self.schema.fields()).map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

/// Lets through what may be read. Filters of a query stay above it, as does whatever else could tell of what does not leave
/// it: statistics, orders, limits.
struct PermittedExec {
    input: Arc<dyn ExecutionPlan>,
    permitted: Permitted,
    properties: Arc<PlanProperties>,
}

impl PermittedExec {
    fn new(input: Arc<dyn ExecutionPlan>, permitted: Permitted) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&permitted.schema)),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, permitted, properties: Arc::new(properties) }
    }
}

impl fmt::Debug for PermittedExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PermittedExec").field(&self.input).finish()
    }
}

impl DisplayAs for PermittedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PermittedExec")
    }
}

impl ExecutionPlan for PermittedExec {
    fn name(&self) -> &'static str {
        "PermittedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) => Ok(Arc::new(Self::new(input, self.permitted.clone()))),
            None => Ok(self),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let permitted = self.permitted.clone();
        let batches = input.map(move |batch| permitted.apply(&batch?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}
