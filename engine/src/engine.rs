//! The engine as a whole: puts the parts together, starts their tasks and ends them.

mod status;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionState;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_api::v1;
use tollgate_policies::{Diagnostics, Sources};
use tollgate_store::StoreError;

pub use self::status::{PolicyStatus, Status};
use crate::access::{AccessBook, Reader};
use crate::book::{Loaded, PolicyBook, PolicySets, load};
use crate::check::Checker;
use crate::clock::{Clock, WallTime};
use crate::config::EngineConfig;
use crate::data::{DataDir, DataError, Versions};
use crate::fleet::Fleet;
use crate::identity::Identity;
use crate::kept::{Kept, RemoteError, StorageTables};
use crate::leases::LeaseConfig;
use crate::lists::{Lists, ListsTable};
use crate::metrics::Metrics;
use crate::published::Publisher;
use crate::session::{Intake, Outlet, RecentSlices, ReportSession, SessionError, WatchSession};
use crate::signals::Scheduler;
use crate::sql::{self, FollowQuery, Followed, Queries, QueryError, QueryLimits, QueryResult};
use crate::tables;
use crate::taps::Tap;

/// Memory for the signals' queries, all together.
const OWN_QUERY_BYTES_MAX: usize = 256 << 20;

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The policies are wrong. A running engine keeps the last good ones; one that starts has none.
    #[error("the policies in `{dir}` are refused:\n{diagnostics}")]
    Policies {
        /// The directory.
        dir: String,
        /// Everything that is wrong.
        diagnostics: Diagnostics,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// What was kept cannot be read, or nothing more written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object store for sealed files cannot be used.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The query engine cannot be set up.
    #[error("the query engine does not start: {0}")]
    Queries(String),
}

/// A running engine. Clones are the same engine. It runs until [`Engine::shutdown`].
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    config: EngineConfig,
    dir: Arc<DataDir>,
    metrics: Arc<Metrics>,
    book: Arc<PolicyBook>,
    kept: Arc<Kept>,
    queries: Arc<Queries>,
    access: AccessBook,
    scheduler: Scheduler,
    lists: Arc<Lists>,
    intake: Intake,
    outlet: Outlet,
    checker: Checker,
    stop: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
    started: WallTime,
}

impl Engine {
    /// Starts an engine in the current Tokio runtime, beside which it has threads of its own for queries.
    ///
    /// # Errors
    /// Policies that are wrong, and a data directory that cannot be used, among others because another engine uses it.
    pub async fn start(config: EngineConfig) -> Result<Self, EngineError> {
        let dir = Arc::new(DataDir::open(&config.data)?);
        let versions = Arc::new(Versions::open(Arc::clone(&dir))?);
        let metrics = Arc::new(Metrics::default());
        let limits = LeaseConfig::with_ttl(config.lease_ttl);
        let fleet = Arc::new(Fleet::open(limits, Clock::start(), Arc::clone(&dir), Arc::clone(&metrics))?);
        let kept = Arc::new(Kept::open(&config, &dir).await?);
        let storage = StorageTables(Some(Arc::clone(&kept.store)));
        let (policies, data, http) = (config.policies.clone(), dir.path().to_owned(), config.lists.clone());
        let lists = Arc::new(Lists::new(policies, data, http, Arc::clone(&metrics)));
        let tables = tables::Sources {
            fleet: Some(Arc::clone(&fleet)),
            storage,
            uses: Arc::clone(&kept.counting.uses),
            lists: ListsTable(Some(Arc::clone(&lists))),
            ..tables::Sources::default()
        };
        let queries = Arc::new(queries(&config, &tables, &kept, &dir, &metrics).await?);
        let access = AccessBook::new(Arc::clone(&tables.reporters));
        // Before the first row comes: what is kept until now is counted from the rollups, what comes as it comes.
        let counting = kept.counting.uses.begin(&kept.store.view(), queries.own_context().state());

        let refused = |diagnostics| EngineError::Policies { dir: config.policies.display().to_string(), diagnostics };
        let sources = Sources::read(&config.policies).map_err(refused)?;
        let loaded =
            load(queries.own_context(), &sources, &config.mode, config.signals_every, None).await.map_err(refused)?;
        let loaded = Arc::new(loaded);
        lists.declare(&loaded.compiled.lists);
        let publisher = Arc::new(lists.publish(|lists| Publisher::new(versions, &loaded, lists))?);

        let stop = CancellationToken::new();
        let scheduler = Scheduler::new(
            queries.own_context().clone(),
            queries.own_handle().clone(),
            Arc::clone(&metrics),
            Arc::clone(&tables.signals),
        );
        let intake = Intake {
            limits: config.admission,
            kept_for: config.retention.requests.age,
            store: Arc::clone(&kept.store),
            reporters: Arc::clone(&tables.reporters),
            metrics: Arc::clone(&metrics),
            threads: queries.own_handle().clone(),
            stop: stop.clone(),
        };
        let outlet = Outlet {
            publisher,
            fleet,
            reporters: Arc::clone(&tables.reporters),
            decisions: Arc::clone(&tables.decisions),
            recent: Arc::new(RecentSlices::default()),
            metrics: Arc::clone(&metrics),
            heartbeat: config.heartbeat,
            stop: stop.clone(),
        };
        let (book, checker) = (Arc::clone(&tables.book), Checker::new(outlet.clone()));
        let tasks = Mutex::new(JoinSet::new());
        let started = WallTime::now();
        let inner = Inner {
            config,
            dir,
            metrics,
            book,
            kept,
            queries,
            access,
            scheduler,
            lists,
            intake,
            outlet,
            checker,
            stop,
            tasks,
            started,
        };
        let engine = Self { inner: Arc::new(inner) };
        engine.inner.put_in_force(&loaded)?;
        engine.spawn_tasks(sources, loaded);
        let threads = engine.inner.queries.own_handle().clone();
        engine.spawn("policy uses", async move { drop(threads.spawn(counting).await) });
        tracing::info!(engine = engine.inner.dir.id(), "engine started");
        Ok(engine)
    }

