//! Answers SQL over everything that the engine knows. Reads only.
//!
//! Queries of users run on threads of their own, so that a heavy one takes nothing from those that serve reporters, and
//! the engine's own (signals, checking policies) on another, so that a hostile one cannot hold up enforcement. Bounds:
//! [`QueryLimits`], for memory, time and rows; a query that goes over one ends with an error that says which.

mod authorize;
mod context;
mod error;
mod follow;
mod functions;
mod pauses;
mod run;
mod state_table;
mod stored;
mod views;

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::context::{SessionContext, SessionState};
use futures::stream::BoxStream;
use tokio::runtime::{Builder, Handle, Runtime};

pub(crate) use self::context::{Means, Tables, register_authorize, session};
pub use self::error::{QueryError, QueryErrorKind};
pub use self::follow::{FollowQuery, Followed, FollowedRows};
pub(crate) use self::state_table::StateTable;
pub(crate) use self::stored::{Nothing, Views, at_once};
pub use self::views::{MINUTES_KEPT_MIN, SECONDS_KEPT_MIN};
use crate::metrics::Metrics;
use crate::taps::Tap;

/// Threads for each partition of a query, so that a few which never pause leave some for the others.
const THREADS_PER_PARTITION: usize = 4;

/// What one query, or all together, may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueryLimits {
    /// How long a query may take.
    pub(crate) timeout: Duration,
    /// Most rows that a query may return.
    pub(crate) rows_max: usize,
    /// Partitions of a query, which run side by side.
    pub(crate) threads: usize,
}

/// Rows of a query, as they are computed. Dropping it ends the query.
pub struct QueryResult {
    /// Names and types of the columns.
    pub schema: SchemaRef,
    /// The rows. Nothing follows an error.
    pub batches: BoxStream<'static, Result<RecordBatch, QueryError>>,
}

/// Two views of the same tables, each with memory of its own, so that no user's query can take what signals need.
pub(crate) struct Contexts {
    pub(crate) users: SessionContext,
    pub(crate) own: SessionContext,
}

/// The query engine and its threads.
pub(crate) struct Queries {
    contexts: Contexts,
    limits: QueryLimits,
    metrics: Arc<Metrics>,
    users: Option<Runtime>,
    own: Option<Runtime>,
    loads: Option<Runtime>,
    users_handle: Handle,
    own_handle: Handle,
    loads_handle: Handle,
}

impl Queries {
    /// Starts the threads.
    pub(crate) fn start(
        contexts: Contexts,
        limits: QueryLimits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, std::io::Error> {
        // A query that computes without a pause keeps as many threads as it has partitions, whatever its deadline: others need some too.
        let users = threads("tollgate-query", limits.threads.max(1) * THREADS_PER_PARTITION)?;
        let own = threads("tollgate-signals", 2)?;
        let loads = threads("tollgate-policies", 1)?;
        let (users_handle, own_handle, loads_handle) =
            (users.handle().clone(), own.handle().clone(), loads.handle().clone());
        let (users, own, loads) = (Some(users), Some(own), Some(loads));
        Ok(Self { contexts, limits, metrics, users, own, loads, users_handle, own_handle, loads_handle })
    }

    /// The runtime that checks policies, which no query runs on: the repair of a bad signal has to get through.
    pub(crate) fn loads_handle(&self) -> &Handle {
        &self.loads_handle
    }

    /// The runtime of the engine's own queries.
    pub(crate) fn own_handle(&self) -> &Handle {
        &self.own_handle
    }

    /// Plans and runs the engine's own queries; clones share everything.
    pub(crate) fn own_context(&self) -> &SessionContext {
        &self.contexts.own
    }

    /// What users' queries are planned with.
    pub(crate) fn users_state(&self) -> SessionState {
        self.contexts.users.state()
    }

    /// Plans a query and starts it.
    pub(crate) async fn query(&self, sql: &str) -> Result<QueryResult, QueryError> {
        let planning = run::plan(self.contexts.users.clone(), sql.to_owned());
        run::start(&self.users_handle, self.limits, &self.metrics, Box::pin(planning)).await
    }

    /// Starts a query that somebody else plans, if it only reads.
    pub(crate) async fn run<P>(&self, planning: P, timeout: Option<Duration>) -> Result<QueryResult, QueryError>
    where
        P: Future<Output = Result<DataFrame, DataFusionError>> + Send + 'static,
    {
        let planning = async move {
            let frame = planning.await?;
            run::read_only().verify_plan(frame.logical_plan())?;
            Ok(frame)
        };
        let timeout = timeout.map_or(self.limits.timeout, |timeout| timeout.min(self.limits.timeout));
        let limits = QueryLimits { timeout, ..self.limits };
        run::start(&self.users_handle, limits, &self.metrics, Box::pin(planning)).await
    }

    /// Follows the rows of a tap.
    pub(crate) async fn follow(&self, tap: Tap, query: FollowQuery) -> Result<Followed, QueryError> {
        follow::follow(self.contexts.users.state(), &self.users_handle, tap, query).await
    }

    /// Does work of planning where users' queries run.
    pub(crate) async fn plan<P, T>(&self, planning: P) -> Result<T, QueryError>
    where
        P: Future<Output = Result<T, DataFusionError>> + Send + 'static,
        T: Send + 'static,
    {
        run::plan_only(&self.users_handle, self.limits, Box::pin(async move { Ok(planning.await?) })).await
    }
}

fn threads(name: &str, number: usize) -> Result<Runtime, std::io::Error> {
    Builder::new_multi_thread().worker_threads(number).max_blocking_threads(4).thread_name(name).enable_all().build()
}

impl Drop for Queries {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, which is not allowed where tasks run.
        for runtime in [self.users.take(), self.own.take(), self.loads.take()].into_iter().flatten() {
            runtime.shutdown_background();
        }
    }
}
