//! Watches the policy directory.
//!
//! Events of the file system say that something changed, and a slow poll finds what no event told of. What counts is what
//! is in the files: a change is reported when their contents differ from what was reported last.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tollgate_policies::{Diagnostics, Sources};

/// Editors and `git` write several files: wait until it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(30);
/// Events that never end do not put a change off for longer than this many quiet times.
const QUIET_MAX: u32 = 10;

/// What is in the directory, or why it cannot be read.
pub(crate) type Contents = Result<Sources, Diagnostics>;

/// Watches one directory.
pub(crate) struct Watcher {
    dir: PathBuf,
    poll: Duration,
    reported: Contents,
    events: Arc<Notify>,
    /// Whatever is in the directory may have changed, also what is none of the contents.
    touched: Arc<Notify>,
    watched: Option<Watched>,
}

/// The events of one directory: when it is replaced by another of the same name, they have to be asked for anew.
struct Watched {
    identity: Option<Identity>,
    _events: RecommendedWatcher,
}

type Identity = (u64, u64);

impl Watcher {
    /// `reported` is what is known of the directory already.
    pub(crate) fn new(dir: &Path, poll: Duration, reported: Sources) -> Self {
        let (dir, reported, events, touched) = (dir.to_owned(), Ok(reported), Arc::default(), Arc::default());
        let mut watcher = Self { dir, poll, reported, events, touched, watched: None };
        watcher.watch_anew();
        watcher
    }

    /// Notified when something in the directory may have changed, and it has been quiet since.
    pub(crate) fn touched(&self) -> Arc<Notify> {
        Arc::clone(&self.touched)
    }

    /// The next contents that differ from the last.
    pub(crate) async fn changed(&mut self) -> Contents {
        let mut poll = interval(self.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = poll.tick() => self.watch_anew(),
                () = self.events.notified() => self.settle().await,
            }
            self.touched.notify_one();
            let contents = read(&self.dir).await;
            if contents != self.reported {
                self.reported = contents.clone();
                return contents;
            }
        }
    }

    /// Waits from the last event on: what came since the first has left its mark, and is no reason to read again.
    async fn settle(&self) {
        let end = Instant::now() + QUIET * QUIET_MAX;
        while timeout(QUIET, self.events.notified()).await.is_ok() && Instant::now() < end {}
    }

    fn watch_anew(&mut self) {
        let identity = identity(&self.dir);
        if identity.is_none() || self.watched.as_ref().is_some_and(|watched| watched.identity == identity) {
            return;
        }
        match watch(&self.dir, Arc::clone(&self.events)) {
            Ok(events) => self.watched = Some(Watched { identity, _events: events }),
            Err(error) => {
                let (dir, poll_ms) = (self.dir.display(), self.poll.as_millis());
                tracing::warn!(%dir, %error, poll_ms, "no events of the policy directory: it is read from time to time");
            }
        }
    }
}

fn watch(dir: &Path, events: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // Reading the directory is an event as well, and must not be an occasion to read it again.
        if event.map_or(true, |event| !event.kind.is_access()) {
            events.notify_one();
        }
    })?;
    watcher.watch(dir, RecursiveMode::Recursive)?;
    Ok(watcher)
}

#[cfg(unix)]
fn identity(dir: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(dir).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(dir: &Path) -> Option<Identity> {
    std::fs::metadata(dir).ok().map(|_| (0, 0))
}

async fn read(dir: &Path) -> Contents {
    let dir = dir.to_owned();
    let read = tokio::task::spawn_blocking(move || Sources::read(&dir)).await;
    // It fails only where the runtime is shutting down.
    read.unwrap_or_else(|_| Err(Diagnostics::default()))
}

#[cfg(test)]
mod tests;
