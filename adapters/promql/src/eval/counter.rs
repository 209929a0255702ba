//! Counters that are kept as increments: how they grew is added up, never extrapolated.

use crate::source::{Increment, Increments, Samples};

/// Whether a function asks only how much a counter grew.
pub(super) fn is_growth(function: &str) -> bool {
    matches!(function, "rate" | "increase" | "irate")
}

/// The running total at the end of each interval; points as they are.
pub(super) fn into_points(samples: Samples) -> Vec<(i64, f64)> {
    match samples {
        Samples::Points(points) => points,
        Samples::Increments(counter) => {
            let mut total = counter.before;
            let sample = |interval: &Increment| {
                total += interval.by;
                (interval.end_ms, total)
            };
            counter.intervals.iter().map(sample).collect()
        }
    }
}

/// Growth of one counter over windows that follow each other.
pub(super) struct Growth<'a> {
    counter: &'a Increments,
    /// `totals[n]` is what the first `n` intervals add up to.
    totals: Vec<f64>,
    range_ms: i64,
    lookback_ms: i64,
}

impl<'a> Growth<'a> {
    pub(super) fn new(counter: &'a Increments, range_ms: i64, lookback_ms: i64) -> Self {
        let mut totals = Vec::with_capacity(counter.intervals.len() + 1);
        totals.push(0.0);
        let mut total = 0.0;
        totals.extend(counter.intervals.iter().map(|interval| {
            total += interval.by;
            total
        }));
        Self { counter, totals, range_ms, lookback_ms }
    }

    /// What `function` gives for the window that ends at this moment; nothing where the counter has long been idle.
    pub(super) fn at(&self, function: &str, time_ms: i64) -> Option<f64> {
        let begun = self.begun(time_ms);
        let newest = self.counter.intervals[..begun].last()?;
        if newest.end_ms < time_ms - self.range_ms.max(self.lookback_ms) {
            return None;
        }
        match function {
            "irate" => self.newest_rate(time_ms),
            "rate" => Some(self.increase(time_ms) * 1000.0 / self.range_ms as f64),
            _ => Some(self.increase(time_ms)),
        }
    }

    fn increase(&self, time_ms: i64) -> f64 {
        self.total(time_ms) - self.total(time_ms - self.range_ms)
    }

    /// Number of intervals that began before this moment.
    fn begun(&self, time_ms: i64) -> usize {
        self.counter.intervals.partition_point(|interval| interval.start_ms < time_ms)
    }

    /// What the counter had grown by until then. Growth is spread evenly over an interval that the moment divides.
    fn total(&self, time_ms: i64) -> f64 {
        let begun = self.begun(time_ms);
        let Some(last) = begun.checked_sub(1) else { return 0.0 };
        let interval = self.counter.intervals[last];
        let share = (time_ms - interval.start_ms) as f64 / length_ms(interval) as f64;
        if share >= 1.0 { self.totals[begun] } else { self.totals[last] + interval.by * share }
    }

    /// Rate of the newest complete interval, which may be an idle one.
    fn newest_rate(&self, time_ms: i64) -> Option<f64> {
        let limit_ms = time_ms.min(self.counter.complete_until_ms);
        let ended = self.counter.intervals.partition_point(|interval| interval.end_ms <= limit_ms);
        let newest = *self.counter.intervals[..ended].last()?;
        let is_idle_since = newest.end_ms + length_ms(newest) <= limit_ms;
        Some(if is_idle_since { 0.0 } else { newest.by * 1000.0 / length_ms(newest) as f64 })
    }
}

fn length_ms(interval: Increment) -> i64 {
    (interval.end_ms - interval.start_ms).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(increments: &[(i64, i64, f64)]) -> Increments {
        let interval = |&(start_ms, end_ms, by): &(i64, i64, f64)| Increment { start_ms, end_ms, by };
        Increments { before: 100.0, intervals: increments.iter().map(interval).collect(), complete_until_ms: i64::MAX }
    }

    #[test]
    fn growth_is_exact_and_not_extrapolated() {
        let counter = counter(&[(0, 1000, 5.0), (1000, 2000, 7.0), (5000, 6000, 1.0)]);
        let growth = Growth::new(&counter, 2000, 300_000);
        assert_eq!(growth.at("increase", 2000), Some(12.0));
        assert_eq!(growth.at("rate", 2000), Some(6.0));
        assert_eq!(growth.at("increase", 3000), Some(7.0));
        assert_eq!(growth.at("increase", 4500), Some(0.0));
        assert_eq!(growth.at("increase", 5500), Some(0.5), "half of an interval counts half");
        assert_eq!(growth.at("increase", 0), None, "it had not begun");
    }

    #[test]
    fn instant_rate_is_that_of_the_newest_complete_interval() {
        let mut counter = counter(&[(0, 1000, 5.0), (1000, 2000, 7.0)]);
        assert_eq!(Growth::new(&counter, 2000, 300_000).at("irate", 2500), Some(7.0));
        assert_eq!(Growth::new(&counter, 2000, 300_000).at("irate", 3000), Some(0.0), "a whole second without any");
        counter.complete_until_ms = 1500;
        assert_eq!(Growth::new(&counter, 2000, 300_000).at("irate", 2500), Some(5.0));
    }

    #[test]
    fn idle_counters_stay_at_zero_for_the_lookback_and_then_end() {
        let counter = counter(&[(0, 1000, 5.0)]);
        let growth = Growth::new(&counter, 2000, 300_000);
        assert_eq!(growth.at("rate", 301_000), Some(0.0));
        assert_eq!(growth.at("rate", 301_001), None);
    }

    #[test]
    fn totals_begin_with_what_was_before() {
        let counter = counter(&[(0, 1000, 5.0), (1000, 2000, 7.0)]);
        assert_eq!(into_points(Samples::Increments(counter)), [(1000, 105.0), (2000, 112.0)]);
    }
}
