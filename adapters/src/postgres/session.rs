//! Everything that connections share: the engine, the catalog that clients look into, and the way from a statement to rows.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList};
use datafusion::dataframe::DataFrame;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::{SessionContext, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as Parsed;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::setup_pg_catalog;
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_postgres::pgwire::error::PgWireResult;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tollgate_engine::{Engine, Identity, QueryError, Reader};

use super::error::{cancelled, error, of_query};
use super::relations::{INFORMATION_SCHEMA, PG_CATALOG};
use super::statement::{self, Facts, Statement, Syntax};
use super::{catalog, functions, relations};

/// The name of the one database.
const DATABASE: &str = "tollgate";

/// Identities whose catalogs are remembered. When there are more, all are forgotten.
const ASKING_MAX: usize = 64;

#[derive(Clone)]
pub(super) struct Sessions {
    engine: Engine,
    parser: Arc<PostgresCompatibilityParser>,
    remembered: Arc<Mutex<HashMap<String, Arc<Asking>>>>,
}

/// Who asks, and what is seen by them: the tables that they may read, and a catalog of these.
pub(super) struct Asking {
    reader: Reader,
    context: SessionContext,
}

/// Rows of a query that a client may cancel.
pub(super) type Batches = BoxStream<'static, PgWireResult<RecordBatch>>;

impl Sessions {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine, parser: Arc::new(PostgresCompatibilityParser::new()), remembered: Arc::default() }
    }

    /// What an identity sees now. Its catalog is made on the threads for queries.
    pub(super) async fn asking(&self, identity: &Identity) -> PgWireResult<Arc<Asking>> {
        let reader = self.engine.reader(identity).await.map_err(of_query)?;
        let known = self.remembered.lock().get(identity.name()).cloned();
        if let Some(known) = known.filter(|known| known.reader.identity() == identity && known.reader.is_current()) {
            return Ok(known);
        }
        let state = self.engine.query_state(&reader);
        let context = self.engine.plan(&reader, async move { context(state) }).await.map_err(of_query)?;
        let asking = Arc::new(Asking { reader, context });
        let mut remembered = self.remembered.lock();
        if remembered.len() >= ASKING_MAX {
            remembered.clear();
        }
        remembered.insert(identity.name().to_owned(), Arc::clone(&asking));
        Ok(asking)
    }

    /// What a statement means, on the threads for queries.
    pub(super) fn plan(
        &self,
        asking: &Arc<Asking>,
        syntax: &Syntax,
        cancel: &CancellationToken,
    ) -> BoxFuture<'static, PgWireResult<Plan>> {
        let (engine, state, statement) = (self.engine.clone(), asking.context.state(), syntax.statement());
        let (cancel, asking) = (cancel.clone(), Arc::clone(asking));
        Box::pin(async move {
            let reader = asking.reader.clone();
            let planning = async move {
                let plan = state.statement_to_plan(Parsed::Statement(Box::new(statement))).await?;
                Ok(Plan { plan: Arc::new(plan), asking })
            };
            or_cancelled(engine.plan(&reader, planning), &cancel).await
        })
    }

    /// Starts a planned query, within the engine's limits and the client's own.
    pub(super) fn start(
        &self,
        plan: &Plan,
        timeout: Option<Duration>,
        cancel: &CancellationToken,
    ) -> BoxFuture<'static, PgWireResult<Batches>> {
        let (engine, asking, plan) = (self.engine.clone(), Arc::clone(&plan.asking), plan.get().clone());
        let cancel = cancel.clone();
        Box::pin(async move {
            if !asking.reader.is_current() {
                // In PostgreSQL's words, at which drivers prepare the statement again.
                return Err(error(
                    "0A000",
                    "cached plan must not change result type: the policies on data have changed",
                ));
            }
            let state = asking.context.state();
            let planning = async move { Ok(DataFrame::new(state, plan)) };
            let result = or_cancelled(engine.run(&asking.reader, planning, timeout), &cancel).await?;
            let batches = result.batches.map(|batch| batch.map_err(of_query));
            let ended = cancel.clone();
            let end = async move { ended.is_cancelled().then(|| Err(cancelled())) };
            let end = end.into_stream().filter_map(std::future::ready);
            let batches: Batches = Box::pin(batches.take_until(cancel.cancelled_owned()).chain(end));
            Ok(batches)
        })
    }

    pub(super) fn parse(&self, text: &str, facts: &Facts) -> PgWireResult<Vec<Statement>> {
        statement::parse(&self.parser, text, facts)
    }
}

