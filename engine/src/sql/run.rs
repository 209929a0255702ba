//! Runs one query: plans it, streams its rows, and holds it to its limits.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::context::{SQLOptions, SessionContext, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use parquet::errors::ParquetError;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinError;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::error::{QueryError, QueryErrorKind};
use super::pauses::{Watch, with_pauses};
use super::stored::{at_once, examine};
use super::{QueryLimits, QueryResult};
use crate::access::Rights;
use crate::metrics::Metrics;

/// Longest text of a query.
pub(super) const SQL_BYTES_MAX: usize = 1 << 20;
/// Batches that wait for a slow reader; the query pauses when they are as many.
const BATCHES_WAITING: usize = 2;

/// How much later than the query itself its reader gives up on it.
const GRACE: Duration = Duration::from_millis(250);

type Head = oneshot::Sender<Result<SchemaRef, QueryError>>;
type Rows = mpsc::Sender<Result<RecordBatch, QueryError>>;

/// What makes the plan of a query, on the threads for queries.
pub(super) type Planning = BoxFuture<'static, Result<DataFrame, QueryError>>;

/// Starts a query and returns as soon as it is planned.
pub(super) async fn start(
    handle: &Handle,
    limits: QueryLimits,
    metrics: &Arc<Metrics>,
    planning: Planning,
) -> Result<QueryResult, QueryError> {
    let (head, planned) = oneshot::channel();
    let (rows, waiting) = mpsc::channel(BATCHES_WAITING);
    let query = Query {
        limits,
        outcome: Outcome { metrics: Arc::clone(metrics), start: Instant::now(), outcome: "cancelled" },
    };
    let watch = Watch::new(std::time::Instant::now() + limits.timeout, timeout(limits.timeout));
    let task = AbortOnDropHandle::new(handle.spawn(query.run(planning, head, rows, Arc::clone(&watch))));
    let running = Running { watch, task };
    // The query watches its time itself, but whatever computes for long without a pause keeps it from looking. So whoever waits
    // watches too.
    let deadline = Instant::now() + limits.timeout + GRACE;
    let shutting_down = |_| QueryError::new(QueryErrorKind::Execution, "the engine is shutting down");
    let schema = timeout_at(deadline, planned).await.map_err(|_| timeout(limits.timeout))?.map_err(shutting_down)??;
    // The stream owns the task: whoever drops the rows ends the query.
    let waiting = Some((waiting, running));
    let batches = futures::stream::unfold(waiting, move |waiting| async move {
        let (mut rows, mut running) = waiting?;
        match timeout_at(deadline, rows.recv()).await {
            Ok(Some(batch)) => Some((batch, Some((rows, running)))),
            // What ended without a word has broken off, and must not pass for a short answer.
            Ok(None) => (&mut running.task).await.err().filter(JoinError::is_panic).map(|panic| {
                tracing::error!(error = %panic, "a query broke off");
                (Err(QueryError::new(QueryErrorKind::Execution, "the query broke off: please report this")), None)
            }),
            Err(_) => Some((Err(timeout(limits.timeout)), None)),
        }
    });
    Ok(QueryResult { schema, batches: Box::pin(batches.fuse()) })
}

/// Does work of planning on the threads for queries, within the time of a query.
pub(super) async fn plan_only<T: Send + 'static>(
    handle: &Handle,
    limits: QueryLimits,
    planning: BoxFuture<'static, Result<T, QueryError>>,
) -> Result<T, QueryError> {
    let task = AbortOnDropHandle::new(handle.spawn(planning));
    match timeout_at(Instant::now() + limits.timeout, task).await {
        Ok(Ok(planned)) => planned,
        Ok(Err(_)) => Err(QueryError::new(QueryErrorKind::Execution, "the engine is shutting down")),
        Err(_) => Err(timeout(limits.timeout)),
    }
}

/// A query that somebody waits for.
struct Running {
    watch: Arc<Watch>,
    task: AbortOnDropHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watch.leave();
    }
}

struct Query {
    limits: QueryLimits,
    outcome: Outcome,
}

impl Query {
    async fn run(mut self, planning: Planning, head: Head, rows: Rows, watch: Arc<Watch>) {
        let deadline = Instant::now() + self.limits.timeout;
        let planned = timeout_at(deadline, planning).await;
        let frame = match planned.map_err(|_| timeout(self.limits.timeout)).and_then(|planned| planned) {
            Ok(frame) => frame,
            Err(error) => {
                self.outcome.outcome = error.kind.as_str();
                // Whoever asked may have gone.
                let _ = head.send(Err(error));
                return;
            }
        };
        if head.send(Ok(Arc::new(Schema::clone(frame.schema().as_arrow())))).is_err() {
            return;
        }
        let (state, plan) = frame.into_parts();
        let answer = answer(&state, &plan, &rows, self.limits.rows_max, &watch);
        let streamed = timeout_at(deadline, answer).await;
        match streamed.map_err(|_| timeout(self.limits.timeout)).and_then(|streamed| streamed) {
            Ok(()) => self.outcome.outcome = "ok",
            Err(error) => {
                self.outcome.outcome = error.kind.as_str();
                let _ = rows.send(Err(error)).await;
            }
        }
    }
}

