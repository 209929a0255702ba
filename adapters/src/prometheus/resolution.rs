//! Which rollup answers: the coarsest that the question allows, and that is still kept for its span.

use tollgate_promql::Selection;

/// One of the three rollups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resolution {
    pub(super) table: &'static str,
    pub(super) interval_ms: i64,
}

pub(super) const SECONDS: Resolution = Resolution { table: "traffic_1s", interval_ms: 1_000 };
pub(super) const MINUTES: Resolution = Resolution { table: "traffic_1m", interval_ms: 60_000 };
pub(super) const HOURS: Resolution = Resolution { table: "traffic_1h", interval_ms: 3_600_000 };

/// Seconds are read for questions about this much of the past, whatever their retention; older ones get minutes.
const SECONDS_SPAN_MS: i64 = 30 * 60 * 1_000;
/// Minutes for this much.
const MINUTES_SPAN_MS: i64 = 48 * 3_600 * 1_000;

const WINDOW_INTERVALS: i64 = 10;

impl Resolution {
    /// For one selection, asked at `now_ms`. A window holds at least ten intervals, a step one.
    pub(super) fn of(selection: &Selection, now_ms: i64) -> Self {
        let finest = match (selection.range_ms, selection.step_ms) {
            (Some(range), step) if step > 0 => (range / WINDOW_INTERVALS).min(step),
            (Some(range), _) => range / WINDOW_INTERVALS,
            (None, step) if step > 0 => step,
            (None, _) => SECONDS.interval_ms,
        };
        let age_ms = now_ms - selection.start_ms;
        let by_window = match finest {
            finest if finest >= HOURS.interval_ms => HOURS,
            finest if finest >= MINUTES.interval_ms => MINUTES,
            _ => SECONDS,
        };
        let by_age = match age_ms {
            age if age > MINUTES_SPAN_MS => HOURS,
            age if age > SECONDS_SPAN_MS => MINUTES,
            _ => SECONDS,
        };
        if by_age.interval_ms > by_window.interval_ms { by_age } else { by_window }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarsest_that_fits_is_read() {
        let check = |span_ms: i64, range_ms: Option<i64>, step_ms: i64, expected: Resolution| {
            let selection = Selection {
                matchers: Vec::new(),
                start_ms: 10_000_000_000 - span_ms,
                end_ms: 10_000_000_000,
                step_ms,
                range_ms,
                function: None,
                totals: false,
                summed_by: None,
            };
            assert_eq!(Resolution::of(&selection, 10_000_000_000), expected, "{span_ms} {range_ms:?} {step_ms}");
        };
        check(300_000, Some(60_000), 15_000, SECONDS);
        check(300_000, Some(300_000), 0, SECONDS);
        check(600_000, Some(600_000), 0, MINUTES);
        check(60_000, Some(60_000), 0, SECONDS);
        check(3_600_000, Some(60_000), 15_000, MINUTES);
        check(86_400_000, Some(300_000), 60_000, MINUTES);
        check(7 * 86_400_000, Some(300_000), 60_000, HOURS);
        check(7 * 86_400_000, Some(3_600_000), 3_600_000, HOURS);
        check(3_600_000, Some(3_600_000), 3_600_000, MINUTES);
        check(0, None, 0, SECONDS);
    }
}
