//! Recent demand of one reporter for one bucket: a moving average that rises fast and falls slower.

/// A rise is half believed after this long.
const RISE_MS: u64 = 50;
/// A fall is half believed after this long.
const FALL_MS: u64 = 100;
/// Shorter intervals are counted as this long: one request in the first millisecond is not a thousand a second.
const INTERVAL_MIN_MS: u64 = 100;
const INTERVAL_MAX_MS: u64 = 10_000;
/// Silence beyond the usual interval halves the demand once in this time.
const HALF_LIFE_MS: u64 = 250;

/// Demand in microtokens per second.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Demand {
    rate: u64,
    updated_ms: u64,
    interval_ms: u64,
}

impl Demand {
    /// Counts `wanted` microtokens over `interval_ms`. Nobody can use more than `most`, so no more is counted: a spike
    /// would otherwise outlive its cause.
    pub(super) fn add(&mut self, wanted: u64, interval_ms: u64, most: u64, now_ms: u64) {
        let interval = interval_ms.clamp(INTERVAL_MIN_MS, INTERVAL_MAX_MS);
        let sample = (u128::from(wanted) * 1000 / u128::from(interval)).min(u128::from(most)) as u64;
        let rate = self.at(now_ms).min(most);
        let blend = |from: u64, to: u64, half_ms: u64| {
            let step = u128::from(from.abs_diff(to)) * u128::from(interval) / u128::from(interval + half_ms);
            step as u64
        };
        self.rate =
            if sample >= rate { rate + blend(rate, sample, RISE_MS) } else { rate - blend(rate, sample, FALL_MS) };
        self.updated_ms = now_ms;
        self.interval_ms = interval;
    }

    /// The demand at this time.
    pub(super) fn at(&self, now_ms: u64) -> u64 {
        let silence = now_ms.saturating_sub(self.quiet_from_ms());
        self.rate.checked_shr((silence / HALF_LIFE_MS) as u32).unwrap_or(0)
    }

    /// When silence will next have lowered it.
    pub(super) fn next_fall_ms(&self, now_ms: u64) -> Option<u64> {
        (self.at(now_ms) > 0).then(|| {
            let quiet_from = self.quiet_from_ms();
            let steps = now_ms.saturating_sub(quiet_from) / HALF_LIFE_MS;
            quiet_from + (steps + 1) * HALF_LIFE_MS
        })
    }

    fn quiet_from_ms(&self) -> u64 {
        self.updated_ms + 2 * self.interval_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_within_a_few_messages_and_falls_slower() {
        let mut demand = Demand::default();
        for message in 1..=3 {
            demand.add(10_000, 100, u64::MAX, message * 100);
        }
        assert!(demand.at(300) > 95_000, "{demand:?}");
        demand.add(0, 100, u64::MAX, 400);
        assert!(demand.at(400) > 40_000, "{demand:?}");
    }

    #[test]
    fn silence_ends_it() {
        let mut demand = Demand::default();
        demand.add(10_000, 100, u64::MAX, 0);
        let before = demand.at(0);
        assert_eq!(demand.at(300), before);
        assert_eq!(demand.next_fall_ms(0), Some(450));
        assert_eq!(demand.at(450), before / 2);
        assert_eq!(demand.at(60_000), 0);
        assert_eq!(demand.next_fall_ms(60_000), None);
    }

    #[test]
    fn a_single_early_request_is_not_a_flood() {
        let mut demand = Demand::default();
        demand.add(1_000_000, 1, u64::MAX, 0);
        assert!(demand.at(0) <= 10_000_000);
        demand.add(u64::MAX, 0, 5_000, 0);
        assert!(demand.at(0) <= 5_000);
    }
}