    /// Ends every session and task, and returns when what was taken in is durable.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.inner.tasks.lock());
        while tasks.join_next().await.is_some() {}
        self.inner.kept.close().await;
    }

    /// Opens a stream of rows.
    ///
    /// # Errors
    /// When the reporter does not introduce itself as it should, or there are too many.
    pub fn report(&self, hello: v1::ReportHello) -> Result<ReportSession, SessionError> {
        ReportSession::open(self.inner.intake.clone(), &hello)
    }

    /// Opens a stream of snapshots with its first message.
    ///
    /// # Errors
    /// When the reporter does not introduce itself as it should, or there are too many.
    pub fn watch(&self, request: &v1::WatchRequest) -> Result<WatchSession, SessionError> {
        WatchSession::open(self.inner.outlet.clone(), request)
    }

    /// Decides one request for whoever cannot.
    #[must_use]
    pub fn check(&self, request: &v1::CheckRequest) -> v1::CheckResponse {
        self.inner.checker.check(request)
    }

    /// Whether an identity may report under this name.
    ///
    /// # Errors
    /// Says why not.
    pub fn may_report(&self, identity: &Identity, reporter: &str) -> Result<(), SessionError> {
        self.inner.access.may_report(identity, reporter)
    }

    /// The reader that an identity is: what it may see of the tables, under the policies on data that are in force now.
    ///
    /// # Errors
    /// When the views cannot be planned.
    pub async fn reader(&self, identity: &Identity) -> Result<Reader, QueryError> {
        let inner = &self.inner;
        if let Some(reader) = inner.access.remembered(identity) {
            return Ok(reader);
        }
        let rights = Arc::new(inner.access.rights(identity));
        let state = Arc::new(inner.queries.session(&rights).await?);
        let reader = Reader { rights, state };
        inner.access.remember(&reader);
        Ok(reader)
    }

    /// Whether somebody may read what is no table of SQL but is named like one: `metrics`, `snapshot`. Plans nothing.
    #[must_use]
    pub fn may_read(&self, identity: &Identity, name: &str) -> bool {
        self.inner.access.rights(identity).table(name)
    }

    /// Answers a query, on the threads for queries and within the limits of the configuration.
    ///
    /// # Errors
    /// What is wrong with the query, in words for the one who wrote it.
    pub async fn query(&self, reader: &Reader, sql: &str) -> Result<QueryResult, QueryError> {
        self.inner.queries.query(reader, sql).await
    }

    /// What a reader's queries are planned with: the tables, the functions and the memory. Whoever adds names or functions of
    /// its own does so to a copy.
    #[must_use]
    pub fn query_state(&self, reader: &Reader) -> SessionState {
        SessionState::clone(&reader.state)
    }

    /// Answers a query that the caller plans from a copy of [`Engine::query_state`], as [`Engine::query`] does: on the threads
    /// for queries, within the limits, and only if it reads. `timeout` can only shorten the limit.
    ///
    /// # Errors
    /// What is wrong with the query, in words for the one who wrote it.
    pub async fn run<P>(
        &self,
        reader: &Reader,
        planning: P,
        timeout: Option<Duration>,
    ) -> Result<QueryResult, QueryError>
    where
        P: Future<Output = Result<DataFrame, DataFusionError>> + Send + 'static,
    {
        self.inner.queries.run(reader, planning, timeout).await
    }

    /// Does work of planning, such as preparing a statement, on the threads for queries and within their time.
    ///
    /// # Errors
    /// What is wrong with the query, in words for the one who wrote it.
    pub async fn plan<P, T>(&self, reader: &Reader, planning: P) -> Result<T, QueryError>
    where
        P: Future<Output = Result<T, DataFusionError>> + Send + 'static,
        T: Send + 'static,
    {
        self.inner.queries.plan(reader, planning).await
    }

    /// Shows every row that is kept from now on, as it is kept, for live tails and exports.
    #[must_use]
    pub fn tap(&self) -> Tap {
        self.inner.kept.counting.taps.open()
    }

    /// What was counted since this process began, in rows of `traffic`: one for each key, whose `time` is when it was counted
    /// last. No number ever falls. For counters of others; the table `traffic` has all of the past.
    ///
    /// # Errors
    /// Arrow's own, when it would be too large.
    pub fn totals(&self) -> Result<RecordBatch, ArrowError> {
        self.inner.kept.counting.totals()
    }

    /// What a reader may see of [`Engine::totals`].
    ///
    /// # Errors
    /// When the reader may not read `traffic`, and those of [`Engine::totals`].
    pub fn totals_for(&self, reader: &Reader) -> Result<RecordBatch, QueryError> {
        sql::of_traffic(&reader.rights, self.totals()?)
    }

    /// When this process began to count.
    #[must_use]
    pub fn started(&self) -> WallTime {
        self.inner.started
    }

    /// What tells this engine from others: made with its data directory.
    #[must_use]
    pub fn id(&self) -> &str {
        self.inner.dir.id()
    }

    /// Follows rows of `requests` as they are admitted: SQL that looks at one row at a time, computed on the threads for queries.
    /// Every tail that a person sees goes through here.
    ///
    /// # Errors
    /// What is wrong with the SQL, in words for the one who wrote it.
    pub async fn follow(&self, reader: &Reader, query: FollowQuery) -> Result<Followed, QueryError> {
        self.inner.queries.follow(reader, self.tap(), query).await
    }

    /// The engine's own metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }
}

