//! Questions to a histogram, wherever its counts lie.

use super::index::bucket_upper_us;

/// Greatest relative error of [`HistogramView::quantile`]: (b - 1) / (b + 1) for the base b = 2^(1/8).
pub const QUANTILE_ERROR_MAX: f64 = 0.0434;

/// Bounds of the classic buckets that Istio exports, in milliseconds; `+Inf` follows them.
pub const LE_BOUNDS_MS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// For each of [`LE_BOUNDS_MS`] the first exponential bucket that is not counted below it: the boundary next to it on a
/// logarithmic scale.
const LE_CUTS: [i32; 19] = [72, 80, 98, 106, 117, 125, 133, 143, 151, 159, 170, 178, 186, 199, 207, 225, 233, 246, 254];

/// The counts of a histogram, borrowed from a [`Histogram`](super::Histogram) or from Arrow arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistogramView<'a> {
    zero: i64,
    offset: i32,
    counts: &'a [i64],
}

impl<'a> HistogramView<'a> {
    pub(super) fn new(zero: i64, offset: i32, counts: &'a [i64]) -> Self {
        Self { zero, offset, counts }
    }

    /// Durations of zero.
    #[must_use]
    pub fn zero(&self) -> i64 {
        self.zero
    }

    /// Bucket of the first of [`Self::counts`].
    #[must_use]
    pub fn offset(&self) -> i32 {
        self.offset
    }

    /// Counts of adjacent buckets.
    #[must_use]
    pub fn counts(&self) -> &'a [i64] {
        self.counts
    }

    /// All that was counted.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.counts.iter().fold(self.zero, |sum, count| sum.saturating_add(*count))
    }

    /// The `q`-quantile in microseconds, `q` from 0 to 1; `None` when nothing was counted or `q` is no number.
    ///
    /// Between two ranks it is interpolated, as SQL's `percentile_cont` does it. Each of the two is estimated by the value
    /// that is relatively nearest to all integers of its bucket, so that the result is off by at most
    /// [`QUANTILE_ERROR_MAX`], whatever the distribution within a bucket. Durations up to 14 us, and zero, are exact.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.count();
        if count <= 0 || q.is_nan() {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * (count - 1) as f64;
        let below = self.value_at(rank.floor() as i64);
        let above = self.value_at(rank.ceil() as i64);
        Some(below + (above - below) * rank.fract())
    }

    /// The share of what was counted that lasted at most `bound_us`; `None` when nothing was counted.
    ///
    /// Exact but for the one bucket in which the bound lies: of that, a part is taken by the bound's place in it on a
    /// logarithmic scale, so that the error is at most that bucket's share.
    #[must_use]
    pub fn fraction_at_most(&self, bound_us: f64) -> Option<f64> {
        let count = self.count();
        if count <= 0 || bound_us.is_nan() {
            return None;
        }
        if bound_us < 0.0 {
            return Some(0.0);
        }
        let place = (bound_us.log2() * 8.0).clamp(-1_000.0, 1_000.0);
        let whole = place.floor() as i32;
        let straddled = usize::try_from(whole - self.offset).ok().and_then(|at| self.counts.get(at)).copied();
        let part = straddled.unwrap_or(0) as f64 * place.fract().rem_euclid(1.0);
        Some(((self.count_below_bucket(whole) as f64 + part) / count as f64).clamp(0.0, 1.0))
    }

    /// Cumulative counts for [`LE_BOUNDS_MS`], as in a Prometheus histogram's `_bucket` series; `+Inf` is [`Self::count`].
    ///
    /// Each is the exact number of durations at or below the exponential boundary next to its bound, which is at most
    /// 4.4% away from it. So the counts are integers, never fall, and those of merged histograms are the sums of their
    /// counts, as a counter's must be.
    #[must_use]
    pub fn le_counts(&self) -> [i64; LE_BOUNDS_MS.len()] {
        LE_CUTS.map(|cut| self.count_below_bucket(cut))
    }

    /// Offset and counts without empty buckets at the ends.
    pub(super) fn trimmed(&self) -> (i32, &'a [i64]) {
        let empty = self.counts.iter().take_while(|count| **count == 0).count();
        let counts = self.counts.get(empty..).unwrap_or_default();
        let used = counts.iter().rposition(|count| *count != 0).map_or(0, |last| last + 1);
        (self.offset + empty as i32, counts.get(..used).unwrap_or_default())
    }

    /// What was counted in buckets before this one, zeros included.
    fn count_below_bucket(&self, index: i32) -> i64 {
        let buckets = usize::try_from(index - self.offset).unwrap_or(0);
        self.counts.iter().take(buckets).fold(self.zero, |sum, count| sum.saturating_add(*count))
    }

    /// Estimate of the duration at this rank, which starts at 0.
    fn value_at(&self, rank: i64) -> f64 {
        let mut seen = self.zero;
        if rank < seen {
            return 0.0;
        }
        for (index, count) in (self.offset..).zip(self.counts) {
            seen = seen.saturating_add(*count);
            if rank < seen {
                return estimate(index);
            }
        }
        // A count near 2^63 lost its last digits as a float: the last bucket is meant.
        estimate(self.offset + self.counts.len() as i32 - 1)
    }
}

