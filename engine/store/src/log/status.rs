//! How the log is doing, for metrics and tables.

use std::time::Duration;

use parking_lot::Mutex;

/// Upper bounds of the buckets of [`LogStatus::sync_counts`], in microseconds; one more bucket has no bound.
pub const SYNC_BOUNDS_US: [u64; 9] = [250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000];

/// Whether what is acknowledged can be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DiskState {
    /// It can.
    #[default]
    Good,
    /// There is no room: acknowledgements wait until there is.
    Full {
        /// In the words of the system.
        reason: String,
    },
    /// Rows cannot be sealed, such as while the object store is away. They are kept in the log: acknowledgements go on until the
    /// bound on memory is reached.
    Behind {
        /// In the words of the store.
        reason: String,
    },
    /// Writing fails: acknowledgements wait until it works again.
    Failing {
        /// In the words of the system.
        reason: String,
    },
}

/// The log at one moment. Counts rise from 0 at the start of the process.
#[derive(Debug, Clone, Default)]
pub struct LogStatus {
    /// Whether it can be written.
    pub disk: DiskState,
    /// Records that wait to be written.
    pub waiting_records: usize,
    /// Bytes that wait to be written.
    pub waiting_bytes: usize,
    /// Segments on disk.
    pub segments: usize,
    /// Bytes of the segments on disk.
    pub segment_bytes: u64,
    /// Records that became durable.
    pub records: u64,
    /// Bytes that became durable.
    pub bytes: u64,
    /// Groups written; one sync each.
    pub syncs: u64,
    /// How many syncs took how long: see [`SYNC_BOUNDS_US`].
    pub sync_counts: [u64; SYNC_BOUNDS_US.len() + 1],
    /// Time that all syncs took.
    pub sync_time: Duration,
    /// Attempts to write or sync that failed.
    pub failures: u64,
}

impl LogStatus {
    fn synced(&mut self, records: usize, bytes: u64, took: Duration) {
        self.disk = DiskState::Good;
        self.records += records as u64;
        self.bytes += bytes;
        self.syncs += 1;
        self.sync_time += took;
        let bucket = SYNC_BOUNDS_US.iter().position(|bound_us| took <= Duration::from_micros(*bound_us));
        if let Some(count) = self.sync_counts.get_mut(bucket.unwrap_or(SYNC_BOUNDS_US.len())) {
            *count += 1;
        }
    }
}

/// What the writer tells about itself.
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<LogStatus>);

impl Counters {
    pub(super) fn synced(&self, records: usize, bytes: u64, took: Duration) {
        self.0.lock().synced(records, bytes, took);
    }

    /// Notes a failure; says whether the state is another one than before.
    pub(super) fn failed(&self, error: &std::io::Error) -> bool {
        let reason = error.to_string();
        let state = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => DiskState::Full { reason },
            _ => DiskState::Failing { reason },
        };
        let mut status = self.0.lock();
        status.failures += 1;
        std::mem::replace(&mut status.disk, state.clone()) != state
    }

    pub(super) fn disk(&self) -> DiskState {
        self.0.lock().disk.clone()
    }

    pub(super) fn get(&self) -> LogStatus {
        self.0.lock().clone()
    }
}
