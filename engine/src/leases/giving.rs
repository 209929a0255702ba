//! What is pushed to one reporter in one snapshot, and recorded in the ledger.

use std::sync::Arc;

use tollgate_api::v1;

use super::Leases;
use super::bucket::Trial;
use super::ledger::{Grant, History, NEVER, PPM_WHOLE};
use super::model::{Changes, StreamId};
use super::safe_shares::Scope;

impl Leases {
    /// Whether something is due on the stream. Set by [`Leases::tick`].
    pub fn has_changes(&self, stream: StreamId, now_ms: u64) -> bool {
        let Some(reporter) = self.reporters.get(&stream.member).filter(|reporter| reporter.is_current(stream)) else {
            return false;
        };
        let is_new = reporter.stream.as_ref().is_some_and(|stream| stream.is_new);
        let is_due = is_new || !reporter.due_buckets.is_empty() || !reporter.due_scopes.is_empty();
        is_due && reporter.is_reachable(self.ttl_ms, now_ms)
    }

    /// What to push on the stream now; empty when nothing is due. It is recorded in the ledger as given under `version`, which
    /// never falls, and must reach the reporter in one snapshot of that version or not at all. The first changes
    /// of a stream belong into a whole snapshot: they hold everything that the reporter is to have.
    pub fn changes(&mut self, stream: StreamId, version: u64, now_ms: u64) -> Changes {
        let Some(reporter) = self.reporters.get_mut(&stream.member).filter(|reporter| reporter.is_current(stream))
        else {
            return Changes::default();
        };
        let version = version.max(reporter.last_version);
        let is_reachable = reporter.is_reachable(self.ttl_ms, now_ms);
        let Some(current) = &mut reporter.stream else { return Changes::default() };
        let echo_ms = current.echo_ms;
        if !is_reachable {
            return Changes { echo_ms, ..Changes::default() };
        }
        if std::mem::take(&mut current.is_new) {
            // What the reporter claims in its hello must have been divided before it is restated.
            self.tick(now_ms);
            self.make_everything_due(stream.member);
        }
        let safe_shares = self.give_safe_shares(stream.member, version, now_ms);
        let leases = self.give_leases(stream.member, version, now_ms);
        if let Some(reporter) = self.reporters.get_mut(&stream.member)
            && !(safe_shares.is_empty() && leases.is_empty())
        {
            reporter.gave(version, now_ms);
        }
        Changes { leases, safe_shares, echo_ms }
    }

    fn make_everything_due(&mut self, id: u32) {
        if let Some(reporter) = self.reporters.get_mut(&id) {
            reporter.due_scopes = reporter.scopes.clone();
            reporter.due_buckets = reporter.buckets.clone();
        }
    }

    /// Whether a safe share can grow to its target under this version without breaking the limit of any bucket.
    ///
    /// A share that becomes the whole takes the place of the reporter's leases, which end with the same snapshot.
    pub(super) fn can_grow(&self, scope: &Scope, id: u32, version: u64, now_ms: u64) -> bool {
        let Some(share) = scope.shares.get(&id) else { return false };
        let known = if share.is_assumed { History::NONE } else { share.history.clone() };
        let mut after = known.clone();
        after.give(Grant { version, amount: share.target, expires_ms: NEVER });
        if self.is_learning(now_ms) && after.most() > known.most().max(share.inherited) {
            return false;
        }
        let outstanding = scope.outstanding() - share.history.most() + after.most();
        let lease_ends_at = (share.target == PPM_WHOLE).then_some(version);
        let trial = Trial { member: id, shares: &after, outstanding, lease_ends_at };
        let mut buckets = scope.buckets.iter().filter_map(|bucket| self.buckets.get(bucket));
        outstanding <= PPM_WHOLE && buckets.all(|bucket| bucket.fits(scope, &trial))
    }

    fn give_safe_shares(&mut self, id: u32, version: u64, now_ms: u64) -> Vec<v1::SafeShare> {
        let due = self.reporters.get_mut(&id).map(|reporter| std::mem::take(&mut reporter.due_scopes));
        due.into_iter().flatten().filter_map(|name| self.give_safe_share(id, &name, version, now_ms)).collect()
    }

