//! What a reporter may be enforcing, as far as the engine can know.
//!
//! A reporter applies snapshots whole and in order, so that its state is always the one after some version that it was
//! sent, no older than what it acknowledged. [`History`] keeps the amounts of those versions; [`most_enforced`] takes the
//! largest sum of safe share and lease over all of them. Because one snapshot can lower the one and raise the other,
//! this is less than the sum of both maxima, and a share can move between them without a dip.

use super::fair_share::portion;

/// A safe share that takes in everything.
pub(super) const PPM_WHOLE: u64 = 1_000_000;

/// Safe shares do not expire.
pub(super) const NEVER: u64 = u64::MAX;

/// An amount given under one snapshot version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) version: u64,
    pub(super) amount: u64,
    /// When the engine stops counting it; the reporter has stopped enforcing it before.
    pub(super) expires_ms: u64,
}

/// All amounts that one reporter may still be enforcing of one thing, oldest first.
///
/// Holds at most [`History::LEN_MAX`]; beyond that the two oldest become one that covers both, which errs on the safe side.
#[derive(Debug, Clone, Default)]
pub(super) struct History(Vec<Grant>);

impl History {
    /// Nothing was ever given.
    pub(super) const NONE: History = History(Vec::new());
    const LEN_MAX: usize = 4;

    pub(super) fn held(amount: u64, expires_ms: u64) -> History {
        History(vec![Grant { version: 0, amount, expires_ms }])
    }

    /// Records a grant. Versions never fall.
    pub(super) fn give(&mut self, grant: Grant) {
        self.0.push(grant);
        if self.0.len() > Self::LEN_MAX {
            let oldest = self.0.remove(0);
            if let Some(merged) = self.0.first_mut() {
                // The earlier version, so that the larger amount counts from the earlier moment on.
                merged.version = oldest.version;
                merged.amount = merged.amount.max(oldest.amount);
                merged.expires_ms = merged.expires_ms.max(oldest.expires_ms);
            }
        }
    }

    /// Takes in what a reporter says it holds, unless the ledger knows of as much already.
    pub(super) fn claim(&mut self, amount: u64, expires_ms: u64) {
        if !self.0.iter().any(|grant| grant.amount >= amount && grant.expires_ms >= expires_ms) {
            self.0.insert(0, Grant { version: 0, amount, expires_ms });
        }
    }

    /// The reporter enforces this version: what later grants up to it have replaced is gone. Says whether anything was.
    pub(super) fn acknowledge(&mut self, version: u64) -> bool {
        let Some(enforced) = self.newest_version(version) else { return false };
        let before = self.0.len();
        self.0.retain(|grant| grant.version >= enforced);
        self.0.len() < before
    }

    /// Drops what has run out. Says whether anything had.
    pub(super) fn expire(&mut self, now_ms: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|grant| grant.expires_ms > now_ms);
        self.0.len() < before
    }

    pub(super) fn newest(&self) -> Option<&Grant> {
        self.0.last()
    }

    /// Amount of the newest grant.
    pub(super) fn current(&self) -> u64 {
        self.newest().map_or(0, |grant| grant.amount)
    }

    /// The largest amount that may be enforced.
    pub(super) fn most(&self) -> u64 {
        self.0.iter().map(|grant| grant.amount).max().unwrap_or(0)
    }

    /// Whether only the newest grant can be in force.
    pub(super) fn is_settled(&self) -> bool {
        self.0.len() <= 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn first_expiry_ms(&self) -> Option<u64> {
        self.0.iter().map(|grant| grant.expires_ms).min()
    }

    pub(super) fn last_expiry_ms(&self) -> Option<u64> {
        self.0.iter().map(|grant| grant.expires_ms).max()
    }

    /// Amount in force after the version was applied.
    fn after(&self, version: u64) -> Option<u64> {
        let applied = self.newest_version(version)?;
        self.0.iter().filter(|grant| grant.version == applied).map(|grant| grant.amount).max()
    }

    /// The newest version up to this one under which something was given.
    fn newest_version(&self, version: u64) -> Option<u64> {
        self.0.iter().map(|grant| grant.version).filter(|&given| given <= version).max()
    }
}

/// Safe part of a rate or burst, as reporters compute it.
pub(super) fn safe_part(rate: u64, ppm: u64) -> u64 {
    portion(rate, ppm, PPM_WHOLE)
}