/// Plans a text.
pub(super) async fn plan(context: SessionContext, sql: String) -> Result<DataFrame, QueryError> {
    if sql.len() > SQL_BYTES_MAX {
        let message = format!("the query has {} bytes, at most {SQL_BYTES_MAX} are read", sql.len());
        return Err(QueryError::new(QueryErrorKind::Syntax, message));
    }
    Ok(context.sql_with_options(&sql, read_only()).await?)
}

/// Plans tell how many rows and files there are, of which not everybody may read all.
pub(super) fn refuse_plans(plan: &LogicalPlan, rights: &Rights) -> Result<(), QueryError> {
    if matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_)) && !rights.is_everything() {
        let message =
            "EXPLAIN shows more than may be read, and is answered only where no policies on data are in force";
        return Err(QueryError::new(QueryErrorKind::Denied, message));
    }
    Ok(())
}

/// What SQL may not do: anything but read.
pub(super) fn read_only() -> SQLOptions {
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false)
}

/// Runs a query. When it meets files that cannot be served, and no row has gone out yet, it begins anew without them.
async fn answer(
    state: &SessionState,
    plan: &LogicalPlan,
    rows: &Rows,
    rows_max: usize,
    watch: &Arc<Watch>,
) -> Result<(), QueryError> {
    let mut asides = 0;
    loop {
        // One moment for all tables of the query. It is held until the last row, as are the files that it reads.
        let frame = DataFrame::new(at_once(state.clone()), plan.clone());
        let moment = frame.task_ctx();
        let mut sent = 0;
        let error = match stream(frame, rows, rows_max, watch, &mut sent).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !is_of_files(&error) || !examine(moment.session_config()).await {
            return Err(error.into());
        }
        asides += 1;
        if sent > 0 || asides > ASIDES_MAX {
            let error = QueryError::from(error);
            return Err(error.with_help("the file was set aside, see `storage_files`: ask again, and the rest is read"));
        }
    }
}

/// How often a query begins anew because of files that cannot be served.
const ASIDES_MAX: usize = 8;

/// Whether a sealed file could not be read, and that may be its own fault.
fn is_of_files(error: &DataFusionError) -> bool {
    let mut is_of_parquet = false;
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        // Parquet's reader hands on what it was told.
        if let Some(error) = error.downcast_ref() {
            return is_of_object(error);
        }
        is_of_parquet |=
            error.is::<ParquetError>() || matches!(error.downcast_ref(), Some(ArrowError::ParquetError(_)));
        cause = error.source();
    }
    is_of_parquet
}

/// Whether it may be the file's fault. What a remote store does not answer in time is good for all that is known.
fn is_of_object(error: &object_store::Error) -> bool {
    match error {
        object_store::Error::NotFound { .. } => true,
        object_store::Error::Generic { store, .. } => *store == "LocalFileSystem",
        _ => false,
    }
}

async fn stream(
    frame: DataFrame,
    rows: &Rows,
    rows_max: usize,
    watch: &Arc<Watch>,
    sent: &mut usize,
) -> Result<(), DataFusionError> {
    let task = Arc::new(frame.task_ctx());
    let plan = with_pauses(frame.create_physical_plan().await?, watch)?;
    let mut batches = execute_stream(plan, task)?;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        *sent += batch.num_rows();
        if *sent > rows_max {
            let error = QueryError::new(QueryErrorKind::Rows, format!("the query returns more than {rows_max} rows"));
            return Err(DataFusionError::External(Box::new(error.with_help("aggregate, or add a `LIMIT`"))));
        }
        if rows.send(Ok(batch)).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn timeout(after: Duration) -> QueryError {
    QueryError::new(QueryErrorKind::Time, format!("the query was not done after {} s", after.as_secs_f64()))
        .with_help("narrow it by `time`, read the rows faster, or raise `query.timeout`")
}

/// Counts the query when it ends, in whatever way it ends.
struct Outcome {
    metrics: Arc<Metrics>,
    start: Instant,
    outcome: &'static str,
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.metrics.query(self.outcome, self.start.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_does_not_answer_is_no_fault_of_the_file() {
        let store = |store| object_store::Error::Generic { store, source: "timed out".into() };
        let absent = || object_store::Error::NotFound { path: "a".to_owned(), source: "404".into() };
        let through_parquet = |error| ParquetError::External(Box::new(error)).into();
        let of_files: [DataFusionError; 5] = [
            through_parquet(absent()),
            through_parquet(store("LocalFileSystem")),
            absent().into(),
            ParquetError::General("the footer is no footer".to_owned()).into(),
            ArrowError::ParquetError("a page is short".to_owned()).into(),
        ];
        assert!(of_files.iter().all(is_of_files), "{of_files:?}");
        let of_others: [DataFusionError; 3] =
            [through_parquet(store("S3")), store("S3").into(), DataFusionError::Plan("no such column".to_owned())];
        assert!(!of_others.iter().any(is_of_files), "{of_others:?}");
    }
}
