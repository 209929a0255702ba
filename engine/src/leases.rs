//! Divides the limits of buckets among reporters, as safe shares without expiry and leases that expire. It has no clock
//! and does no I/O: every call is told the engine's monotonic time.
//!
//! INVARIANT: for every bucket, what all reporters together may be enforcing (safe shares, leases that have not run out,
//! and whatever processes hold that cannot be reached any more) is at most the bucket's rate; and so in proportion for bursts.
//!
//! It holds because
//! - a reporter applies snapshots whole and in order, so that its state is the one after some version sent to it, no older
//!   than the newest that it acknowledged; the ledger counts the worst of them (`ledger::most_enforced`);
//! - only what is left of the rate beside all of that is given (`bucket::Bucket::room`); a safe share grows only when it fits beside
//!   the leases of every bucket of its scope;
//! - a lease runs from a reading of the reporter's clock that it sent before, and the engine counts it from when that reading
//!   arrived, plus a margin for clocks that drift apart: the reporter always stops first;
//! - nothing counts as acknowledged on a stream before the reporter acknowledges something else than in its hello, since
//!   versions of an earlier run of the engine may look like ours;
//! - a new epoch is another process: the leases of the old one stay counted until they run out. If the old one was still
//!   connected, so does its safe share for one `ttl`, by when a process whose stream was ended as replaced must have
//!   stopped; if it was not, it is taken for dead and its successor inherits the safe share;
//! - after a restart nothing is raised for one `ttl` (learning), and safe shares of known members stay reserved.
//!
//! A lowered limit holds once every reporter enforces the new policies and at most two `ttl` and margins have passed; until
//! then the sum stays within the larger limit. A changed scope of a policy is a policy removed and another added: for
//! as long both may be enforced. A reporter that was forgotten but lives on cut off must give up its safe share after
//! `member_ttl` by itself. A shorter `ttl` than in the last run of the engine is safe only once that longer one has passed.
//!
//! In reading order: `model` the types, `fair_share` and `demand` the arithmetic, `ledger` what may be in force,
//! `safe_shares` and `bucket` one scope and one bucket, `members` the reporters, `joining` who comes and goes, `division`
//! what is due, `giving` what is pushed.

mod bucket;
mod demand;
mod division;
mod fair_share;
mod giving;
mod joining;
mod ledger;
mod members;
mod model;
mod safe_shares;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bucket::{Bucket, Entry};
use members::Reporter;
pub use model::{BucketLimit, Changes, Hello, LeaseConfig, LeaseRow, Member, StreamId, TooManyMembers};
use safe_shares::{Scope, Share};

/// (bucket, reporter) pairs in the ledger. Beyond, a reporter has no more than its safe share of a bucket that is new to it.
const ENTRIES_MAX: usize = 100_000;
/// Reporters. Beyond, none can join until one is forgotten.
const MEMBERS_MAX: usize = 10_000;
/// Longer keys are not leased.
const KEY_BYTES_MAX: usize = 1024;

/// Divides limits among reporters.
#[derive(Debug)]
pub struct Leases {
    ttl_ms: u64,
    margin_ms: u64,
    member_ttl_ms: u64,
    learning_until_ms: u64,
    limits: BTreeMap<Arc<str>, BucketLimit>,
    reporters: BTreeMap<u32, Reporter>,
    reporter_ids: BTreeMap<Arc<str>, u32>,
    next_reporter: u32,
    next_stream: u64,
    scopes: BTreeMap<Arc<str>, Scope>,
    buckets: BTreeMap<u32, Bucket>,
    bucket_ids: BTreeMap<Arc<str>, BTreeMap<Arc<str>, u32>>,
    next_bucket: u32,
    entries: usize,
    entries_max: usize,
    dirty_scopes: BTreeSet<Arc<str>>,
    dirty_buckets: Vec<u32>,
    /// When a bucket must be looked at though nothing has happened to it.
    timers: BTreeSet<(u64, u32)>,
    housekeeping_ms: u64,
    members_revision: u64,
    members_slack: u64,
}

impl Leases {
    /// `known` are the members that an earlier run of the engine kept; `None` only at the very first start, when no reporter
    /// can hold anything and there is nothing to learn.
    pub fn new(config: LeaseConfig, now_ms: u64, known: Option<Vec<Member>>) -> Leases {
        let ms = |duration: std::time::Duration| duration.as_millis().min(u128::from(u32::MAX)) as u64;
        let (ttl_ms, margin_ms) = (ms(config.ttl).max(1), ms(config.margin));
        let mut leases = Leases {
            ttl_ms,
            margin_ms,
            member_ttl_ms: ms(config.member_ttl).max(2 * (ttl_ms + margin_ms)),
            learning_until_ms: if known.is_some() { now_ms + ttl_ms + margin_ms } else { 0 },
            limits: BTreeMap::new(),
            reporters: BTreeMap::new(),
            reporter_ids: BTreeMap::new(),
            next_reporter: 0,
            next_stream: 1,
            scopes: BTreeMap::new(),
            buckets: BTreeMap::new(),
            bucket_ids: BTreeMap::new(),
            next_bucket: 0,
            entries: 0,
            entries_max: ENTRIES_MAX,
            dirty_scopes: BTreeSet::new(),
            dirty_buckets: Vec::new(),
            timers: BTreeSet::new(),
            housekeeping_ms: 0,
            members_revision: 1,
            members_slack: 0,
        };
        for member in known.unwrap_or_default() {
            leases.remember(&member, now_ms);
        }
        leases
    }

