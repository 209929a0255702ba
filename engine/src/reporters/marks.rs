//! Which batches were taken in already.

/// Runs of a reporter that are remembered: the one that reports, and those whose last batches may still be on their way.
const EPOCHS_MAX: usize = 4;

/// The highest sequence number taken in, for each of the newest epochs.
///
/// A reporter sends its batches in order, and after a reconnect begins with the oldest that was not acknowledged. So
/// whatever is at or below the mark has been here, on whichever stream; and a gap is what the reporter had to drop.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Epoch and mark, newest epoch last.
    marks: Vec<(u64, u64)>,
}

impl Marks {
    /// The mark of an epoch; 0 when nothing of it was taken in.
    pub(crate) fn get(&self, epoch: u64) -> u64 {
        self.marks.iter().find(|(known, _)| *known == epoch).map_or(0, |(_, mark)| *mark)
    }

    /// Whether a batch was here before.
    pub(crate) fn has(&self, epoch: u64, sequence: u64) -> bool {
        sequence <= self.get(epoch)
    }

    /// Whether so many newer runs are known that this one's batches can no longer be told apart.
    pub(crate) fn is_too_old(&self, epoch: u64) -> bool {
        self.marks.len() >= EPOCHS_MAX && self.marks.first().is_some_and(|(oldest, _)| epoch < *oldest)
    }

    /// Notes that a batch was taken in, or refused for good.
    pub(crate) fn set(&mut self, epoch: u64, sequence: u64) {
        match self.marks.iter_mut().find(|(known, _)| *known == epoch) {
            Some((_, mark)) => *mark = sequence.max(*mark),
            None => {
                self.marks.push((epoch, sequence));
                self.marks.sort_unstable();
                if self.marks.len() > EPOCHS_MAX {
                    self.marks.remove(0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_was_here_in_each_of_the_newest_epochs() {
        let mut marks = Marks::default();
        marks.set(7, 1);
        marks.set(7, 3);
        assert!(marks.has(7, 1) && marks.has(7, 2) && marks.has(7, 3));
        assert!(!marks.has(7, 4) && !marks.has(8, 1));
        marks.set(7, 2);
        assert_eq!(marks.get(7), 3, "a mark never goes back");

        for epoch in 8..20 {
            marks.set(epoch, 1);
        }
        assert_eq!(marks.marks.len(), EPOCHS_MAX);
        assert!(marks.has(19, 1));
    }
}
