//! Everything that connections share: the engine, the catalog that clients look into, and the way from a statement to rows.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList};
use datafusion::dataframe::DataFrame;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as Parsed;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::setup_pg_catalog;
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_postgres::pgwire::error::PgWireResult;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tollgate_engine::{Engine, QueryError};

use super::error::{cancelled, of_query};
use super::relations::{INFORMATION_SCHEMA, PG_CATALOG};
use super::statement::{self, Facts, Statement, Syntax};
use super::{catalog, functions, relations};

/// The name of the one database.
const DATABASE: &str = "tollgate";

#[derive(Clone)]
pub(super) struct Sessions {
    engine: Engine,
    parser: Arc<PostgresCompatibilityParser>,
    context: SessionContext,
}

/// Rows of a query that a client may cancel.
pub(super) type Batches = BoxStream<'static, PgWireResult<RecordBatch>>;

impl Sessions {
    pub(super) fn new(engine: Engine) -> Result<Self> {
        let context = context(&engine)?;
        Ok(Self { engine, parser: Arc::new(PostgresCompatibilityParser::new()), context })
    }

    /// What a statement means, on the threads for queries.
    pub(super) fn plan(&self, syntax: &Syntax, cancel: &CancellationToken) -> BoxFuture<'static, PgWireResult<Plan>> {
        let (engine, state, statement) = (self.engine.clone(), self.context.state(), syntax.statement());
        let cancel = cancel.clone();
        let planning = async move {
            let plan = state.statement_to_plan(Parsed::Statement(Box::new(statement))).await?;
            Ok(Plan::new(plan))
        };
        Box::pin(async move { or_cancelled(engine.plan(planning), &cancel).await })
    }

    /// Starts a planned query, within the engine's limits and the client's own.
    pub(super) fn start(
        &self,
        plan: &Plan,
        timeout: Option<Duration>,
        cancel: &CancellationToken,
    ) -> BoxFuture<'static, PgWireResult<Batches>> {
        let (engine, state, plan) = (self.engine.clone(), self.context.state(), plan.get().clone());
        let cancel = cancel.clone();
        Box::pin(async move {
            let planning = async move { Ok(DataFrame::new(state, plan)) };
            let result = or_cancelled(engine.run(planning, timeout), &cancel).await?;
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

/// A planned query. Its type is kept from those who pass it on, as that of [`Syntax`] is.
#[derive(Clone)]
pub(super) struct Plan(Arc<dyn Planned>);

trait Planned: Send + Sync {
    fn get(&self) -> &LogicalPlan;
}

impl Planned for LogicalPlan {
    fn get(&self) -> &LogicalPlan {
        self
    }
}

impl Plan {
    pub(super) fn new(plan: LogicalPlan) -> Self {
        Self(Arc::new(plan))
    }

    pub(super) fn get(&self) -> &LogicalPlan {
        self.0.get()
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

/// A session beside the users' one: the same tables and memory, and a catalog that looks like PostgreSQL's.
fn context(engine: &Engine) -> Result<SessionContext> {
    let state = engine.query_state();
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