/// A planned query, and who it was planned for. Its type is kept from those who pass it on, as that of [`Syntax`] is.
#[derive(Clone)]
pub(super) struct Plan {
    plan: Arc<dyn Planned>,
    asking: Arc<Asking>,
}

trait Planned: Send + Sync {
    fn get(&self) -> &LogicalPlan;
}

impl Planned for LogicalPlan {
    fn get(&self) -> &LogicalPlan {
        self
    }
}

impl Plan {
    /// Another plan for the same one.
    pub(super) fn with(&self, plan: LogicalPlan) -> Self {
        Self { plan: Arc::new(plan), asking: Arc::clone(&self.asking) }
    }

    pub(super) fn get(&self) -> &LogicalPlan {
        self.plan.get()
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.get().display_indent())
    }
}

async fn or_cancelled<T>(
    work: impl Future<Output = std::result::Result<T, QueryError>>,
    cancel: &CancellationToken,
) -> PgWireResult<T> {
    tokio::select! {
        done = work => done.map_err(of_query),
        () = cancel.cancelled() => Err(cancelled()),
    }
}

/// A session beside a reader's: the same tables and memory, and a catalog that looks like PostgreSQL's.
fn context(state: SessionState) -> Result<SessionContext> {
    let missing = || DataFusionError::Plan("the engine has no tables".to_owned());
    let shared = state.catalog_list().catalog(DATABASE).ok_or_else(missing)?;
    let public = shared.schema("public").ok_or_else(missing)?;

    let database: Arc<dyn CatalogProvider> = Arc::new(MemoryCatalogProvider::new());
    database.register_schema("public", Arc::clone(&public))?;
    let catalogs: Arc<dyn CatalogProviderList> = Arc::new(MemoryCatalogProviderList::new());
    catalogs.register_catalog(DATABASE.to_owned(), Arc::clone(&database));
    // DataFusion's own `information_schema` speaks of Arrow's types, and its default catalog would replace this one.
    let config = state.config().clone().with_information_schema(false).with_create_default_catalog_and_schema(false);
    let state = SessionStateBuilder::new_from_existing(state).with_config(config).with_catalog_list(catalogs).build();
    let context = SessionContext::new_with_state(state);
    setup_pg_catalog(&context, DATABASE, EmptyContextProvider).map_err(|error| *error)?;

    let below = database.schema("pg_catalog").ok_or_else(missing)?;
    // Nothing here waits for anything: the tables are made of what is in memory.
    let relations = futures::executor::block_on(async {
        let mut relations = relations::of_public(public.as_ref()).await?;
        let mut tables = Vec::new();
        for name in below.table_names() {
            tables.extend(below.table(&name).await?.map(|table| (PG_CATALOG, name, table.schema())));
        }
        let information = catalog::information_schema(DATABASE, &[])?;
        for name in datafusion::catalog::SchemaProvider::table_names(&information) {
            let table = datafusion::catalog::SchemaProvider::table(&information, &name).await?;
            tables.extend(table.map(|table| (INFORMATION_SCHEMA, name, table.schema())));
        }
        tables.sort_by(|left, right| (left.0, &left.1).cmp(&(right.0, &right.1)));
        relations.extend(relations::of_catalogs(&tables));
        Ok::<_, DataFusionError>(relations)
    })?;
    let pg_catalog = futures::executor::block_on(catalog::pg_catalog(below, &relations))?;
    database.register_schema("pg_catalog", Arc::new(pg_catalog))?;
    database.register_schema("information_schema", Arc::new(catalog::information_schema(DATABASE, &relations)?))?;
    functions::register(&context, &relations);
    Ok(context)
}
