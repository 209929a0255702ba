//! Fetches the lists that policies read, and keeps the last good ones: over failures of their sources, and over restarts.
//!
//! Bound: what [`Keeper`] takes, and eight fetches at a time. The engine reads files itself, below `lists/` of the policy
//! directory; whoever speaks HTTP is given with the configuration.

mod files;
mod stored;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tollgate_api::v1;
use tollgate_policies::lists::{Declaration, Keeper, Origin, Outcome};

pub(crate) use self::files::check as check_files;
use self::stored::Stored;
pub(crate) use self::table::ListsTable;
use crate::clock::WallTime;
use crate::metrics::Metrics;

/// Largest text of one list.
pub const LIST_BYTES_MAX: usize = 64 << 20;
/// Fetches under way at a time.
const FETCHES_MAX: usize = 8;
/// How soon publishing is tried again.
const PUBLISH_AGAIN: Duration = Duration::from_secs(1);
/// Longest sleep; whatever is due wakes earlier.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);

/// Fetches a list from its URL.
pub trait FetchList: std::fmt::Debug + Send + Sync {
    /// Ends by itself in bounded time, with at most [`LIST_BYTES_MAX`] bytes. `tag` is what came with the entries that are
    /// held. The error is for people, and names no secret.
    fn fetch(&self, url: String, tag: Option<String>) -> BoxFuture<'static, Result<FetchedList, String>>;
}

/// What a source said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchedList {
    /// The entries are those of the tag.
    Unchanged,
    /// Entries, one a line.
    Entries {
        /// As they came.
        bytes: Bytes,
        /// Tells them from others.
        tag: Option<String>,
    },
}

/// Lists by name, as reporters get them.
pub(crate) type PushedLists = BTreeMap<String, v1::List>;

/// The lists of one engine.
pub(crate) struct Lists {
    keeper: Mutex<Keeper>,
    /// Of the entries that are held.
    tags: Mutex<BTreeMap<String, String>>,
    /// Where policies are.
    dir: PathBuf,
    http: Option<Arc<dyn FetchList>>,
    stored: Stored,
    metrics: Arc<Metrics>,
    wake: Notify,
    /// Whether reporters are still to get the lists as they are.
    is_unpublished: Mutex<bool>,
    /// What [`Lists::now_ms`] counts from.
    started: (i64, Instant),
}

/// One fetch.
struct Fetch {
    declaration: Declaration,
    fetched: Result<FetchedList, String>,
}

impl Lists {
    pub(crate) fn new(
        policies: PathBuf,
        data: PathBuf,
        http: Option<Arc<dyn FetchList>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let started = (WallTime::now().us / 1_000, Instant::now());
        let (keeper, tags, is_unpublished) = <(Mutex<_>, Mutex<_>, Mutex<_>)>::default();
        let (stored, wake) = (Stored::new(data), Notify::new());
        Self { keeper, tags, dir: policies, http, stored, metrics, wake, is_unpublished, started }
    }

    /// Milliseconds since the epoch, by a clock that never goes back.
    fn now_ms(&self) -> u64 {
        let elapsed = i64::try_from(self.started.1.elapsed().as_millis()).unwrap_or(i64::MAX);
        u64::try_from(self.started.0.saturating_add(elapsed)).unwrap_or(0)
    }

    /// Takes the lists of a directory, and reads at once what can be: files, and what was kept of an earlier run. Blocks on disk.
    pub(crate) fn declare(&self, declarations: &[Declaration]) {
        let mut keeper = self.keeper.lock();
        keeper.declare(declarations.to_vec(), self.now_ms());
        let held: BTreeSet<_> = keeper.held().collect();
        self.tags.lock().retain(|name, _| held.contains(name.as_str()));
        for declaration in declarations {
            if let Origin::File(file) = &declaration.origin {
                self.take(&mut keeper, declaration, files::read(&self.dir, file));
            }
            if !keeper.held().any(|name| name == declaration.name)
                && let Some((bytes, fetched_ms)) = self.stored.read(declaration)
            {
                keeper.restore(&declaration.name, &bytes, fetched_ms);
            }
        }
        self.stored.retain(declarations);
        self.metrics.lists(keeper.states(self.now_ms()).map(|(_, state)| state));
        drop(keeper);
        self.wake.notify_one();
    }

    /// Something in the policy directory changed: files are read again.
    pub(crate) fn touched(&self) -> bool {
        let mut keeper = self.keeper.lock();
        let files: Vec<_> =
            keeper.declarations().filter(|list| matches!(list.origin, Origin::File(_))).cloned().collect();
        let mut has_changed = false;
        for declaration in files {
            let Origin::File(file) = &declaration.origin else { continue };
            has_changed |= self.take(&mut keeper, &declaration, files::read(&self.dir, file)) == Outcome::Changed;
        }
        has_changed
    }

    /// Hands on the last good entries of every list, one time after the other, so that no older state follows a newer one. What fails
    /// is tried again by [`Lists::run`].
    pub(crate) fn publish<T, E>(&self, publish: impl FnOnce(PushedLists) -> Result<T, E>) -> Result<T, E> {
        let mut is_unpublished = self.is_unpublished.lock();
        let lists = self.keeper.lock().lists().map(|list| (list.name.clone(), list)).collect();
        let published = publish(lists);
        *is_unpublished = published.is_err();
        if *is_unpublished {
            self.wake.notify_one();
        }
        published
    }

