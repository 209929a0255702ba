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
mod permitted;
mod reading;
mod rules;
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

use self::context::register_authorize;
pub(crate) use self::context::{Means, Tables, session};
pub use self::error::{QueryError, QueryErrorKind};
pub use self::follow::{FollowQuery, Followed, FollowedRows};
pub(crate) use self::permitted::of_traffic;
pub(crate) use self::reading::{Readable, all};
pub(crate) use self::state_table::StateTable;
pub(crate) use self::stored::{Nothing, Views, at_once};
pub use self::views::{MINUTES_KEPT_MIN, SECONDS_KEPT_MIN};
use crate::access::{Reader, Rights};
use crate::metrics::Metrics;

/// Where the tables are.
const CATALOG: &str = "tollgate";
const SCHEMA: &str = "public";
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
    /// Everything that users may be let read.
    pub(crate) users: Readable,
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

    /// What a reader's queries are planned with. Views are planned for it, where users' queries run.
    pub(crate) async fn session(self: &Arc<Self>, rights: &Arc<Rights>) -> Result<SessionState, QueryError> {
        let (queries, rights) = (Arc::clone(self), Arc::clone(rights));
        let planning = async move { Ok(queries.contexts.users.session(&rights).await?) };
        run::plan_only(&self.users_handle, self.limits, Box::pin(planning)).await
    }

    /// Plans a query and starts it.
    pub(crate) async fn query(&self, reader: &Reader, sql: &str) -> Result<QueryResult, QueryError> {
        let context = SessionContext::new_with_state(SessionState::clone(&reader.state));
        let (planned, rights) = (run::plan(context, sql.to_owned()), Arc::clone(&reader.rights));
        let planning = async move {
            let frame = planned.await?;
            run::refuse_plans(frame.logical_plan(), &rights)?;
            Ok(frame)
        };
        let started = run::start(&self.users_handle, self.limits, &self.metrics, Box::pin(planning)).await;
        started.map_err(|error| self.explain(reader, error))
    }

    /// Starts a query that somebody else plans, if it only reads.
    pub(crate) async fn run<P>(
        &self,
        reader: &Reader,
        planning: P,
        timeout: Option<Duration>,
    ) -> Result<QueryResult, QueryError>
    where
        P: Future<Output = Result<DataFrame, DataFusionError>> + Send + 'static,
    {
        let rights = Arc::clone(&reader.rights);
        let planning = async move {
            let frame = planning.await?;
            run::read_only().verify_plan(frame.logical_plan())?;
            run::refuse_plans(frame.logical_plan(), &rights)?;
            Ok(frame)
        };
        let timeout = timeout.map_or(self.limits.timeout, |timeout| timeout.min(self.limits.timeout));
        let limits = QueryLimits { timeout, ..self.limits };
        let started = run::start(&self.users_handle, limits, &self.metrics, Box::pin(planning)).await;
        started.map_err(|error| self.explain(reader, error))
    }

    /// Follows the rows of a tap, as far as the reader may see them.
    pub(crate) async fn follow(&self, reader: &Reader, tap: Tap, query: FollowQuery) -> Result<Followed, QueryError> {
        let followed = follow::follow(reader, &self.users_handle, tap, query).await;
        followed.map_err(|error| self.explain(reader, error))
    }

    /// Does work of planning where users' queries run.
    pub(crate) async fn plan<P, T>(&self, reader: &Reader, planning: P) -> Result<T, QueryError>
    where
        P: Future<Output = Result<T, DataFusionError>> + Send + 'static,
        T: Send + 'static,
    {
        let planned =
            run::plan_only(&self.users_handle, self.limits, Box::pin(async move { Ok(planning.await?) })).await;
        planned.map_err(|error| self.explain(reader, error))
    }

    /// Says so where something is not there for want of a permission.
    fn explain(&self, reader: &Reader, error: QueryError) -> QueryError {
        reader.rights.explain(error, self.contexts.users.names())
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
