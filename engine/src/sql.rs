//! Answers SQL over everything that the engine knows. Reads only.
//!
//! Queries of users run on threads of their own, so that a heavy one takes nothing from those that serve reporters, and
//! the engine's own (signals, checking policies) on another, so that a hostile one cannot hold up enforcement. Bounds:
//! [`QueryLimits`], for memory, time and rows; a query that goes over one ends with an error that says which.

mod context;
mod error;
mod requests;
mod run;
mod state_table;

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::execution::context::SessionContext;
use futures::stream::BoxStream;
use tokio::runtime::{Builder, Handle, Runtime};

pub(crate) use self::context::{Tables, session};
pub use self::error::{QueryError, QueryErrorKind};
pub(crate) use self::state_table::StateTable;
use crate::metrics::Metrics;

/// What one query, or all together, may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueryLimits {
    /// How long a query may take.
    pub(crate) timeout: Duration,
    /// Most rows that a query may return.
    pub(crate) rows_max: usize,
    /// Threads that run queries.
    pub(crate) threads: usize,
}

/// Rows of a query, as they are computed. Dropping it ends the query.
pub struct QueryResult {
    /// Names and types of the columns.
    pub schema: SchemaRef,
    /// The rows. Nothing follows an error.
    pub batches: BoxStream<'static, Result<RecordBatch, QueryError>>,
}

/// The query engine and its threads.
pub(crate) struct Queries {
    context: SessionContext,
    limits: QueryLimits,
    metrics: Arc<Metrics>,
    users: Option<Runtime>,
    own: Option<Runtime>,
    users_handle: Handle,
    own_handle: Handle,
}

impl Queries {
    /// Starts the threads.
    pub(crate) fn start(
        context: SessionContext,
        limits: QueryLimits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, std::io::Error> {
        let users = threads("tollgate-query", limits.threads.max(1))?;
        let own = threads("tollgate-signals", 1)?;
        let (users_handle, own_handle) = (users.handle().clone(), own.handle().clone());
        Ok(Self { context, limits, metrics, users: Some(users), own: Some(own), users_handle, own_handle })
    }

    /// The runtime of the engine's own queries.
    pub(crate) fn own_handle(&self) -> &Handle {
        &self.own_handle
    }

    /// Plans tables and queries; clones share everything.
    pub(crate) fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Plans a query and starts it.
    pub(crate) async fn query(&self, sql: &str) -> Result<QueryResult, QueryError> {
        run::start(&self.users_handle, &self.context, self.limits, &self.metrics, sql).await
    }
}

fn threads(name: &str, number: usize) -> Result<Runtime, std::io::Error> {
    Builder::new_multi_thread().worker_threads(number).max_blocking_threads(4).thread_name(name).enable_all().build()
}

impl Drop for Queries {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, which is not allowed where tasks run.
        for runtime in [self.users.take(), self.own.take()].into_iter().flatten() {
            runtime.shutdown_background();
        }
    }
}