    /// Replaces all limits. A policy that is not among them is gone.
    pub fn set_limits(&mut self, limits: &[BucketLimit], now_ms: u64) {
        let new = limits.iter().map(|limit| (limit.policy.clone(), limit.clone())).collect();
        let old = std::mem::replace(&mut self.limits, new);
        let policies: BTreeSet<Arc<str>> = old.keys().chain(self.limits.keys()).cloned().collect();
        for policy in policies {
            if old.get(&policy) == self.limits.get(&policy) {
                continue;
            }
            let ids: Vec<u32> = self.bucket_ids.get(&policy).map_or(Vec::new(), |ids| ids.values().copied().collect());
            for id in ids {
                self.limit_changed(id, now_ms);
            }
        }
    }

    fn limit_changed(&mut self, id: u32, now_ms: u64) {
        let Some(bucket) = self.buckets.get_mut(&id) else { return };
        bucket.lenient_until_ms = now_ms + self.ttl_ms + self.margin_ms;
        match self.limits.get(&bucket.policy) {
            None => (bucket.rate, bucket.burst, bucket.is_removed) = (0, 0, true),
            Some(limit) => {
                (bucket.rate, bucket.burst, bucket.is_removed) = (limit.rate, limit.burst, false);
                let old_scope = std::mem::replace(&mut bucket.scope, limit.scope.clone());
                if old_scope != limit.scope {
                    if let Some(scope) = self.scopes.get_mut(&old_scope) {
                        scope.buckets.remove(&id);
                    }
                    self.scopes.entry(limit.scope.clone()).or_default().buckets.insert(id);
                }
            }
        }
        self.touch_bucket(id);
    }

    /// Moves whenever [`Leases::members`] hold less than what was kept. Kept late, it only reserves too much after a restart.
    pub fn members_slack(&self) -> u64 {
        self.members_slack
    }

    /// Moves whenever somebody joined or may hold more than what was kept. Must be compared after [`Leases::changes`], and the members kept before
    /// those changes are pushed: a restarted engine that does not know of a safe share would give it away twice.
    pub fn members_revision(&self) -> u64 {
        self.members_revision
    }

    /// The members with the most that they may hold, to be kept across restarts.
    pub fn members(&self) -> Vec<Member> {
        let shares = |id: &u32, reporter: &Reporter| {
            let share = |scope: &Arc<str>| Some((scope.to_string(), self.scopes.get(scope)?.shares.get(id)?));
            reporter.scopes.iter().filter_map(share).partition::<Vec<_>, _>(|(_, share)| share.is_assumed)
        };
        let ppm = |share: &Share| share.history.most().min(ledger::PPM_WHOLE) as u32;
        let member = |(id, reporter): (&u32, &Reporter)| {
            let (assumed, known) = shares(id, reporter);
            Member {
                reporter: reporter.name.to_string(),
                epoch: reporter.epoch,
                services: reporter.services.iter().map(ToString::to_string).collect(),
                safe_shares: known.into_iter().map(|(scope, share)| (scope, ppm(share))).collect(),
                assumed: assumed.into_iter().map(|(scope, _)| scope).collect(),
            }
        };
        self.reporters.iter().map(member).collect()
    }

    /// The ledger, for people.
    pub fn rows(&self, now_ms: u64) -> Vec<LeaseRow> {
        let rows_of = |bucket: &Bucket| {
            let row = |(id, entry): (&u32, &Entry)| self.row(bucket, *id, entry, now_ms);
            bucket.entries.iter().filter_map(row).collect::<Vec<_>>()
        };
        self.buckets.values().flat_map(rows_of).collect()
    }

    fn row(&self, bucket: &Bucket, id: u32, entry: &Entry, now_ms: u64) -> Option<LeaseRow> {
        let reporter = self.reporters.get(&id)?;
        let share = bucket::share_of(self.scopes.get(&bucket.scope)?, id);
        let newest = entry.leases.newest();
        let acknowledged = reporter.stream.as_ref().map_or(0, |stream| stream.acknowledged);
        Some(LeaseRow {
            policy: bucket.policy.clone(),
            key: bucket.key.clone(),
            reporter: reporter.name.clone(),
            rate: entry.leases.current(),
            burst: bucket.burst_of(entry.leases.current()),
            safe_rate: ledger::safe_part(bucket.rate, share.given()),
            outstanding_rate: entry.leases.most(),
            expires_in_ms: newest.map_or(0, |grant| grant.expires_ms.saturating_sub(now_ms)),
            acknowledged: newest.is_none_or(|grant| grant.version <= acknowledged),
            demand: entry.demand.at(now_ms),
        })
    }

    fn is_learning(&self, now_ms: u64) -> bool {
        now_ms < self.learning_until_ms
    }

    fn touch_bucket(&mut self, id: u32) {
        if let Some(bucket) = self.buckets.get_mut(&id)
            && !std::mem::replace(&mut bucket.is_dirty, true)
        {
            self.dirty_buckets.push(id);
        }
    }

    fn touch_scope(&mut self, name: &Arc<str>) {
        if let Some(scope) = self.scopes.get_mut(name)
            && !std::mem::replace(&mut scope.is_dirty, true)
        {
            self.dirty_scopes.insert(name.clone());
        }
    }
}
