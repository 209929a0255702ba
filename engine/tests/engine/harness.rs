//! Starts engines in temporary directories and speaks to them as a reporter would.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::record_batch::RecordBatch;
use futures::TryStreamExt as _;
use tempfile::TempDir;
use tollgate_api::v1;
use tollgate_attributes::{BatchBuilder, BatchLimits, Row};
use tollgate_engine::{DataError, Engine, EngineConfig, EngineError, FollowQuery, Followed, Identity, QueryError};
use tollgate_policies::Sources;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An engine and its directories.
pub(crate) struct Running {
    pub(crate) engine: Engine,
    pub(crate) dir: TempDir,
}

impl Running {
    /// An engine with the starter policies.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// The same with another configuration.
    pub(crate) async fn start_with(configure: impl FnOnce(&mut EngineConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Sources::starter().write(&dir.path().join("policies")).unwrap();
        let mut config = config(&dir);
        configure(&mut config);
        Self { engine: Engine::start(config).await.unwrap(), dir }
    }

    /// Ends the engine and starts another on the same data, with another configuration.
    pub(crate) async fn restart_with(self, configure: impl FnOnce(&mut EngineConfig)) -> Self {
        self.engine.shutdown().await;
        let Self { engine, dir } = self;
        drop(engine);
        let mut config = config(&dir);
        configure(&mut config);
        let mut restarted = Engine::start(config.clone()).await;
        // The threads of queries may hold the old engine for a moment.
        while matches!(restarted, Err(EngineError::Data(DataError::InUse { .. }))) {
            tokio::task::yield_now().await;
            restarted = Engine::start(config.clone()).await;
        }
        Self { engine: restarted.unwrap(), dir }
    }

    pub(crate) fn policies(&self) -> PathBuf {
        self.dir.path().join("policies")
    }

    pub(crate) fn write_policy(&self, path: &str, text: &str) {
        std::fs::write(self.policies().join(path), text).unwrap();
    }

    /// All rows of a query.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<RecordBatch> {
        self.try_rows(sql).await.unwrap()
    }

    pub(crate) async fn try_rows(&self, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        let reader = self.engine.reader(&Identity::anonymous()).await?;
        self.engine.query(&reader, sql).await?.batches.try_collect().await
    }

    /// Follows as whoever is not asked who they are.
    pub(crate) async fn follow(&self, query: FollowQuery) -> Result<Followed, QueryError> {
        let reader = self.engine.reader(&Identity::anonymous()).await?;
        self.engine.follow(&reader, query).await
    }

    /// The rows as a table.
    pub(crate) async fn table(&self, sql: &str) -> String {
        arrow::util::pretty::pretty_format_batches(&self.rows(sql).await).unwrap().to_string()
    }

    /// The one number that a query gives.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let rows = self.rows(sql).await;
        let column = arrow::compute::cast(rows[0].column(0), &arrow::datatypes::DataType::Int64).unwrap();
        arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&column).value(0)
    }

    /// Reports rows as `reporter`.
    pub(crate) async fn report(&self, reporter: &str, rows: &[Row<'_>]) {
        let session = self.engine.report(hello(reporter)).unwrap();
        let sequence = session.acknowledged().acknowledged_sequence + 1;
        let response = session.admit(v1::Batch { sequence, arrow_ipc: encode(rows).into() }).await;
        assert_eq!(response, v1::ReportResponse { acknowledged_sequence: sequence, rejections: vec![] });
    }
}

pub(crate) fn config(dir: &TempDir) -> EngineConfig {
    EngineConfig {
        data: dir.path().join("data"),
        policies: dir.path().join("policies"),
        signals_every: Duration::from_millis(100),
        policies_poll: Duration::from_millis(200),
        ..EngineConfig::default()
    }
}

/// Waits until a condition holds.
pub(crate) async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

pub(crate) fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
}

pub(crate) fn hello(reporter: &str) -> v1::ReportHello {
    v1::ReportHello { reporter: reporter.to_owned(), epoch: 1, agent: "test/1".to_owned() }
}

/// A request that was allowed just now.
pub(crate) fn request(reporter: &str) -> Row<'_> {
    Row {
        time: now_us(),
        reporter,
        direction: "inbound",
        source: "shop/storefront",
        destination: "shop/catalog",
        method: "GET",
        path: "/items",
        status: Some(200),
        duration_us: 1_000,
        decision: "allow",
        reason: "permitted",
        weight: 1,
        ..Row::default()
    }
}

pub(crate) fn encode(rows: &[Row<'_>]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX });
    for row in rows {
        let _ = builder.push(row);
    }
    tollgate_attributes::encode(&builder.finish().unwrap()).unwrap()
}
