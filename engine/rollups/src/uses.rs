//! How often each policy was named by a request, and when last: what nothing names for long is hardly needed.

use arrow::record_batch::RecordBatch;

use crate::error::RollupError;
use crate::names::{Names, OTHER};
use crate::policy::{PolicyIds, RecentIds};
use crate::rows::{integers, times};

/// Most policies that are told apart, over all policies that were ever in force, and bytes of their ids.
const POLICIES_MAX: usize = 100_000;
const ID_BYTES_MAX: usize = 8 << 20;

/// What is known of one policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PolicyUse {
    /// Requests that it decided.
    pub decided: u64,
    /// Requests that it would have refused, in shadow mode.
    pub shadow: u64,
    /// When the last of them began, in microseconds since the epoch.
    pub last_us: Option<i64>,
}

/// Counts by policy.
///
/// Bound: 100,000 policies and 8 MiB of ids. Those that come when it is full are not counted, and are said to be unknown.
#[derive(Debug)]
pub struct PolicyUses {
    names: Names,
    /// By the number of the name.
    uses: Vec<PolicyUse>,
}

impl Default for PolicyUses {
    fn default() -> Self {
        Self { names: Names::new(POLICIES_MAX, ID_BYTES_MAX), uses: Vec::new() }
    }
}

impl PolicyUses {
    /// Counts every row of a batch of `requests`, as often as its weight says.
    ///
    /// # Errors
    /// When a column is missing or of another type; nothing was counted then.
    pub fn add(&mut self, rows: &RecordBatch) -> Result<(), RollupError> {
        let (times, weights) = (times(rows)?, integers(rows, "weight")?);
        let (decided, shadow) = (PolicyIds::try_new(rows, "policies")?, PolicyIds::try_new(rows, "shadow")?);
        let mut recent = RecentIds::new();
        for (ids, is_shadow) in [(&decided, false), (&shadow, true)] {
            if ids.is_empty() {
                continue;
            }
            for (row, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
                for id in ids.of(row) {
                    let number = recent.number(id, &mut self.names);
                    self.count(number, is_shadow, *weight as u64, times[row]);
                }
            }
        }
        Ok(())
    }

    /// Adds what was counted before.
    pub fn absorb(&mut self, policy: &str, is_shadow: bool, requests: u64, last_us: i64) {
        let number = self.names.number(policy);
        self.count(number, is_shadow, requests, last_us);
    }

    /// What is known of a policy: nothing counted is an answer too. `None` when there was no room to count it.
    #[must_use]
    pub fn of(&self, policy: &str) -> Option<PolicyUse> {
        match self.names.find(policy) {
            Some(number) => Some(self.uses.get(number as usize).copied().unwrap_or_default()),
            None => (self.names.refused() == 0).then(PolicyUse::default),
        }
    }

    fn count(&mut self, number: u32, is_shadow: bool, requests: u64, last_us: i64) {
        if number == OTHER {
            return;
        }
        if self.uses.len() <= number as usize {
            self.uses.resize(number as usize + 1, PolicyUse::default());
        }
        let Some(used) = self.uses.get_mut(number as usize) else { return };
        let count = if is_shadow { &mut used.shadow } else { &mut used.decided };
        *count = count.saturating_add(requests);
        used.last_us = used.last_us.max(Some(last_us));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tollgate_attributes::{BatchBuilder, BatchLimits, Row};

    use super::*;

    fn rows(rows: &[Row<'_>]) -> RecordBatch {
        let mut builder = BatchBuilder::new(BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX });
        for row in rows {
            let _ = builder.push(row);
        }
        builder.finish().unwrap()
    }

    #[test]
    fn each_request_counts_for_each_policy_that_it_names() {
        let ids = |ids: &[&str]| ids.iter().map(|id| Arc::from(*id)).collect::<Vec<Arc<str>>>();
        let (one, both) = (ids(&["a"]), ids(&["a", "b"]));
        let mut uses = PolicyUses::default();
        let row = |time, weight, policies, shadow| Row { time, weight, policies, shadow, ..Row::default() };
        uses.add(&rows(&[row(5, 1, &one, &both), row(9, 10, &both, &[]), row(7, 0, &one, &one)])).unwrap();
        uses.absorb("b", true, 5, 3);
        let used = |decided, shadow, last_us| Some(PolicyUse { decided, shadow, last_us: Some(last_us) });
        assert_eq!(uses.of("a"), used(11, 1, 9));
        assert_eq!(uses.of("b"), used(10, 6, 9));
        assert_eq!(uses.of("c"), Some(PolicyUse::default()));
    }

    #[test]
    fn what_there_is_no_room_for_is_not_said_to_be_unused() {
        let mut uses = PolicyUses { names: Names::new(2, 1_000), uses: Vec::new() };
        for policy in ["a", "b", "c"] {
            uses.absorb(policy, false, 1, 1);
        }
        assert_eq!(uses.of("a").map(|used| used.decided), Some(1));
        assert_eq!(uses.of("c"), None);
    }
}
