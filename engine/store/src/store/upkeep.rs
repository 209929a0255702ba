//! What has to be done all the time: sealing, compaction, retention.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use super::Store;
use crate::SealedFile;
use crate::sealed::State;

/// How often small batches are put together and the bounds of sealing looked at.
const TICK: Duration = Duration::from_millis(500);
/// How long to wait after a seal that failed: doubled each time, up to the other one.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// How often files are looked at when there is nothing to compact.
const FILES_TICK: Duration = Duration::from_secs(10);

impl Store {
    /// Looks after the store until told to stop: seals what is old, much, or in the way; compacts; removes what is too old.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let work = async { tokio::join!(self.keep_sealing(), self.keep_files()) };
        tokio::select! {
            () = stop.cancelled() => {}
            _ = work => {}
        }
    }

    async fn keep_sealing(self: &Arc<Self>) {
        let mut failed: Option<(Instant, Duration)> = None;
        loop {
            let _ = tokio::time::timeout(TICK, self.core.pressed.notified()).await;
            let store = Arc::clone(self);
            if let Err(error) = tokio::task::spawn_blocking(move || store.coalesce()).await {
                tracing::debug!(%error, "small batches were not put together");
            }
            if !self.is_seal_due() || failed.is_some_and(|(at, wait)| at.elapsed() < wait) {
                continue;
            }
            failed = match self.seal_now().await {
                Ok(()) => None,
                Err(error) => {
                    let wait = failed.map_or(RETRY.0, |(_, wait)| (wait * 2).min(RETRY.1));
                    tracing::error!(%error, ?wait, "rows cannot be sealed: they stay in log and memory, and it is tried again");
                    Some((Instant::now(), wait))
                }
            };
        }
    }

    fn is_seal_due(&self) -> bool {
        let limits = self.core.limits;
        let (rows, oldest) = self.core.books.lock().unsealed();
        let is_old = oldest.is_some_and(|oldest| oldest.elapsed() >= limits.seal_after);
        is_old || rows >= limits.seal_rows || self.core.room_taken_bytes() > limits.hot_bytes / 2
    }

    async fn keep_files(self: &Arc<Self>) {
        loop {
            match self.look_after_files().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "files could not be compacted or removed: it is tried again"),
            }
            tokio::time::sleep(FILES_TICK).await;
        }
    }

    /// One step of compaction and retention; says whether there may be more to compact. Goes on when the future is
    /// dropped, but for showing what has changed.
    ///
    /// # Errors
    /// Files or manifest could not be read or written: it can be tried again.
    pub async fn look_after_files(&self) -> Result<bool, crate::StoreError> {
        let expired = self.core.sealed.expire(now_us()).await?;
        if !expired.is_empty() {
            self.refresh();
        }
        drop(expired);
        self.compact().await
    }

    /// One step of compaction alone: it removes no row. Says whether there may be more to compact. Goes on when the future is
    /// dropped, but for showing what has changed.
    ///
    /// # Errors
    /// As [`Sealed::compact_step`](crate::Sealed::compact_step): it can be tried again.
    pub async fn compact(&self) -> Result<bool, crate::StoreError> {
        let compacted = self.core.sealed.compact_step(now_us()).await;
        // Also after an error: a file may have been set aside, which a view must not list any more.
        if !matches!(compacted, Ok(None)) {
            self.refresh();
        }
        let is_compacted = compacted?.is_some();
        self.core.sealed.sweep().await?;
        Ok(is_compacted)
    }

    /// Looks at files that a query could not read, and no longer serves those that are damaged, not there, or of a newer version.
    /// Says whether there was one.
    ///
    /// # Errors
    /// [`StoreError::Stopping`](crate::StoreError::Stopping) only.
    pub async fn examine(&self, files: Vec<Arc<SealedFile>>) -> Result<bool, crate::StoreError> {
        let examine = move |state: &State| {
            let (listed, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| state.is_listed(file));
            // Where another query has found out, nothing need be read.
            let gone: Vec<_> = others.into_iter().filter(|file| state.is_aside(file)).collect();
            if !gone.is_empty() {
                return Ok(gone);
            }
            Ok(listed.into_iter().filter(|file| state.examine(file)).collect())
        };
        let gone: Vec<Arc<SealedFile>> = self.core.sealed.blocking(examine).await?;
        // At once, also while a seal is under way.
        self.core.books.lock().leave_out(&gone, &self.core.view);
        Ok(!gone.is_empty())
    }

    /// Shows the files that are listed now.
    pub fn refresh(&self) {
        self.core.books.lock().refresh(&self.core.sealed.files(), &self.core.view);
    }
}

pub(super) fn now_us() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}
