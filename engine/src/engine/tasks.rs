//! The engine's tasks: each ends when the engine is told to stop.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};
use tollgate_policies::{Diagnostics, Sources};
use tracing::Instrument as _;

use super::{Engine, Inner};
use crate::book::{Loaded, load};
use crate::clock::WallTime;
use crate::signals::SignalFile;
use crate::watcher::Watcher;

/// How often reporters are looked through for those that are gone, and the store is asked how it does.
const UPKEEP: Duration = Duration::from_millis(500);
/// Pause before good policies that could not be put in force are tried again.
const IN_FORCE_RETRY: Duration = Duration::from_secs(1);

type Files = Arc<Vec<Arc<SignalFile>>>;

impl Engine {
    pub(super) fn spawn_tasks(&self, sources: Sources, loaded: Arc<Loaded>) {
        let (files_sender, files) = watch::channel(Arc::clone(&loaded.signals));
        let inner = &self.inner;
        let watcher = Watcher::new(&inner.config.policies, inner.config.policies_poll, sources);
        self.spawn("list-files", Arc::clone(inner).follow_list_files(watcher.touched()));
        self.spawn("lists", Arc::clone(inner).fetch_lists());
        self.spawn("policies", Arc::clone(inner).watch_policies(watcher, files_sender));
        self.spawn("signals", Arc::clone(inner).run_signals(files));
        self.spawn("upkeep", Arc::clone(inner).upkeep());
        // It stops by itself; what it has begun ends first.
        let keeping = inner.kept.look_after(inner.stop.clone());
        self.inner.tasks.lock().spawn(async move { drop(keeping.await) });
        let fleet = Arc::clone(&inner.outlet.fleet);
        self.spawn("leases", async move { fleet.run().await });
        let checking = Arc::clone(inner);
        self.spawn("check", async move { checking.checker.run().await });
    }

    pub(super) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.inner.stop.clone();
        let stoppable = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        };
        self.inner.tasks.lock().spawn(stoppable.instrument(tracing::info_span!("engine", task = name)));
    }
}

impl Inner {
    async fn watch_policies(self: Arc<Self>, mut watcher: Watcher, files: watch::Sender<Files>) {
        loop {
            let contents = watcher.changed().await;
            match self.load(contents).await {
                Ok(loaded) => {
                    let loaded = Arc::new(loaded);
                    self.declare_lists(&loaded).await;
                    while let Err(error) = self.put_in_force(&loaded) {
                        tracing::error!(%error, "new policies cannot be put in force until this is mended");
                        tokio::time::sleep(IN_FORCE_RETRY).await;
                    }
                    // The same go on in their rhythm.
                    files.send_if_modified(|files| {
                        let is_other = !Arc::ptr_eq(files, &loaded.signals);
                        *files = Arc::clone(&loaded.signals);
                        is_other
                    });
                    let (policies, digest) = (loaded.compiled.policies.len(), loaded.compiled.digest.as_str());
                    tracing::info!(policies, digest, "policies in force");
                    loaded.compiled.warnings.0.iter().for_each(|warning| tracing::warn!(%warning, "policy warning"));
                }
                Err(diagnostics) => {
                    self.metrics.policies_refused();
                    let each = diagnostics.0.iter();
                    each.for_each(
                        |problem| tracing::warn!(%problem, "policy change refused: the last good one stays in force"),
                    );
                    self.book.refuse(diagnostics);
                }
            }
        }
    }

    /// Checks what is in the directory, on a thread of its own.
    async fn load(self: &Arc<Self>, contents: Result<Sources, Diagnostics>) -> Result<Loaded, Diagnostics> {
        let sources = contents?;
        if sources.data.is_none() && self.access.has_policies() {
            let message = "the directory `data` is gone, without which everybody reads everything";
            let problem = tollgate_policies::Diagnostic::error("TG1003", "", message);
            return Err(Diagnostics(vec![problem.help("restart the engine if that is meant, or keep the directory")]));
        }
        let inner = Arc::clone(self);
        let load = async move {
            let (config, before) = (&inner.config, inner.book.loaded());
            let context = inner.queries.own_context();
            load(context, &sources, &config.mode, config.signals_every, before.as_deref()).await
        };
        // It fails only where the engine is shutting down, or the compiler broke off: the last good policies stay.
        self.queries.loads_handle().spawn(load).await.unwrap_or_else(|error| {
            let problem = tollgate_policies::Diagnostic::error("TG0500", "", format!("cannot be checked: {error}"));
            Err(Diagnostics(vec![problem]))
        })
    }

    /// Lists first, so that policies that read new ones find them.
    async fn declare_lists(&self, loaded: &Arc<Loaded>) {
        let (lists, loaded) = (Arc::clone(&self.lists), Arc::clone(loaded));
        let declare = tokio::task::spawn_blocking(move || lists.declare(&loaded.compiled.lists));
        // It fails only where the engine is shutting down.
        drop(declare.await);
    }

    async fn fetch_lists(self: Arc<Self>) {
        Arc::clone(&self.lists).run(|| self.publish_lists()).await;
    }

    /// A list that is a file beside the policies is in force as soon as it is saved.
    async fn follow_list_files(self: Arc<Self>, touched: Arc<Notify>) {
        loop {
            touched.notified().await;
            let lists = Arc::clone(&self.lists);
            if tokio::task::spawn_blocking(move || lists.touched()).await.unwrap_or(false) {
                self.publish_lists();
            }
        }
    }

    fn publish_lists(&self) {
        if let Err(error) = self.lists.publish(|lists| self.outlet.publisher.set_lists(lists)) {
            tracing::error!(%error, "lists cannot be pushed until this is mended");
        }
    }

    async fn run_signals(self: Arc<Self>, files: watch::Receiver<Files>) {
        let publish = |signals| {
            if let Err(error) = self.outlet.publisher.set_signals(signals) {
                tracing::error!(%error, "signals cannot be pushed until this is mended");
            }
        };
        self.scheduler.run(files, publish).await;
    }

    async fn upkeep(self: Arc<Self>) {
        let mut ticks = interval(UPKEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.outlet.reporters.expire(WallTime::now());
            let (store, counting) = (Arc::clone(&self.kept.store), Arc::clone(&self.kept.counting));
            let metrics = Arc::clone(&self.metrics);
            let note = move || metrics.storage(&store.status(), &counting.status());
            if let Err(error) = self.kept.handle().spawn_blocking(note).await {
                tracing::debug!(%error, "the store's metrics were left out");
            }
        }
    }
}
