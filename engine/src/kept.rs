//! What is kept: the store, with the table `requests` and the rollups of it, and the threads that look after it.

mod files;
mod remote;
mod retention;
mod rollups;
mod state;
mod tables;
mod uses;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use object_store::ObjectStore;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tollgate_store::{MemoryLimits, Record, SealedFile, Store, StoreError, StoreOptions, View};

pub use self::remote::{RemoteConfig, RemoteError};
pub use self::retention::RetentionConfig;
pub use self::rollups::SamplingConfig;
use self::rollups::{Counting, Rollups};
pub(crate) use self::state::StorageTables;
pub use self::state::{StorageState, StorageStatus};
pub(crate) use self::tables::{REQUESTS, specs};
pub(crate) use self::uses::CountedUses;
use crate::admission::{self, Arrival};
use crate::config::EngineConfig;
use crate::data::DataDir;
use crate::engine::EngineError;
use crate::sql::Views;

/// The store of a running engine.
pub(crate) struct Kept {
    pub(crate) store: Arc<Store>,
    pub(crate) counting: Arc<Counting>,
    runtime: Option<Runtime>,
    handle: Handle,
    /// The one place to look at files that queries could not read.
    examining: Arc<Semaphore>,
}

impl Kept {
    /// Opens the store, on threads of its own, and takes in again what the log holds beyond the sealed files.
    pub(crate) async fn open(config: &EngineConfig, dir: &DataDir) -> Result<Self, EngineError> {
        let mut threads = Builder::new_multi_thread();
        threads.worker_threads(1).max_blocking_threads(8).thread_name("tollgate-store").enable_all();
        let runtime = threads.build();
        let runtime = runtime.map_err(|error| EngineError::Queries(error.to_string()))?;
        let handle = runtime.handle().clone();
        let options = options(config, dir.path(), dir.id())?;
        let counting = Arc::<Counting>::default();
        let derive = Rollups::new(&config.sampling, &counting);
        let limits = config.admission;
        let rederive = move |record: &Record| {
            // As of when it arrived: what was admitted then is admitted again.
            let arrival = Arrival::at(&record.reporter, record.received_us);
            let rows = admission::admit(&record.payload, &limits, arrival).map_err(|refusal| refusal.to_string())?;
            Ok(vec![(REQUESTS, rows)])
        };
        let specs = specs(&config.retention);
        let opening = handle.spawn(async move { Store::open(options, specs, Box::new(derive), rederive).await });
        let (store, recovery) = opening.await.map_err(|_| StoreError::Stopping)??;
        for aside in &recovery.aside {
            let place = aside.moved_to.as_ref().map(|path| path.display().to_string());
            tracing::error!(file = aside.name, reason = aside.reason, rows = aside.rows, place, "set aside");
        }
        counting.restart_totals();
        Ok(Self { store, counting, runtime: Some(runtime), handle, examining: Arc::new(Semaphore::new(1)) })
    }

    /// Starts what has to be done all the time; it ends with `stop`.
    pub(crate) fn look_after(&self, stop: CancellationToken) -> tokio::task::JoinHandle<()> {
        self.handle.spawn(Arc::clone(&self.store).run(stop))
    }

    /// Takes no further rows, and returns when those that were taken are durable.
    pub(crate) async fn close(&self) {
        let store = Arc::clone(&self.store);
        // On the store's own threads, which sealing needs.
        let closed = self.handle.spawn(async move { store.close().await }).await;
        if let Ok(Err(error)) = closed {
            tracing::error!(%error, "the store was closed before everything was written");
        }
        self.counting.taps.close();
    }

    /// Threads for what may block and is no query.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Views for Kept {
    fn view(&self) -> Arc<View> {
        self.store.view()
    }

    fn objects(&self) -> Option<Arc<dyn ObjectStore>> {
        Some(self.store.object_store())
    }

    fn path(&self, file: &SealedFile) -> Option<PathBuf> {
        self.store.local_path(file)
    }

    fn examine(&self, files: Vec<Arc<SealedFile>>) -> BoxFuture<'static, bool> {
        let store = Arc::clone(&self.store);
        // On the store's own threads: a file is read whole. One query after the other, so that sealing keeps the rest of them, and
        // none for a query that nobody waits for any more.
        let (handle, examining) = (self.handle.clone(), Arc::clone(&self.examining));
        async move {
            let Ok(place) = examining.acquire_owned().await else { return false };
            let examined = handle.spawn(async move {
                let gone = store.examine(files).await;
                drop(place);
                gone
            });
            matches!(examined.await, Ok(Ok(true)))
        }
        .boxed()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, which is not allowed where tasks run.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// How the store is opened.
pub(crate) fn options(config: &EngineConfig, dir: &Path, engine: &str) -> Result<StoreOptions, EngineError> {
    let mut options = StoreOptions::new(dir.to_owned(), engine);
    options.remote = config.remote.as_ref().map(RemoteConfig::open).transpose()?;
    options.durability = config.durability;
    options.memory = MemoryLimits {
        hot_bytes: config.hot_bytes_max / 2,
        resident_bytes: config.hot_bytes_max / 2,
        seal_after: config.seal_after,
        seal_rows: config.seal_rows,
    };
    if let Some(disk) = &config.disk {
        options.disk = Arc::clone(disk);
    }
    Ok(options)
}