/// The largest rate that a reporter may be enforcing, safe share (in parts per million of `rate`) and lease together.
pub(super) fn most_enforced(shares: &History, leases: &History, rate: u64) -> u64 {
    let versions = shares.0.iter().chain(&leases.0).map(|grant| grant.version);
    let first_share = shares.0.first().map_or(0, |grant| grant.amount);
    versions
        .map(|version| {
            let ppm = shares.after(version).unwrap_or(first_share);
            safe_part(rate, ppm).saturating_add(leases.after(version).unwrap_or(0))
        })
        .max()
        .unwrap_or(0)
}

/// What a process may still be enforcing that no message reaches any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Orphans(Vec<Grant>);

impl Orphans {
    /// Beyond this the two newest become one that covers both.
    const LEN_MAX: usize = 16;

    pub(super) fn add(&mut self, amount: u64, expires_ms: u64) {
        if amount == 0 {
            return;
        }
        let is_full = self.0.len() >= Self::LEN_MAX;
        match self.0.last_mut() {
            Some(last) if is_full => {
                last.amount = last.amount.saturating_add(amount);
                last.expires_ms = last.expires_ms.max(expires_ms);
            }
            _ => self.0.push(Grant { version: 0, amount, expires_ms }),
        }
    }

    pub(super) fn expire(&mut self, now_ms: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|grant| grant.expires_ms > now_ms);
        self.0.len() < before
    }

    pub(super) fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, grant| sum.saturating_add(grant.amount))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn first_expiry_ms(&self) -> Option<u64> {
        self.0.iter().map(|grant| grant.expires_ms).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(version: u64, amount: u64) -> Grant {
        Grant { version, amount, expires_ms: 1000 + version }
    }

    fn history(grants: &[(u64, u64)]) -> History {
        let mut history = History::default();
        for &(version, amount) in grants {
            history.give(grant(version, amount));
        }
        history
    }

    #[test]
    fn an_old_grant_counts_until_a_later_one_is_acknowledged() {
        let mut leases = history(&[(1, 100), (2, 10)]);
        assert_eq!(leases.most(), 100);
        assert!(!leases.acknowledge(1));
        assert_eq!(leases.most(), 100);
        assert!(leases.acknowledge(7));
        assert_eq!(leases.most(), 10);
    }

    #[test]
    fn an_old_grant_counts_until_it_expires() {
        let mut leases = history(&[(1, 100), (2, 10)]);
        assert!(!leases.expire(1000));
        assert!(leases.expire(1001));
        assert_eq!((leases.most(), leases.current()), (10, 10));
        assert!(leases.expire(1002));
        assert!(leases.is_empty());
    }

    #[test]
    fn a_long_history_is_shortened_on_the_safe_side() {
        let mut leases = history(&[(1, 50), (2, 100), (3, 10), (4, 10), (5, 10), (6, 10)]);
        assert_eq!(leases.most(), 100);
        leases.acknowledge(4);
        assert_eq!(leases.most(), 10);
    }

    #[test]
    fn share_and_lease_change_places_in_one_snapshot() {
        let shares = history(&[(1, PPM_WHOLE), (5, 50_000)]);
        let leases = history(&[(5, 900)]);
        assert_eq!(most_enforced(&shares, &leases, 1000), 1000);
        let back = history(&[(5, 50_000), (9, PPM_WHOLE)]);
        assert_eq!(most_enforced(&back, &history(&[(5, 900), (9, 0)]), 1000), 1000);
        // In two snapshots the old lease stands beside the new share for a while.
        assert_eq!(most_enforced(&back, &history(&[(5, 900), (10, 0)]), 1000), 1900);
    }

    #[test]
    fn what_a_reporter_claims_counts_until_replaced() {
        let mut leases = History::default();
        leases.claim(70, 500);
        leases.claim(60, 400);
        leases.give(grant(3, 20));
        assert_eq!(leases.most(), 70);
        leases.acknowledge(3);
        assert_eq!(leases.most(), 20);
    }

    #[test]
    fn many_orphans_are_merged_and_still_count() {
        let mut orphans = Orphans::default();
        for n in 0..100 {
            orphans.add(1, 1000 + n);
        }
        assert_eq!(orphans.sum(), 100);
        orphans.expire(1050);
        assert_eq!(orphans.sum(), 85);
        orphans.expire(1099);
        assert!(orphans.is_empty());
    }
}
