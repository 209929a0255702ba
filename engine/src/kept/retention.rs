//! How long each table is kept.

use std::time::Duration;

use tollgate_store::Retention;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long each table is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Single requests.
    pub requests: Retention,
    /// Requests counted by second.
    pub traffic_1s: Retention,
    /// By minute, and so policies' requests.
    pub traffic_1m: Retention,
    /// By hour.
    pub traffic_1h: Retention,
}

impl Default for RetentionConfig {
    /// Requests 7 days; counts by second 1 day, by minute 30 days, by hour 400 days.
    fn default() -> Self {
        let days = |days: u32| Retention { age: Some(DAY * days), bytes: None };
        Self { requests: days(7), traffic_1s: days(1), traffic_1m: days(30), traffic_1h: days(400) }
    }
}
