//! Streams rows to the engine: [`Recorder`] collects them on a worker's thread, the outbox keeps them within a bound, and
//! [`Reporting::run`] sends them until they are acknowledged. A request never waits for any of it.

mod outbox;
mod recorder;
mod stream;

pub use outbox::{OutboxState, RowLosses};
pub use recorder::{Recorded, Recorder};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;
use tollgate_attributes::BatchLimits;

use crate::engine_channel::EngineAddress;
use outbox::Outbox;

/// Who reports, to whom, and how much may wait.
#[derive(Debug, Clone)]
pub struct ReportingConfig {
    /// The engine.
    pub engine: EngineAddress,
    /// Name of the reporter, unique in the fleet.
    pub reporter: String,
    /// Microseconds since the epoch at the start of this run.
    pub epoch: u64,
    /// Software and version.
    pub agent: String,
    /// When a recorder's batch is full.
    pub batch: BatchLimits,
    /// Most bytes of encoded batches that wait, of all recorders together. Beyond it the oldest batch that was never sent is
    /// dropped and counted.
    pub bytes_max: usize,
}

/// The way of rows from this process to the engine. Cheap to clone.
#[derive(Clone)]
pub struct Reporting {
    shared: Arc<Shared>,
}

struct Shared {
    config: ReportingConfig,
    outbox: Outbox,
    is_connected: AtomicBool,
}

impl Reporting {
    /// Nothing is sent before [`Reporting::run`].
    #[must_use]
    pub fn new(config: ReportingConfig) -> Self {
        let outbox = Outbox::new(config.bytes_max);
        Self { shared: Arc::new(Shared { config, outbox, is_connected: AtomicBool::new(false) }) }
    }

    /// A recorder for one thread.
    #[must_use]
    pub fn recorder(&self) -> Recorder {
        Recorder::new(self.clone())
    }

    /// Sends batches and takes acknowledgements until `stop`; reconnects with backoff for as long as it takes.
    ///
    /// After `stop` it goes on until everything is acknowledged; drop the future to give up earlier.
    pub async fn run(&self, stop: CancellationToken) {
        stream::run(self, stop).await;
    }

    /// What waits, and what became of the rest.
    #[must_use]
    pub fn state(&self) -> OutboxState {
        self.shared.outbox.state()
    }

    /// Whether the engine is taking batches at this moment.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.is_connected.load(Ordering::Relaxed)
    }

    fn set_connected(&self, is_connected: bool) {
        self.shared.is_connected.store(is_connected, Ordering::Relaxed);
    }
}
