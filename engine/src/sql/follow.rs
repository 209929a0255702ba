//! Follows `requests`: SQL for one row at a time, planned once and computed over every batch as it is admitted.

use std::sync::Arc;

use arrow::array::{AsArray as _, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::DFSchema;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::Result;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use futures::stream::BoxStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::error::{QueryError, QueryErrorKind};
use super::permitted::{Permitted, PermittedTable, Withheld};
use super::run::SQL_BYTES_MAX;
use crate::access::{Reader, Rights};
use crate::taps::Tap;

/// The only table that can be followed.
const TABLE: &str = "requests";
/// What stands before the columns when they are planned as a query.
const SELECT: &str = "SELECT ";
/// Batches that wait for a slow reader; then the tap holds what comes, and drops the oldest.
const BATCHES_WAITING: usize = 2;

/// Which rows and columns to follow, in SQL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FollowQuery {
    /// What stands after `WHERE`; without it, every row.
    pub filter: Option<String>,
    /// What stands between `SELECT` and `FROM`; without it, every column.
    pub columns: Option<String>,
}

/// Rows as they are admitted. Dropping it ends it.
pub struct Followed {
    /// Names and types of the columns.
    pub schema: SchemaRef,
    /// The rows. It ends when the engine does, or with an error.
    pub batches: BoxStream<'static, Result<FollowedRows, QueryError>>,
}

/// Rows of one admitted batch.
#[derive(Debug, Clone)]
pub struct FollowedRows {
    /// Those that were asked for; may be none where `missed` is not 0.
    pub rows: RecordBatch,
    /// Admitted rows before these that nobody looked at, because the reader was too slow.
    pub missed: u64,
}

/// Plans, and computes over the tap on the threads for queries.
pub(super) async fn follow(
    reader: &Reader,
    handle: &Handle,
    tap: Tap,
    query: FollowQuery,
) -> Result<Followed, QueryError> {
    let shutting_down = |_| QueryError::new(QueryErrorKind::Execution, "the engine is shutting down");
    let permitted = permitted(reader)?;
    let (state, rights) = (SessionState::clone(&reader.state), reader.clone());
    let planning = async move { Chosen::plan(&state, permitted, &query).await };
    let chosen = AbortOnDropHandle::new(handle.spawn(planning)).await.map_err(shutting_down)??;
    let schema = Arc::clone(&chosen.schema);
    let (sender, waiting) = mpsc::channel(BATCHES_WAITING);
    let following = async move {
        let outdated = sender.clone();
        tokio::select! {
            () = chosen.run(tap, sender) => {}
            // Who may read what has changed: what was planned shows what may not be seen any more.
            () = rights.outdated() => drop(outdated.send(Err(Rights::outdated())).await),
        }
    };
    let task = AbortOnDropHandle::new(handle.spawn(following));
    // The stream owns the task: whoever drops the rows ends it.
    let batches = futures::stream::unfold((waiting, task), |(mut waiting, task)| async move {
        waiting.recv().await.map(|batch| (batch, (waiting, task)))
    });
    Ok(Followed { schema, batches: Box::pin(batches) })
}

/// What the reader sees of `requests`.
fn permitted(reader: &Reader) -> Result<Permitted, QueryError> {
    let whole = Arc::new(EmptyTable::new(tollgate_attributes::schema()));
    let rights = &reader.rights;
    if !rights.table(TABLE) {
        return Err(QueryError::new(QueryErrorKind::Plan, format!("unknown table `{TABLE}`")));
    }
    Ok(PermittedTable::new(TABLE, whole, rights, Withheld::Absent).of_batches())
}

/// What is computed over each batch.
struct Chosen {
    permitted: Permitted,
    filter: Option<Arc<dyn PhysicalExpr>>,
    columns: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

impl Chosen {
    async fn plan(state: &SessionState, permitted: Permitted, query: &FollowQuery) -> Result<Self, QueryError> {
        let of = DFSchema::try_from_qualified_schema(TABLE, &permitted.schema)?;
        let filter = query.filter.as_deref().map(|text| {
            check_size(text)?;
            filter(state, text, &of)
        });
        let filter = filter.transpose().map_err(|error| within("where", error))?;
        let text = query.columns.as_deref().unwrap_or("*");
        let planned = async {
            check_size(text)?;
            columns(state, text, &of).await
        };
        let (columns, schema) = planned.await.map_err(|error| within("columns", error))?;
        Ok(Self { permitted, filter, columns, schema })
    }

    async fn run(self, mut tap: Tap, sender: mpsc::Sender<Result<FollowedRows, QueryError>>) {
        let mut told = 0;
        while let Some(rows) = tap.recv().await {
            let missed = tap.missed();
            let followed = self.apply(&rows).map(|rows| FollowedRows { rows, missed: missed - told });
            if followed.as_ref().is_ok_and(|followed| followed.rows.num_rows() == 0 && followed.missed == 0) {
                continue;
            }
            told = missed;
            let is_over = followed.is_err();
            if sender.send(followed).await.is_err() || is_over {
                return;
            }
        }
    }

