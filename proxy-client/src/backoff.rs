//! When to try again: exponential backoff with full jitter, so that a fleet does not come back all at once.

use std::time::Duration;

const BASE: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(5);

/// Waits between attempts that fail one after another.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait: anything up to a ceiling that doubles from 100 ms to 5 s.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let ceiling = BASE.saturating_mul(1 << self.failures.min(16)).min(CAP);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(fastrand::f64())
    }

    /// An attempt has succeeded.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_below_a_ceiling_that_doubles_to_a_cap() {
        let mut backoff = Backoff::default();
        for ceiling_ms in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            assert!(backoff.next_wait() <= Duration::from_millis(ceiling_ms));
        }
        backoff.reset();
        assert!(backoff.next_wait() <= BASE);
    }
}