    /// Fetches what is due, for ever, and calls `changed` when a list is another one, or could not be published before.
    pub(crate) async fn run(self: Arc<Self>, changed: impl Fn()) {
        let mut fetches = JoinSet::new();
        let mut under_way = BTreeSet::new();
        loop {
            self.start(&mut fetches, &mut under_way);
            let now_ms = self.now_ms();
            let next_ms = self.keeper.lock().next_due_ms(|name| under_way.contains(name));
            let is_full = under_way.len() >= FETCHES_MAX;
            let sleep =
                next_ms.filter(|_| !is_full).map_or(SLEEP_MAX, |due| Duration::from_millis(due.saturating_sub(now_ms)));
            let longest = if *self.is_unpublished.lock() { PUBLISH_AGAIN } else { SLEEP_MAX };
            tokio::select! {
                Some(fetch) = fetches.join_next() => {
                    // A fetch that broke off is under way no more, and due.
                    let Ok(Fetch { declaration, fetched }) = fetch else { under_way.clear(); continue };
                    under_way.remove(&declaration.name);
                    if self.arrived(declaration, fetched).await == Outcome::Changed {
                        changed();
                    }
                }
                () = self.wake.notified() => {}
                () = tokio::time::sleep(sleep.min(longest)) => {
                    let is_unpublished = *self.is_unpublished.lock();
                    if is_unpublished {
                        changed();
                    }
                }
            }
        }
    }

    fn start(&self, fetches: &mut JoinSet<Fetch>, under_way: &mut BTreeSet<String>) {
        let due: Vec<_> = self.keeper.lock().due(self.now_ms()).cloned().collect();
        for declaration in due {
            if under_way.len() >= FETCHES_MAX || !under_way.insert(declaration.name.clone()) {
                continue;
            }
            let (http, dir) = (self.http.clone(), self.dir.clone());
            let tag = self.tags.lock().get(&declaration.name).cloned();
            fetches.spawn(async move {
                let fetched = match (&declaration.origin, http) {
                    (Origin::File(file), _) => {
                        let file = file.clone();
                        let read = tokio::task::spawn_blocking(move || files::read(&dir, &file)).await;
                        read.unwrap_or_else(|_| Err("reading broke off".to_owned()))
                    }
                    (Origin::Url(url), Some(http)) => http.fetch(url.clone(), tag).await,
                    (Origin::Url(_), None) => Err("nothing here fetches from URLs".to_owned()),
                };
                Fetch { declaration, fetched }
            });
        }
    }

    /// Reads what has come, away from whatever else runs: a list may be large.
    async fn arrived(self: &Arc<Self>, declaration: Declaration, fetched: Result<FetchedList, String>) -> Outcome {
        let lists = Arc::clone(self);
        let take = move || {
            let mut keeper = lists.keeper.lock();
            // Declared otherwise meanwhile: it is due again.
            if !keeper.declarations().any(|known| *known == declaration) {
                return Outcome::Unchanged;
            }
            lists.take(&mut keeper, &declaration, fetched)
        };
        tokio::task::spawn_blocking(take).await.unwrap_or(Outcome::Failed)
    }

    fn take(&self, keeper: &mut Keeper, declaration: &Declaration, fetched: Result<FetchedList, String>) -> Outcome {
        let (name, now_ms) = (&declaration.name, self.now_ms());
        let outcome = match fetched {
            Ok(FetchedList::Unchanged) => keeper.unchanged(name, now_ms),
            Ok(FetchedList::Entries { bytes, tag }) => {
                let outcome = keeper.fetched(name, Ok(&bytes), now_ms);
                if outcome != Outcome::Failed {
                    self.note(declaration, &bytes, tag, outcome, now_ms);
                }
                outcome
            }
            Err(problem) => keeper.fetched(name, Err(problem), now_ms),
        };
        self.metrics.list_refreshed(outcome);
        self.metrics.lists(keeper.states(now_ms).map(|(_, state)| state));
        let state = keeper.states(now_ms).map(|(_, state)| state).find(|state| state.name == *name);
        match (outcome, state) {
            (Outcome::Failed, Some(state)) => {
                let problem = state.problem.unwrap_or_default();
                tracing::warn!(
                    list = name,
                    problem,
                    entries = state.entries,
                    "a list cannot be refreshed: the last good one holds"
                );
            }
            (Outcome::Changed, Some(state)) => tracing::info!(list = name, entries = state.entries, "list in force"),
            _ => {}
        }
        outcome
    }

    fn note(&self, declaration: &Declaration, bytes: &Bytes, tag: Option<String>, outcome: Outcome, now_ms: u64) {
        let mut tags = self.tags.lock();
        match tag {
            Some(tag) => drop(tags.insert(declaration.name.clone(), tag)),
            None => drop(tags.remove(&declaration.name)),
        }
        drop(tags);
        // A file is looked at whenever anything beside it changes.
        if matches!(declaration.origin, Origin::Url(_)) || outcome == Outcome::Changed {
            self.stored.write(declaration, bytes, now_ms);
        }
    }
}
