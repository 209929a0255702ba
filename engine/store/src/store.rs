//! The store as a whole: log, rows in memory and sealed files, as one view.
//!
//! A record takes room in memory, gets its place in the log, is synced, and is then published, in the order of positions: its
//! rows are visible, its mark is set, and its sender is told. Once a minute what is published becomes Parquet.

mod books;
mod core;
mod derive;
mod intake;
mod open;
mod options;
mod publisher;
mod residents;
mod sealing;
mod status;
mod taken;
mod upkeep;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::core::Core;
pub use self::derive::{Derive, Derived};
use self::intake::Offered;
pub use self::intake::{Appended, Ticket};
pub use self::open::Recovery;
pub use self::options::{Durability, MemoryLimits, StoreOptions};
use self::publisher::Pending;
pub use self::status::{SealStatus, StoreStatus};
use crate::error::StoreError;
use crate::log::Log;
use crate::marks::Standing;
use crate::sealed::Sealed;
use crate::table::TableSpec;
use crate::view::{Position, SealedFile, View};

/// Everything that is kept.
pub struct Store {
    core: Arc<Core>,
    log: Log<Pending>,
    /// Which batches have a place in the log, durable or not.
    offered: Mutex<Offered>,
    /// The last record that is published.
    published: watch::Receiver<Position>,
    publisher: Mutex<Option<JoinHandle<()>>>,
    durability: Durability,
}

impl Store {
    /// All tables as of the last record that was acknowledged, with what is derived.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        loop {
            let taken = match self.core.books.lock().complete(&self.core.view) {
                Ok(view) => return view,
                Err(taken) => taken,
            };
            // A seal is making rows of it, and nothing that arrives meanwhile waits for that.
            if let Err(error) = taken.make() {
                tracing::error!(%error, "requests were counted and cannot be shown");
                return self.core.view.load_full();
            }
        }
    }

    /// The same, without what is derived and not sealed yet: cheaper, for queries that read the first table only.
    #[must_use]
    pub fn stored_view(&self) -> Arc<View> {
        self.core.view.load_full()
    }

    /// What the store keeps, in the order of their indexes.
    #[must_use]
    pub fn tables(&self) -> &[TableSpec] {
        &self.core.tables
    }

    /// The sealed files: for `verify`, `export`, and setting aside what turns out to be damaged.
    #[must_use]
    pub fn sealed(&self) -> &Sealed {
        &self.core.sealed
    }

    /// Reads sealed files by their keys.
    #[must_use]
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        self.core.sealed.object_store()
    }

    /// Where a sealed file is, when it is on this machine.
    #[must_use]
    pub fn local_path(&self, file: &SealedFile) -> Option<PathBuf> {
        self.core.sealed.local_path(file)
    }

    /// The highest sequence number that is kept of a reporter's run; 0 when there is none.
    #[must_use]
    pub fn mark(&self, reporter: &str, epoch: u64) -> u64 {
        self.core.books.lock().marks().sequence(reporter, epoch)
    }

    /// Whether so many newer runs of a reporter are known that batches of this one are no longer taken.
    #[must_use]
    pub fn is_superseded(&self, reporter: &str, epoch: u64) -> bool {
        self.offered.lock().marks.standing(reporter, epoch, u64::MAX) == Standing::TooOld
    }

    /// Takes no further records, and returns when those that have a place in the log are kept, or cannot be. In memory alone,
    /// what is there is sealed.
    ///
    /// # Errors
    /// Nothing was lost that was acknowledged, unless rows are kept in memory only and cannot be sealed.
    pub async fn close(self: &Arc<Self>) -> Result<(), StoreError> {
        self.core.room.close();
        let store = Arc::clone(self);
        let drained = tokio::task::spawn_blocking(move || {
            store.log.close();
            let publisher = store.publisher.lock().take();
            publisher.is_none_or(|publisher| publisher.join().is_ok())
        });
        if !drained.await.unwrap_or(false) {
            tracing::error!("the thread that publishes rows broke off");
        }
        // A seal or a step of compaction that was begun goes on although nobody waits for it. Only then may the directory be
        // another engine's.
        drop(self.core.sealing.lock().await);
        self.core.sealed.settle().await?;
        match self.durability {
            Durability::Disk => Ok(()),
            Durability::Memory => self.seal_now().await,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
