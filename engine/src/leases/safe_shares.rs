//! Safe shares of one scope: what each reporter of the fleet may enforce without a lease, of every bucket of the scope.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::{History, NEVER, Orphans, PPM_WHOLE};

/// What all others hold together where only one reporter is busy: its shortfall, in parts per million.
const IDLE_PPM: u64 = 50_000;

/// Safe share that each of so many reporters is to have, in parts per million.
pub(super) fn fair_ppm(fleet: usize) -> u64 {
    match fleet {
        0 => 0,
        1 => PPM_WHOLE,
        n => IDLE_PPM / (n as u64 - 1),
    }
}

/// One reporter's safe share.
#[derive(Debug, Clone, Default)]
pub(super) struct Share {
    pub(super) history: History,
    /// What it is to have, in parts per million.
    pub(super) target: u64,
    /// Whether it fronts a service of the scope. One that does not any more has this until it acknowledges having nothing.
    pub(super) is_in_fleet: bool,
    /// Whether the history is the worst case rather than knowledge.
    pub(super) is_assumed: bool,
    /// What the process before it had. It may have as much even while the engine learns, where that fits.
    pub(super) inherited: u64,
}

impl Share {
    /// What it was last given, as far as is known.
    pub(super) fn given(&self) -> u64 {
        if self.is_assumed { 0 } else { self.history.current() }
    }

    /// It may hold anything.
    pub(super) fn assume_the_worst(&mut self) {
        self.history = History::held(PPM_WHOLE, NEVER);
        self.is_assumed = true;
    }

    fn waits(&self) -> bool {
        self.given() < self.target
    }
}

/// The fleet of one scope and the buckets whose policies have that scope.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) shares: BTreeMap<u32, Share>,
    pub(super) orphans: Orphans,
    /// Buckets with entries in the ledger.
    pub(super) buckets: BTreeSet<u32>,
    /// Whether targets and buckets must be looked at again.
    pub(super) is_dirty: bool,
    /// Whether a reporter waits for more, so that leases beyond their target must shrink.
    pub(super) waits: bool,
}

impl Scope {
    /// The most that may be enforced in all, in parts per million. More than the whole only while some of it is assumed.
    pub(super) fn outstanding(&self) -> u64 {
        self.shares.values().map(|share| share.history.most()).sum::<u64>().saturating_add(self.orphans.sum())
    }

    /// What will be enforced once all targets are reached: leases are divided out of the rest.
    ///
    /// A reporter that has become the only one changes its leases for the whole in a single snapshot, as soon as nobody
    /// else can hold anything; until then it needs those leases, and the plan keeps room for them.
    pub(super) fn planned(&self) -> u64 {
        let planned = self.shares.values().map(|share| match share.target {
            PPM_WHOLE => share.given(),
            target => target,
        });
        planned.sum::<u64>().saturating_add(self.orphans.sum())
    }

    pub(super) fn retarget(&mut self) {
        let fleet = self.shares.values().filter(|share| share.is_in_fleet).count();
        let fair = fair_ppm(fleet);
        for share in self.shares.values_mut() {
            share.target = if share.is_in_fleet { fair } else { 0 };
        }
        self.waits = self.shares.values().any(Share::waits);
        self.is_dirty = false;
    }

    /// Those whose share is to shrink.
    pub(super) fn above_target(&self) -> impl Iterator<Item = u32> + '_ {
        self.shares.iter().filter(|(_, share)| share.given() > share.target).map(|(&member, _)| member)
    }

    /// Those whose share is to grow.
    pub(super) fn waiting(&self) -> impl Iterator<Item = u32> + '_ {
        self.shares.iter().filter(|(_, share)| share.waits()).map(|(&member, _)| member)
    }

    /// Whether the worst is assumed of somebody.
    pub(super) fn is_assumed(&self) -> bool {
        self.shares.values().any(|share| share.is_assumed)
    }

    pub(super) fn is_unused(&self) -> bool {
        self.shares.is_empty() && self.buckets.is_empty() && self.orphans.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_busy_reporter_misses_at_most_a_twentieth() {
        assert_eq!(fair_ppm(0), 0);
        assert_eq!(fair_ppm(1), PPM_WHOLE);
        for fleet in 2..200 {
            assert!(fair_ppm(fleet) * (fleet as u64 - 1) <= IDLE_PPM);
        }
        assert_eq!(fair_ppm(2), 50_000);
        assert_eq!(fair_ppm(11), 5_000);
    }
}