/// The value with the least relative distance to all integers of a bucket: their extremes' harmonic mean.
fn estimate(index: i32) -> f64 {
    let (lower, upper) = (bucket_upper_us(index - 1), bucket_upper_us(index));
    let (first, last) = (lower.floor() + 1.0, upper.floor());
    if first > last {
        // No integer falls into the bucket: it does not stem from `record`.
        return 2.0 * lower * upper / (lower + upper);
    }
    2.0 * first * last / (first + last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Histogram, bucket_index};
    use super::*;

    fn histogram(durations: &[i64]) -> Histogram {
        let mut histogram = Histogram::default();
        durations.iter().for_each(|duration| histogram.record(*duration, 1));
        histogram
    }

    /// `percentile_cont`, exactly.
    fn exact(durations: &mut [i64], q: f64) -> f64 {
        durations.sort_unstable();
        let rank = q * (durations.len() - 1) as f64;
        let (below, above) = (durations[rank.floor() as usize] as f64, durations[rank.ceil() as usize] as f64);
        below + (above - below) * rank.fract()
    }

    #[test]
    fn nothing_has_no_quantile() {
        let empty = Histogram::default();
        assert_eq!((empty.view().quantile(0.5), empty.view().fraction_at_most(1e6)), (None, None));
        assert_eq!(histogram(&[5]).view().quantile(f64::NAN), None);
    }

    #[test]
    fn short_durations_are_exact() {
        for duration in 0..=14 {
            assert_eq!(histogram(&[duration]).view().quantile(0.99), Some(duration as f64), "{duration}");
        }
        assert_eq!(histogram(&[0, 1]).view().quantile(0.5), Some(0.5));
        assert_eq!(histogram(&[-3]).view().zero(), 1);
    }

    #[test]
    fn classic_bounds_are_cut_at_the_nearest_boundary() {
        for (bound_ms, cut) in LE_BOUNDS_MS.into_iter().zip(LE_CUTS) {
            assert_eq!((f64::log2(bound_ms * 1e3) * 8.0).round() as i32, cut, "{bound_ms}");
            assert!((bucket_upper_us(cut - 1) / (bound_ms * 1e3)).ln().abs() < 0.0434, "{bound_ms}");
        }
    }

    #[test]
    fn fractions_are_exact_at_boundaries() {
        let histogram = histogram(&[0, 1, 2, 4, 1_024, 1_025]);
        let fraction = |bound_us| histogram.view().fraction_at_most(bound_us).unwrap();
        assert_eq!(fraction(-1.0), 0.0);
        assert_eq!(fraction(0.0), 1.0 / 6.0);
        assert_eq!(fraction(1.0), 2.0 / 6.0);
        assert_eq!(fraction(4.0), 4.0 / 6.0);
        assert_eq!(fraction(1_024.0), 5.0 / 6.0);
        assert_eq!(fraction(1e300), 1.0);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_stated_error(
            mut durations in prop::collection::vec((0_i64..1 << 40, 0_u32..40), 1..200), q in 0.0..=1.0,
        ) {
            let mut durations: Vec<i64> = durations.iter_mut().map(|(value, shift)| *value >> *shift).collect();
            let estimate = histogram(&durations).view().quantile(q).unwrap();
            let exact = exact(&mut durations, q);
            prop_assert!((estimate - exact).abs() <= exact * QUANTILE_ERROR_MAX, "{estimate} for {exact}");
        }

        #[test]
        fn classic_counts_are_exact_for_a_bound_nearby(durations in prop::collection::vec(0_i64..1 << 34, 0..200)) {
            let counts = histogram(&durations).view().le_counts();
            for ((bound_ms, cut), count) in LE_BOUNDS_MS.into_iter().zip(LE_CUTS).zip(counts) {
                let at_most = |bound: f64| durations.iter().filter(|duration| **duration as f64 <= bound).count() as i64;
                prop_assert_eq!(count, at_most(bucket_upper_us(cut - 1)));
                prop_assert!(at_most(bound_ms * 1e3 / 1.0443) <= count && count <= at_most(bound_ms * 1e3 * 1.0443));
            }
        }

        #[test]
        fn fractions_are_off_by_one_bucket_at_most(
            durations in prop::collection::vec(0_i64..100_000, 1..100), bound_us in 1_u64..100_000,
        ) {
            let histogram = histogram(&durations);
            let exact = durations.iter().filter(|duration| **duration <= bound_us as i64).count() as f64;
            let index = bucket_index(bound_us);
            let straddled = durations.iter().filter(|d| **d > 0 && bucket_index(**d as u64) == index).count() as f64;
            let estimate = histogram.view().fraction_at_most(bound_us as f64).unwrap() * durations.len() as f64;
            prop_assert!((estimate - exact).abs() <= straddled + 1e-6, "{estimate} for {exact}");
        }

        #[test]
        fn merging_is_counting_together(parts in prop::collection::vec(prop::collection::vec(0_i64..1 << 50, 0..20), 0..6)) {
            let mut merged = Histogram::default();
            parts.iter().for_each(|part| merged.absorb(histogram(part).view()));
            prop_assert_eq!(&merged, &histogram(&parts.concat()));
            let mut backwards = Histogram::default();
            parts.iter().rev().for_each(|part| backwards.absorb(histogram(part).view()));
            prop_assert_eq!(merged, backwards);
        }
    }
}
