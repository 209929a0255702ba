//! Rows that a reporter had to drop, by reason, over all of its runs.

use std::collections::BTreeMap;

/// Reasons that are told apart; further ones are counted as `other`.
const REASONS_MAX: usize = 16;
const REASON_BYTES_MAX: usize = 64;
/// Runs that are told apart, the latest ones: two processes under one name may take turns.
const EPOCHS_MAX: usize = 4;

/// Totals of one reporter.
#[derive(Debug, Default)]
pub(crate) struct LossTotals {
    by_reason: BTreeMap<String, Loss>,
}

#[derive(Debug, Default)]
struct Loss {
    /// Over all runs.
    total: u64,
    /// How much of the total is whose, by run.
    of_epochs: BTreeMap<u64, u64>,
}

impl LossTotals {
    /// A run says how many rows it has lost so far; returns how many of them are new.
    pub(crate) fn reported(&mut self, epoch: u64, reason: &str, rows: u64) -> u64 {
        let is_known = self.by_reason.contains_key(reason);
        let fits = reason.len() <= REASON_BYTES_MAX && self.by_reason.len() < REASONS_MAX;
        let loss = self.by_reason.entry(if is_known || fits { reason } else { "other" }.to_owned()).or_default();
        let of_epoch = loss.of_epochs.entry(epoch).or_default();
        let new = rows.saturating_sub(*of_epoch);
        *of_epoch += new;
        loss.total += new;
        if loss.of_epochs.len() > EPOCHS_MAX {
            loss.of_epochs.pop_first();
        }
        new
    }

    /// Rows lost for any reason.
    pub(crate) fn total(&self) -> u64 {
        self.by_reason.values().map(|loss| loss.total).sum()
    }

    /// Reason and rows.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.by_reason.iter().map(|(reason, loss)| (reason.as_str(), loss.total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_totals_once_and_adds_up_runs() {
        let mut losses = LossTotals::default();
        assert_eq!(losses.reported(1, "buffer_full", 10), 10);
        assert_eq!(losses.reported(1, "buffer_full", 10), 0);
        assert_eq!(losses.reported(1, "buffer_full", 12), 2);
        assert_eq!(losses.reported(2, "buffer_full", 5), 5);
        assert_eq!(losses.reported(1, "buffer_full", 12), 0, "runs under one name may take turns");
        assert_eq!(losses.total(), 17);
        (3..100).for_each(|epoch| assert_eq!(losses.reported(epoch, "buffer_full", 1), 1));
        assert!(losses.by_reason["buffer_full"].of_epochs.len() <= EPOCHS_MAX);
    }

    #[test]
    fn many_reasons_become_one() {
        let mut losses = LossTotals::default();
        for reason in 0..100 {
            losses.reported(1, &reason.to_string(), 1);
        }
        assert!(losses.iter().count() <= REASONS_MAX + 1);
        assert!(losses.iter().any(|(reason, _)| reason == "other"));
    }
}