    fn apply(&self, rows: &RecordBatch) -> Result<RecordBatch, QueryError> {
        let rows = &self.permitted.apply(rows)?;
        let chosen = match &self.filter {
            None => rows.clone(),
            Some(filter) => {
                let kept = filter.evaluate(rows)?.into_array(rows.num_rows())?;
                let kept: &BooleanArray = kept.as_boolean();
                match kept.true_count() {
                    0 => return Ok(RecordBatch::new_empty(Arc::clone(&self.schema))),
                    count if count == rows.num_rows() => rows.clone(),
                    _ => filter_record_batch(rows, kept)?,
                }
            }
        };
        let count = chosen.num_rows();
        let column = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(&chosen)?.into_array(count);
        let columns = self.columns.iter().map(column).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

fn filter(state: &SessionState, text: &str, of: &DFSchema) -> Result<Arc<dyn PhysicalExpr>, QueryError> {
    let expr = state.create_logical_expr(text, of).map_err(|error| one_row(error.into()))?;
    let expr = physical(state, expr, of)?;
    let data_type = expr.data_type(of.as_arrow())?;
    if data_type != DataType::Boolean {
        return Err(QueryError::new(QueryErrorKind::Plan, format!("it is {data_type} and not true or false")));
    }
    Ok(expr)
}

type Columns = (Vec<Arc<dyn PhysicalExpr>>, SchemaRef);

async fn columns(state: &SessionState, text: &str, of: &DFSchema) -> Result<Columns, QueryError> {
    let exprs = projection(state, text).await?.ok_or_else(one_row_at_a_time)?;
    let (mut columns, mut fields) = (Vec::new(), Vec::new());
    for (expr, name) in exprs {
        let expr = physical(state, expr, of)?;
        fields.push(Field::new(name, expr.data_type(of.as_arrow())?, expr.nullable(of.as_arrow())?));
        columns.push(expr);
    }
    Ok((columns, Arc::new(Schema::new(fields))))
}

/// What is selected, with its names, if each row of it is made of one row of `requests`.
async fn projection(state: &SessionState, text: &str) -> Result<Option<Vec<(Expr, String)>>, QueryError> {
    // On a line of its own the table cannot become part of a comment.
    let planned = state.create_logical_plan(&format!("{SELECT}{text}\nFROM {TABLE}")).await;
    let plan = planned.map_err(|error| {
        let mut error = QueryError::from(error);
        if let Some((1, column)) = &mut error.position {
            *column = column.saturating_sub(SELECT.len());
        }
        error
    })?;
    let LogicalPlan::Projection(Projection { expr, input, schema, .. }) = plan else { return Ok(None) };
    let LogicalPlan::TableScan(scan) = input.as_ref() else { return Ok(None) };
    if scan.table_name.table() != TABLE || expr.iter().any(Expr::contains_outer) {
        return Ok(None);
    }
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().clone()).collect();
    Ok(Some(expr.into_iter().zip(names).collect()))
}

fn physical(state: &SessionState, expr: Expr, of: &DFSchema) -> Result<Arc<dyn PhysicalExpr>, QueryError> {
    let schema = Arc::new(of.clone());
    let context = SimplifyContext::builder()
        .with_schema(Arc::clone(&schema))
        .with_config_options(Arc::clone(state.config_options()))
        .with_query_execution_start_time(Some(chrono::Utc::now()))
        .build();
    let simplifier = ExprSimplifier::new(context);
    // Such as `now()`, which is the moment when following began.
    let expr = simplifier.simplify(simplifier.coerce(expr.unalias(), of)?)?;
    state.create_physical_expr(expr, of).map_err(|error| one_row(error.into()))
}

fn one_row_at_a_time() -> QueryError {
    QueryError::new(QueryErrorKind::Plan, "rows are followed one at a time: no aggregates, subqueries or other clauses")
        .with_help("ask such a question with a query")
}

/// Planning knows no tables here, and the plan of an expression no groups: what that means is said in other words.
fn one_row(error: QueryError) -> QueryError {
    let is_beyond = |text: &str| {
        ["unknown table", "Physical plan does not support", "This feature is not implemented: Physical plan"]
            .iter()
            .any(|start| text.starts_with(start))
    };
    if is_beyond(&error.message) { one_row_at_a_time() } else { error }
}

fn check_size(text: &str) -> Result<(), QueryError> {
    if text.len() > SQL_BYTES_MAX {
        let message = format!("it has {} bytes, at most {SQL_BYTES_MAX} are read", text.len());
        return Err(QueryError::new(QueryErrorKind::Syntax, message));
    }
    Ok(())
}

/// Says which of the two texts is wrong.
fn within(what: &str, error: QueryError) -> QueryError {
    QueryError { message: format!("`{what}`: {}", error.message), ..error }
}
