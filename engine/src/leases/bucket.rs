//! One bucket: who wants it, who may be enforcing how much of it, and how it is to be divided.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::demand::Demand;
use super::fair_share::{Want, divide, divide_rest, portion};
use super::ledger::{Grant, History, Orphans, most_enforced, safe_part};
use super::safe_shares::{Scope, Share};

/// One (bucket, reporter) pair of the ledger.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) leases: History,
    pub(super) demand: Demand,
    /// Demand at the last division: a new division is worth it only when it has changed.
    pub(super) divided_demand: u64,
    /// What the reporter wants beyond its safe share.
    pub(super) wanted: u64,
    /// What it is to have beyond its safe share.
    pub(super) target: u64,
}

impl Entry {
    /// Whether it has noticeably less than it both wants and is to have.
    pub(super) fn is_short(&self) -> bool {
        let current = self.leases.current();
        self.target.min(self.wanted) > current + current / 16
    }
}

#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) policy: Arc<str>,
    pub(super) key: Arc<str>,
    pub(super) scope: Arc<str>,
    /// Microtokens per second; 0 once the policy is gone.
    pub(super) rate: u64,
    /// Microtokens.
    pub(super) burst: u64,
    /// The limit was lowered: until then a lease may be renewed at more than there is room for, if it does not grow.
    pub(super) lenient_until_ms: u64,
    /// The policy is gone: nothing is given, what was given runs out.
    pub(super) is_removed: bool,
    pub(super) entries: BTreeMap<u32, Entry>,
    pub(super) orphans: Orphans,
    pub(super) is_dirty: bool,
    pub(super) wake_ms: Option<u64>,
}

/// A change of one reporter's safe share, to be tried against a bucket.
pub(super) struct Trial<'a> {
    pub(super) member: u32,
    pub(super) shares: &'a History,
    /// Outstanding parts per million of the whole scope after the change.
    pub(super) outstanding: u64,
    /// The version that takes the reporter's lease away together with the change.
    pub(super) lease_ends_at: Option<u64>,
}

static NOTHING: Share =
    Share { history: History::NONE, target: 0, is_in_fleet: false, is_assumed: false, inherited: 0 };

pub(super) fn share_of(scope: &Scope, member: u32) -> &Share {
    scope.shares.get(&member).unwrap_or(&NOTHING)
}

impl Bucket {
    /// The most that all reporters together may be enforcing.
    pub(super) fn enforced(&self, scope: &Scope) -> u64 {
        let leases = self.entries.iter().map(|(&member, entry)| self.excess(scope, member, entry));
        self.beside_leases(scope.outstanding()).saturating_add(leases.fold(0, u64::saturating_add))
    }

    /// Whether the limit would still hold after a change of a safe share. Leases of a policy that is gone must have run out
    /// first: it may come back.
    pub(super) fn fits(&self, scope: &Scope, trial: &Trial<'_>) -> bool {
        let leases = self.entries.iter().map(|(&member, entry)| {
            if member != trial.member {
                return self.excess(scope, member, entry);
            }
            let mut leases = entry.leases.clone();
            if let Some(version) = trial.lease_ends_at {
                leases.give(Grant { version, amount: 0, expires_ms: 0 });
            }
            most_enforced(trial.shares, &leases, self.rate) - safe_part(self.rate, trial.shares.most())
        });
        let sum = leases.fold(self.beside_leases(trial.outstanding), u64::saturating_add);
        sum <= self.rate
    }

    /// The largest lease that one reporter may have, once its safe share is `ppm`.
    ///
    /// INVARIANT: with a lease up to this, [`Bucket::enforced`] does not exceed the rate, if it did not before.
    pub(super) fn room(&self, scope: &Scope, member: u32, ppm: u64) -> u64 {
        let own = self.entries.get(&member).map_or(0, |entry| self.excess(scope, member, entry));
        let safe_most = safe_part(self.rate, share_of(scope, member).history.most());
        let taken = (self.enforced(scope) - own).saturating_add(safe_part(self.rate, ppm));
        self.rate.saturating_add(safe_most).saturating_sub(taken)
    }

    /// Sets what everybody wants and is to have. While the engine learns, nobody is to have more than now.
    pub(super) fn divide(&mut self, scope: &Scope, is_learning: bool, now_ms: u64) {
        let pool = self.rate.saturating_sub(safe_part(self.rate, scope.planned())).saturating_sub(self.orphans.sum());
        let rate = self.rate;
        let mut wants = Vec::with_capacity(self.entries.len());
        let mut demands = Vec::with_capacity(self.entries.len());
        for (&member, entry) in &mut self.entries {
            let demand = entry.demand.at(now_ms).min(rate);
            entry.divided_demand = demand;
            // A quarter more, so that growth does not have to wait for the next division.
            let headroom = demand.saturating_add(demand / 4).min(rate);
            entry.wanted = headroom.saturating_sub(safe_part(rate, share_of(scope, member).target));
            let demand_of_lease = if is_learning { entry.leases.current() } else { entry.wanted };
            wants.push(Want { demand: demand_of_lease, weight: 1 });
            demands.push(demand);
        }
        let mut shares = divide(pool, &wants);
        if !is_learning {
            divide_rest(pool, &mut shares, &demands);
        }
        for (entry, target) in self.entries.values_mut().zip(shares) {
            entry.target = target;
        }
    }

    /// Drops what has run out.
    pub(super) fn expire(&mut self, now_ms: u64) {
        self.orphans.expire(now_ms);
        for entry in self.entries.values_mut() {
            entry.leases.expire(now_ms);
            if entry.leases.most() == 0 {
                entry.leases = History::default();
            }
        }
    }

    /// Burst of a lease: the bucket's, in proportion to its part of the rate.
    pub(super) fn burst_of(&self, rate: u64) -> u64 {
        portion(self.burst, rate.min(self.rate), self.rate)
    }

    pub(super) fn is_unused(&self) -> bool {
        self.entries.is_empty() && self.orphans.is_empty()
    }

    fn beside_leases(&self, outstanding_ppm: u64) -> u64 {
        safe_part(self.rate, outstanding_ppm).saturating_add(self.orphans.sum())
    }

    /// What a lease may add to the largest safe part of its reporter.
    fn excess(&self, scope: &Scope, member: u32, entry: &Entry) -> u64 {
        let shares = &share_of(scope, member).history;
        most_enforced(shares, &entry.leases, self.rate) - safe_part(self.rate, shares.most())
    }
}
