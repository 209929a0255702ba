//! Sums of histograms by group, for an aggregate function of SQL.

use arrow::error::ArrowError;

use super::{Histogram, HistogramArrays, HistogramColumns, HistogramError, HistogramView};

/// One sum for each group; a plain aggregate has the one group 0.
///
/// Its state is a histogram for each group, so that updating and merging of states are the same. A group to which nothing
/// was added is null. Bound: that of [`Histogram`] for each group.
#[derive(Debug, Clone, Default)]
pub struct HistogramAccumulator {
    groups: Vec<Option<Histogram>>,
}

impl HistogramAccumulator {
    /// Makes room for at least this many groups.
    pub fn resize(&mut self, groups: usize) {
        if groups > self.groups.len() {
            self.groups.resize(groups, None);
        }
    }

    /// Adds the histogram of each row to the group that `group_of` names for it; null rows add nothing.
    ///
    /// # Errors
    /// When a row is no histogram; rows before it were added.
    pub fn update(
        &mut self,
        columns: &HistogramColumns<'_>,
        group_of: impl Fn(usize) -> usize,
    ) -> Result<(), HistogramError> {
        for row in 0..columns.len() {
            if let Some(view) = columns.get(row)? {
                self.group(group_of(row)).absorb(view);
            }
        }
        Ok(())
    }

    /// Counts a duration in a group, for a histogram of raw rows.
    pub fn record(&mut self, group: usize, duration_us: i64, weight: i64) {
        self.group(group).record(duration_us, weight);
    }

    /// The sum of a group; `None` when nothing was added to it.
    #[must_use]
    pub fn view(&self, group: usize) -> Option<HistogramView<'_>> {
        self.groups.get(group)?.as_ref().map(Histogram::view)
    }

    /// Takes out the sums of the first groups; the others move up. `usize::MAX` takes all.
    ///
    /// # Errors
    /// When there are more than 2^31 counts.
    pub fn take(&mut self, groups: usize) -> Result<HistogramArrays, ArrowError> {
        let taken: Vec<_> = self.groups.drain(..groups.min(self.groups.len())).collect();
        HistogramArrays::collect(taken.iter().map(|histogram| histogram.as_ref().map(Histogram::view)))
    }

    /// Bytes held, for a query's memory limit.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let heap: usize = self.groups.iter().flatten().map(Histogram::heap_bytes).sum();
        heap + self.groups.capacity() * size_of::<Option<Histogram>>()
    }

    /// The sum of a group, to be added to.
    #[inline]
    pub fn group(&mut self, group: usize) -> &mut Histogram {
        self.resize(group + 1);
        self.groups[group].get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_by_group_and_merges_its_own_state() {
        let mut first = HistogramAccumulator::default();
        [(0, 5), (2, 7), (0, 9)].into_iter().for_each(|(group, duration)| first.record(group, duration, 1));
        assert!(first.view(1).is_none() && first.view(9).is_none() && first.bytes() > 0);

        let state = first.clone().take(usize::MAX).unwrap();
        let columns = HistogramColumns::try_new(&state.offsets, &state.counts, &state.zeros).unwrap();
        let mut second = HistogramAccumulator::default();
        second.resize(3);
        second.update(&columns, |row| row).unwrap();
        assert!((0..3).all(|group| second.view(group) == first.view(group)));
        second.update(&columns, |_| 0).unwrap();
        assert_eq!(second.view(0).unwrap().count(), 5);

        let taken = second.take(2).unwrap();
        assert_eq!((taken.zeros.len(), taken.zeros.null_count()), (2, 1));
        assert_eq!(second.view(0), first.view(2), "what is left moves up");
    }
}
