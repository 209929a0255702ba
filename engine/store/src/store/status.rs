//! How the store is doing, for metrics and tables.

use std::time::{Duration, Instant};

use super::Store;
use super::upkeep::now_us;
use crate::error::StoreError;
use crate::log::{DiskState, LogStatus};
use crate::sealed::SealedStatus;
use crate::view::Position;

/// The store at one moment.
#[derive(Debug, Clone)]
pub struct StoreStatus {
    /// The last record that is published.
    pub position: Position,
    /// The last record that is sealed.
    pub sealed_through: Position,
    /// Rows that are not sealed.
    pub hot_rows: u64,
    /// Memory of what is not sealed, with what waits for the log.
    pub hot_bytes: usize,
    /// Its bound.
    pub hot_bytes_max: usize,
    /// Age of the oldest row that is not sealed.
    pub seal_lag: Duration,
    /// Memory of sealed rows.
    pub resident_bytes: usize,
    /// Reporters whose marks are remembered.
    pub reporters: usize,
    /// The log.
    pub log: LogStatus,
    /// Sealing since the start of the process.
    pub seals: SealStatus,
    /// Files.
    pub sealed: SealedStatus,
    /// Why nothing is published any more, if the thread that does so has panicked.
    pub broken: Option<String>,
    /// Bytes free where the data directory is, if the system says so.
    pub free_bytes: Option<u64>,
}

/// Sealing since the start of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SealStatus {
    /// Seals that went well.
    pub done: u64,
    /// Seals that failed.
    pub failed: u64,
    /// Time that all took.
    pub time: Duration,
    /// Why the last one failed, until one goes well.
    pub failure: Option<String>,
    /// Whether it failed because there was no room.
    pub is_full: bool,
}

impl SealStatus {
    pub(super) fn ended(&mut self, took: Duration, error: Option<&StoreError>) {
        self.time += took;
        self.is_full = error.is_some_and(StoreError::is_full);
        self.failure = error.map(ToString::to_string);
        if error.is_some() {
            self.failed += 1;
        } else {
            self.done += 1;
        }
    }
}

impl StoreStatus {
    /// Whether what comes is kept: whether it is published, the log's state, or, when that is well, that of sealing.
    #[must_use]
    pub fn disk(&self) -> DiskState {
        disk_state(self.broken.as_deref(), &self.log.disk, &self.seals)
    }
}

fn disk_state(broken: Option<&str>, log: &DiskState, seals: &SealStatus) -> DiskState {
    match (broken, log, &seals.failure) {
        (Some(reason), ..) => DiskState::Failing { reason: format!("rows are no longer published: {reason}") },
        (_, DiskState::Good, Some(reason)) if seals.is_full => DiskState::Full { reason: reason.clone() },
        (_, DiskState::Good, Some(reason)) => DiskState::Behind { reason: reason.clone() },
        (_, state, _) => state.clone(),
    }
}

impl Store {
    /// Whether what comes is kept, as [`StoreStatus::disk`] says. For whoever asks often or must have an answer: it takes no
    /// lock that is held during input or output, and asks nothing of the file system.
    #[must_use]
    pub fn disk(&self) -> DiskState {
        disk_state(self.core.breakage.reason(), &self.log.disk(), &self.core.seals.lock())
    }

    /// How the store is doing. May wait for a disk: the manifest is looked at, and the file system asked for its room.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let core = &self.core;
        let (position, sealed_through, (hot_rows, oldest), reporters) = {
            let books = core.books.lock();
            (books.position(), books.sealed_through(), books.unsealed(), books.marks().reporters())
        };
        StoreStatus {
            position,
            sealed_through,
            hot_rows,
            hot_bytes: core.room_taken_bytes(),
            hot_bytes_max: core.limits.hot_bytes,
            seal_lag: oldest.map_or(Duration::ZERO, |oldest: Instant| oldest.elapsed()),
            resident_bytes: core.residents.lock().bytes(),
            reporters,
            log: self.log.status(),
            seals: core.seals.lock().clone(),
            sealed: core.sealed.status(now_us()),
            broken: core.breakage.reason().map(str::to_owned),
            free_bytes: self.free_bytes(),
        }
    }
}
