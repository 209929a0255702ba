//! Time, in a form that tests can pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock and a wall clock. Clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System { start: Instant },
    Paused { monotonic_ns: Arc<AtomicU64>, wall_start_us: i64 },
}

impl Clock {
    /// The machine's own clocks. The monotonic one starts now.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System { start: Instant::now() })
    }

    /// A clock that stands still until [`Clock::advance`] moves it: the monotonic one at 0, the wall clock at
    /// `wall_us` microseconds since the epoch.
    #[must_use]
    pub fn paused(wall_us: i64) -> Self {
        Self(Source::Paused { monotonic_ns: Arc::new(AtomicU64::new(0)), wall_start_us: wall_us })
    }

    /// Moves a paused clock, and all its clones. The system's clock moves by itself and is left alone.
    pub fn advance(&self, by: Duration) {
        if let Source::Paused { monotonic_ns, .. } = &self.0 {
            monotonic_ns.fetch_add(saturating_u64(by.as_nanos()), Ordering::AcqRel);
        }
    }

    /// Nanoseconds since some moment in the past; never goes back.
    #[must_use]
    pub fn monotonic_ns(&self) -> u64 {
        match &self.0 {
            Source::System { start } => saturating_u64(start.elapsed().as_nanos()),
            Source::Paused { monotonic_ns, .. } => monotonic_ns.load(Ordering::Acquire),
        }
    }

    /// Milliseconds since the same moment: what `WatchRequest.sent_ms` carries and leases expire by.
    #[must_use]
    pub fn monotonic_ms(&self) -> u64 {
        self.monotonic_ns() / 1_000_000
    }

    /// Microseconds since the epoch, UTC.
    #[must_use]
    pub fn wall_us(&self) -> i64 {
        match &self.0 {
            Source::System { .. } => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
            Source::Paused { monotonic_ns, wall_start_us } => {
                let since_us = monotonic_ns.load(Ordering::Acquire) / 1_000;
                wall_start_us.saturating_add_unsigned(since_us)
            }
        }
    }
}

fn saturating_u64(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