impl Inner {
    /// Puts policies in force: from here on sessions push them.
    fn put_in_force(&self, loaded: &Arc<Loaded>) -> Result<(), DataError> {
        use tollgate_policies::PolicyKind::{Access, Shaping};
        // First, as it cannot fail: whoever may read less does so from now on, whatever becomes of the rest.
        self.access.accept(loaded.compiled.data.as_ref());
        self.lists.publish(|lists| self.outlet.publisher.set_policies(loaded, lists))?;
        self.outlet.fleet.set_limits(&loaded.limits());
        self.metrics.policies_accepted(loaded.count(Access), loaded.count(Shaping));
        self.book.accept(Arc::clone(loaded));
        Ok(())
    }
}

async fn queries(
    config: &EngineConfig,
    tables: &tables::Sources,
    kept: &Arc<Kept>,
    dir: &DataDir,
    metrics: &Arc<Metrics>,
) -> Result<Queries, EngineError> {
    let failed = |error: String| EngineError::Queries(error);
    let views = Arc::clone(kept) as Arc<dyn sql::Views>;
    let sql_tables = sql::Tables { stored: kept.store.tables().into(), views, state: tables.tables() };
    let spill = dir.spill().map_err(EngineError::Data)?;
    let means = sql::Means { bytes_max: config.query_bytes_max, partitions: config.query_threads, spill: Some(spill) };
    let sets = PolicySets::new(Arc::clone(&tables.book), config.mode.clone(), &config.policy_sets);
    let users = sql::session(sql_tables.clone(), &means).await.map_err(|error| failed(error.to_string()))?;
    let users = sql::Readable::of(users, &sql_tables.stored, Arc::new(sets)).await;
    let means = sql::Means { bytes_max: OWN_QUERY_BYTES_MAX, partitions: 1, spill: None };
    let own = sql::session(sql_tables, &means).await;
    let contexts = sql::Contexts {
        users: users.map_err(|error| failed(error.to_string()))?,
        own: own.map_err(|error| failed(error.to_string()))?,
    };
    let limits =
        QueryLimits { timeout: config.query_timeout, rows_max: config.query_rows_max, threads: config.query_threads };
    Queries::start(contexts, limits, Arc::clone(metrics)).map_err(|error| failed(error.to_string()))
}
