//! Which batches of which reporters are kept already: what makes delivery exactly once.

use std::collections::HashMap;
use std::sync::Arc;

/// Reporters that are remembered.
const REPORTERS_MAX: usize = 10_000;
/// Runs of a reporter that are remembered: the one that reports, and the one before it, whose last batches may still be on
/// their way.
const EPOCHS_MAX: usize = 2;

/// The highest sequence number kept of one run (epoch) of one reporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The reporter's name.
    pub reporter: Arc<str>,
    /// Its run: rises each time that it starts.
    pub epoch: u64,
    /// All of its batches up to this one were kept, refused for good, or dropped by the reporter itself.
    pub sequence: u64,
    /// When that batch arrived, in microseconds since the epoch.
    pub heard_us: i64,
}

/// The marks of all reporters.
///
/// A reporter sends its batches in order, and after a reconnect begins with the oldest that was not acknowledged. So
/// whatever is at or below the mark has been here, on whichever connection; and a gap is what the reporter had to drop.
///
/// Bound: 10,000 reporters with two epochs each. When there are more, the one that was heard longest ago is forgotten:
/// should it come back and send again what was kept but whose acknowledgement it never saw, those rows are kept twice.
/// It takes 10,000 others that were heard meanwhile. Batches of an epoch before the two newest ones are
/// [`Standing::TooOld`]: they could not be told apart from what was kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    reporters: HashMap<Arc<str>, Epochs>,
}

/// What the marks say about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It was not here before.
    New,
    /// It was.
    Known,
    /// So many newer runs are known that it can no longer be told.
    TooOld,
}

/// Newest epoch last.
type Epochs = Vec<EpochMark>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EpochMark {
    epoch: u64,
    sequence: u64,
    heard_us: i64,
}

impl Marks {
    /// The mark of a run; 0 when nothing of it was kept.
    #[must_use]
    pub fn sequence(&self, reporter: &str, epoch: u64) -> u64 {
        self.find(reporter, epoch).map_or(0, |mark| mark.sequence)
    }

    /// What is known about a batch.
    #[must_use]
    pub fn standing(&self, reporter: &str, epoch: u64, sequence: u64) -> Standing {
        if let Some(mark) = self.find(reporter, epoch) {
            return if sequence <= mark.sequence { Standing::Known } else { Standing::New };
        }
        let epochs = self.reporters.get(reporter).map_or(&[][..], Vec::as_slice);
        let is_before_all = epochs.iter().all(|mark| epoch < mark.epoch);
        if epochs.len() >= EPOCHS_MAX && is_before_all { Standing::TooOld } else { Standing::New }
    }

    /// Notes that a batch is kept. A mark never goes back.
    pub fn advance(&mut self, mark: &Mark) {
        if !self.reporters.contains_key(&mark.reporter) && self.reporters.len() >= REPORTERS_MAX {
            self.forget_oldest();
        }
        let epochs = self.reporters.entry(Arc::clone(&mark.reporter)).or_default();
        match epochs.iter_mut().find(|known| known.epoch == mark.epoch) {
            Some(known) => {
                known.sequence = known.sequence.max(mark.sequence);
                known.heard_us = known.heard_us.max(mark.heard_us);
            }
            None => {
                let Mark { epoch, sequence, heard_us, .. } = *mark;
                epochs.push(EpochMark { epoch, sequence, heard_us });
                epochs.sort_unstable_by_key(|known| known.epoch);
                if epochs.len() > EPOCHS_MAX {
                    epochs.remove(0);
                }
            }
        }
    }

    /// All marks, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Mark> + '_ {
        self.reporters.iter().flat_map(|(reporter, epochs)| {
            epochs.iter().map(|mark| Mark {
                reporter: Arc::clone(reporter),
                epoch: mark.epoch,
                sequence: mark.sequence,
                heard_us: mark.heard_us,
            })
        })
    }

    /// How many reporters are remembered.
    #[must_use]
    pub fn reporters(&self) -> usize {
        self.reporters.len()
    }

    fn find(&self, reporter: &str, epoch: u64) -> Option<&EpochMark> {
        self.reporters.get(reporter)?.iter().find(|mark| mark.epoch == epoch)
    }

    fn forget_oldest(&mut self) {
        let heard_us = |epochs: &Epochs| epochs.iter().map(|mark| mark.heard_us).max();
        let oldest = self.reporters.iter().min_by_key(|(_, epochs)| heard_us(epochs)).map(|(name, _)| Arc::clone(name));
        if let Some(name) = oldest {
            self.reporters.remove(&name);
        }
    }
}

impl FromIterator<Mark> for Marks {
    fn from_iter<I: IntoIterator<Item = Mark>>(marks: I) -> Self {
        let mut all = Self::default();
        marks.into_iter().for_each(|mark| all.advance(&mark));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(reporter: &str, epoch: u64, sequence: u64, heard_us: i64) -> Mark {
        Mark { reporter: reporter.into(), epoch, sequence, heard_us }
    }

    #[test]
    fn knows_what_was_here_in_each_of_the_newest_epochs() {
        let mut marks = Marks::default();
        marks.advance(&mark("a", 7, 1, 1));
        marks.advance(&mark("a", 7, 3, 2));
        marks.advance(&mark("a", 7, 2, 3));
        assert_eq!(marks.sequence("a", 7), 3, "a mark never goes back");
        for (epoch, sequence, standing) in
            [(7, 1, Standing::Known), (7, 3, Standing::Known), (7, 4, Standing::New), (6, 1, Standing::New)]
        {
            assert_eq!(marks.standing("a", epoch, sequence), standing, "epoch {epoch} sequence {sequence}");
        }
        marks.advance(&mark("a", 9, 1, 4));
        assert_eq!(marks.standing("a", 8, 1), Standing::New);
        assert_eq!(marks.standing("a", 6, 1), Standing::TooOld);
        marks.advance(&mark("a", 8, 5, 5));
        assert_eq!(marks.standing("a", 7, 1), Standing::TooOld);
        assert_eq!(marks.standing("a", 9, 1), Standing::Known);
        assert_eq!(marks.iter().collect::<Marks>(), marks);
    }

    #[test]
    fn forgets_the_reporter_heard_longest_ago() {
        let mut marks = Marks::default();
        for reporter in 0..REPORTERS_MAX {
            marks.advance(&mark(&format!("r{reporter}"), 1, 1, reporter as i64));
        }
        marks.advance(&mark("r0", 1, 2, 1_000_000));
        marks.advance(&mark("new", 1, 1, 1_000_001));
        assert_eq!(marks.reporters(), REPORTERS_MAX);
        assert_eq!((marks.sequence("r0", 1), marks.sequence("r1", 1)), (2, 0));
    }
}
