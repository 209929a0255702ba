//! A histogram of durations that merges exactly.
//!
//! Exponential buckets of base 2^(1/8), which OpenTelemetry and Prometheus call scale or schema 3: bucket `i` holds the
//! values in (2^(i/8), 2^((i+1)/8)], as in OpenTelemetry's data model. Prometheus numbers the same bucket `i + 1`.
//! Counts are integers, so merging is addition: exact, in any order.

mod accumulator;
mod columns;
mod index;
mod view;

pub use accumulator::HistogramAccumulator;
pub use columns::{HistogramArrays, HistogramColumns, HistogramError};
pub(crate) use columns::{HistogramBuilder, counts_type};
pub(crate) use index::{INDEX_MAX, INDEX_MIN};
pub use index::{bucket_index, bucket_upper_us};
pub use view::{HistogramView, LE_BOUNDS_MS, QUANTILE_ERROR_MAX};

/// Counts of durations in microseconds.
///
/// Dense from the first bucket in use to the last, never with an empty bucket at either end, so that equal contents are
/// equal values. Bound: a duration of 64 bits falls into one of 513 buckets. Counts saturate at 2^63 - 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    zero: i64,
    offset: i32,
    counts: Vec<i64>,
}

impl Histogram {
    /// Counts a duration `weight` times. A negative duration counts as zero; a weight below one counts nothing.
    pub fn record(&mut self, duration_us: i64, weight: i64) {
        if weight <= 0 {
            return;
        }
        match u64::try_from(duration_us) {
            Ok(0) | Err(_) => self.zero = self.zero.saturating_add(weight),
            Ok(duration_us) => {
                let bucket = self.bucket(bucket_index(duration_us));
                *bucket = bucket.saturating_add(weight);
            }
        }
    }

    /// Adds to the count of one bucket.
    ///
    /// # Errors
    /// When there is no such bucket, or the count is negative.
    #[inline]
    pub fn add(&mut self, bucket: i32, count: i64) -> Result<(), HistogramError> {
        if !(INDEX_MIN..=INDEX_MAX).contains(&bucket) {
            return Err(HistogramError::Buckets { offset: bucket, buckets: 1 });
        }
        match count {
            0 => Ok(()),
            ..0 => Err(HistogramError::Count),
            1.. => {
                let sum = self.bucket(bucket);
                *sum = sum.saturating_add(count);
                Ok(())
            }
        }
    }

    /// Adds durations of zero.
    ///
    /// # Errors
    /// When the count is negative.
    #[inline]
    pub fn add_zeros(&mut self, count: i64) -> Result<(), HistogramError> {
        if count < 0 {
            return Err(HistogramError::Count);
        }
        self.zero = self.zero.saturating_add(count);
        Ok(())
    }

    /// Adds what another has counted.
    pub fn absorb(&mut self, other: HistogramView<'_>) {
        self.zero = self.zero.saturating_add(other.zero());
        let (offset, counts) = other.trimmed();
        let Some(last) = counts.len().checked_sub(1) else { return };
        // Both ends first: the room for the rest is then made at once.
        let _ = self.bucket(offset + last as i32);
        let _ = self.bucket(offset);
        let from = (offset - self.offset) as usize;
        let sums = &mut self.counts[from..from + counts.len()];
        // Counts are never negative: a sum is only when it does not fit. So written, several are added at once.
        let mut signs = 0;
        for (count, more) in sums.iter_mut().zip(counts) {
            *count = count.wrapping_add(*more);
            signs |= *count;
        }
        if signs < 0 {
            sums.iter_mut().filter(|count| **count < 0).for_each(|count| *count = i64::MAX);
        }
    }

    /// What was counted, to be asked.
    #[must_use]
    pub fn view(&self) -> HistogramView<'_> {
        HistogramView::new(self.zero, self.offset, &self.counts)
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }

    /// Forgets everything and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.zero = 0;
        self.counts.clear();
    }

    /// The count of a bucket, which the caller increases: the ends are never left empty.
    #[inline]
    fn bucket(&mut self, index: i32) -> &mut i64 {
        let at = index.wrapping_sub(self.offset) as u32 as usize;
        let at = if at < self.counts.len() { at } else { self.grow(index) };
        &mut self.counts[at]
    }

    /// Makes room for a bucket that is outside, and returns its place.
    #[cold]
    fn grow(&mut self, index: i32) -> usize {
        if self.counts.is_empty() {
            self.offset = index;
            self.counts.push(0);
        } else if index < self.offset {
            let before = (self.offset - index) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, before));
            self.offset = index;
        } else {
            self.counts.resize((index - self.offset) as usize + 1, 0);
        }
        (index - self.offset) as usize
    }
}

impl From<HistogramView<'_>> for Histogram {
    fn from(view: HistogramView<'_>) -> Self {
        let mut histogram = Self::default();
        histogram.absorb(view);
        histogram
    }
}
