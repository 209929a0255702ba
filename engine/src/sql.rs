//! Answers SQL over everything that the engine knows. Reads only.
//!
//! Queries run on threads of their own, so that a heavy one takes nothing from those that serve reporters. Bounds:
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
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Queries {
    /// Starts the threads.
    pub(crate) fn start(
        context: SessionContext,
        limits: QueryLimits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, std::io::Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(limits.threads.max(1))
            .max_blocking_threads(4)
            .thread_name("tollgate-query")
            .enable_all()
            .build()?;
        Ok(Self { context, limits, metrics, handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// The runtime whose threads queries run on.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Plans tables and queries; clones share everything.
    pub(crate) fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Plans a query and starts it.
    pub(crate) async fn query(&self, sql: &str) -> Result<QueryResult, QueryError> {
        run::start(&self.handle, &self.context, self.limits, &self.metrics, sql).await
    }
}

impl Drop for Queries {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, which is not allowed where tasks run.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