    fn give_safe_share(&mut self, id: u32, name: &Arc<str>, version: u64, now_ms: u64) -> Option<v1::SafeShare> {
        let scope = self.scopes.get(name)?;
        let share = scope.shares.get(&id)?;
        let (given, target) = (share.given(), share.target);
        let grows = target > given && self.can_grow(scope, id, version, now_ms);
        let ppm = if grows { target } else { target.min(given) };
        let scope = self.scopes.get_mut(name)?;
        let share = scope.shares.get_mut(&id)?;
        if ppm == 0 && share.history.is_empty() {
            return None;
        }
        let kept = share.history.most();
        share.history.give(Grant { version, amount: ppm, expires_ms: NEVER });
        let is_more = share.history.most() > kept;
        if grows && ppm == PPM_WHOLE {
            self.end_leases(id, name);
        }
        if is_more {
            self.members_revision += 1;
        }
        self.touch_scope(name);
        Some(v1::SafeShare { scope: name.to_string(), parts_per_million: u32::try_from(ppm).unwrap_or(0) })
    }

    /// The reporter has the whole of every bucket now: its leases end in the same snapshot.
    fn end_leases(&mut self, id: u32, name: &Arc<str>) {
        let Some(scope) = self.scopes.get(name) else { return };
        let Some(reporter) = self.reporters.get_mut(&id) else { return };
        for bucket_id in reporter.buckets.intersection(&scope.buckets) {
            let entry = self.buckets.get_mut(bucket_id).and_then(|bucket| bucket.entries.get_mut(&id));
            if let Some(entry) = entry {
                entry.target = 0;
                reporter.due_buckets.insert(*bucket_id);
            }
        }
    }

    fn give_leases(&mut self, id: u32, version: u64, now_ms: u64) -> Vec<v1::Lease> {
        let due = self.reporters.get_mut(&id).map(|reporter| std::mem::take(&mut reporter.due_buckets));
        due.into_iter().flatten().filter_map(|bucket| self.give_lease(id, bucket, version, now_ms)).collect()
    }

    fn give_lease(&mut self, id: u32, bucket_id: u32, version: u64, now_ms: u64) -> Option<v1::Lease> {
        let is_learning = self.is_learning(now_ms);
        let bucket = self.buckets.get_mut(&bucket_id).filter(|bucket| !bucket.is_removed)?;
        let scope = self.scopes.get(&bucket.scope)?;
        let share = super::bucket::share_of(scope, id);
        // While the share is assumed, the snapshot that lowers it may not have been given.
        let ppm = if share.is_assumed { share.history.most() } else { share.given() };
        let room = if is_learning { 0 } else { bucket.room(scope, id, ppm) };
        let reporter = self.reporters.get_mut(&id)?;
        let entry = bucket.entries.get_mut(&id)?;
        entry.leases.expire(now_ms);
        let current = entry.leases.current();
        // Where less is left than was given, because a limit was lowered or the worst is assumed of somebody, a lease need not
        // shrink beyond its target at once. But not for ever: the sum would otherwise never come down to the limit.
        // A claim from before is no reason: it may have run out on its way, and have been given to others since.
        let is_ours = entry.leases.newest().is_some_and(|lease| lease.version > 0);
        let is_lenient = is_learning || (is_ours && (now_ms < bucket.lenient_until_ms || scope.is_assumed()));
        let rate = entry.target.min(if is_lenient { room.max(current) } else { room });
        let expires_ms = reporter.heard_ms + self.ttl_ms + self.margin_ms;
        if (rate == 0 && entry.leases.is_empty()) || expires_ms <= now_ms {
            return None;
        }
        entry.leases.give(Grant { version, amount: rate, expires_ms });
        if !entry.leases.is_settled() {
            reporter.unsettled.insert(bucket_id);
        }
        let named = v1::Bucket { policy: bucket.policy.to_string(), key: bucket.key.to_string() };
        let burst = bucket.burst_of(rate);
        self.touch_bucket(bucket_id);
        Some(v1::Lease { bucket: Some(named), rate, burst, ttl_ms: self.ttl_ms })
    }
}
