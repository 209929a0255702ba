//! What the parts of the store share, whichever thread they are on.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use super::books::Books;
use super::options::MemoryLimits;
use super::residents::Residents;
use super::status::SealStatus;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::sealed::Sealed;
use crate::table::TableSpec;
use crate::view::View;

/// One unit of [`Core::room`].
pub(super) const ROOM_UNIT_BYTES: usize = 1024;

/// Rows that are published, and where they go.
pub(super) struct Core {
    /// The data directory.
    pub(super) dir: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) tables: Arc<Vec<TableSpec>>,
    pub(super) limits: MemoryLimits,
    pub(super) sealed: Sealed,
    /// The lock of publication.
    pub(super) books: Mutex<Books>,
    /// What is published, but for what is derived.
    pub(super) view: ArcSwap<View>,
    /// What is left of the bound on memory. Records take of it before they get a place in the log, and give it back when they
    /// are sealed: so senders wait while sealing cannot keep up, or the disk is full.
    pub(super) room: Semaphore,
    /// Somebody waits for room.
    pub(super) pressed: Notify,
    pub(super) residents: Mutex<Residents>,
    pub(super) seals: Mutex<SealStatus>,
    /// Held while sealing: one seal at a time.
    pub(super) sealing: tokio::sync::Mutex<()>,
    pub(super) breakage: Breakage,
}

/// Why rows are no longer published, once they are not: the thread that does so has panicked, and may have left `books` with
/// half a batch. Only the next process publishes again, from what the log holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Breakage(Arc<OnceLock<String>>);

impl Breakage {
    pub(super) fn note(&self, reason: String) {
        tracing::error!(reason, "the thread that publishes rows broke off: nothing is acknowledged until a restart");
        let _ = self.0.set(reason);
    }

    pub(super) fn reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.reason().map_or(Ok(()), |reason| Err(StoreError::Broken { reason: reason.to_owned() }))
    }

    /// Why something ended before its time.
    pub(super) fn or_stopping(&self) -> StoreError {
        self.check().err().unwrap_or(StoreError::Stopping)
    }
}

impl Core {
    /// All of the room.
    pub(super) fn room_all(&self) -> usize {
        (self.limits.hot_bytes / ROOM_UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize))
    }

    /// What a record of so many bytes takes. One that is larger than the bound takes all of it, and is alone.
    pub(super) fn charge(&self, bytes: usize) -> u32 {
        bytes.div_ceil(ROOM_UNIT_BYTES).clamp(1, self.room_all()) as u32
    }

    /// Bytes of the bound that are taken.
    pub(super) fn room_taken_bytes(&self) -> usize {
        self.room_all().saturating_sub(self.room.available_permits()) * ROOM_UNIT_BYTES
    }
}
