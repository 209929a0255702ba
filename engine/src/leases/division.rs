//! Forgets, expires, divides anew what has changed, and marks what is due for whom. Buckets that nothing happened to cost
//! nothing but a timer.

use std::sync::Arc;

use super::Leases;
use super::bucket::{Bucket, Entry, share_of};
use super::members::Reporter;
use super::safe_shares::Scope;

/// How often things without a timer are looked at.
const HOUSEKEEPING_MS: u64 = 100;

impl Leases {
    /// To be called every 100 ms or so, and after messages that should take effect at once.
    pub fn tick(&mut self, now_ms: u64) {
        self.keep_house(now_ms);
        while let Some(&(at, id)) = self.timers.first().filter(|(at, _)| *at <= now_ms) {
            self.timers.remove(&(at, id));
            if let Some(bucket) = self.buckets.get_mut(&id) {
                bucket.wake_ms = None;
            }
            self.touch_bucket(id);
        }
        for name in std::mem::take(&mut self.dirty_scopes) {
            self.retarget(&name, now_ms);
        }
        for id in std::mem::take(&mut self.dirty_buckets) {
            self.divide(id, now_ms);
        }
        self.offer_safe_shares(now_ms);
    }

    fn keep_house(&mut self, now_ms: u64) {
        if now_ms < self.housekeeping_ms {
            return;
        }
        self.housekeeping_ms = now_ms + HOUSEKEEPING_MS;
        if self.learning_until_ms != 0 && !self.is_learning(now_ms) {
            self.learning_until_ms = 0;
            let names: Vec<Arc<str>> = self.scopes.keys().cloned().collect();
            names.iter().for_each(|name| self.touch_scope(name));
        }
        let silent = |reporter: &Reporter| reporter.heard_ms + self.member_ttl_ms < now_ms;
        let forgotten: Vec<u32> =
            self.reporters.iter().filter(|(_, reporter)| silent(reporter)).map(|(&id, _)| id).collect();
        forgotten.into_iter().for_each(|id| self.forget(id));
        let mut freed = Vec::new();
        for (name, scope) in &mut self.scopes {
            if scope.orphans.expire(now_ms) {
                freed.push(name.clone());
            }
        }
        freed.iter().for_each(|name| self.touch_scope(name));
    }

    /// Sets the safe shares that are to be, and looks at all buckets of the scope again.
    fn retarget(&mut self, name: &Arc<str>, now_ms: u64) {
        let Some(scope) = self.scopes.get_mut(name) else { return };
        scope.shares.retain(|id, share| {
            let is_over = !share.is_in_fleet && share.history.most() == 0;
            if is_over && let Some(reporter) = self.reporters.get_mut(id) {
                reporter.scopes.remove(name);
            }
            !is_over
        });
        scope.retarget();
        for id in scope.above_target() {
            if let Some(reporter) = self.reporters.get_mut(&id)
                && reporter.is_reachable(self.ttl_ms, now_ms)
            {
                reporter.due_scopes.insert(name.clone());
            }
        }
        if scope.is_unused() {
            self.scopes.remove(name);
            return;
        }
        let buckets: Vec<u32> = scope.buckets.iter().copied().collect();
        buckets.into_iter().for_each(|id| self.touch_bucket(id));
    }

    /// Marks the growth of safe shares as due where it fits.
    fn offer_safe_shares(&mut self, now_ms: u64) {
        let mut offers = Vec::new();
        for (name, scope) in self.scopes.iter().filter(|(_, scope)| scope.waits) {
            for id in scope.waiting() {
                let Some(reporter) = self.reporters.get(&id) else { continue };
                if reporter.is_reachable(self.ttl_ms, now_ms) && self.can_grow(scope, id, u64::MAX, now_ms) {
                    offers.push((id, name.clone()));
                }
            }
        }
        for (id, name) in offers {
            if let Some(reporter) = self.reporters.get_mut(&id) {
                reporter.due_scopes.insert(name);
            }
        }
    }

    /// Divides one bucket and marks who is to be told.
    fn divide(&mut self, id: u32, now_ms: u64) {
        let is_learning = self.is_learning(now_ms);
        let Some(bucket) = self.buckets.get_mut(&id) else { return };
        bucket.is_dirty = false;
        bucket.expire(now_ms);
        self.drop_idle_entries(id, now_ms);
        let Some(bucket) = self.buckets.get_mut(&id) else { return };
        let Some(scope) = self.scopes.get(&bucket.scope) else { return };
        bucket.divide(scope, is_learning, now_ms);
        let view = View { bucket, scope, is_learning, now_ms, ttl_ms: self.ttl_ms, margin_ms: self.margin_ms };
        for member in view.due(id, &self.reporters) {
            if let Some(reporter) = self.reporters.get_mut(&member) {
                reporter.due_buckets.insert(id);
            }
        }
        let wake_ms = view.wake_ms(id);
        self.set_timer(id, wake_ms);
    }

    /// Forgets entries that neither hold nor want anything, and the bucket when none is left.
    fn drop_idle_entries(&mut self, id: u32, now_ms: u64) {
        let Some(bucket) = self.buckets.get_mut(&id) else { return };
        let reporters = &mut self.reporters;
        let before = bucket.entries.len();
        let is_removed = bucket.is_removed;
        bucket.entries.retain(|member, entry| {
            let is_idle = entry.leases.is_empty() && (is_removed || entry.demand.at(now_ms) == 0);
            if is_idle && let Some(reporter) = reporters.get_mut(member) {
                reporter.buckets.remove(&id);
                reporter.unsettled.remove(&id);
                reporter.due_buckets.remove(&id);
            }
            !is_idle
        });
        self.entries -= before - bucket.entries.len();
        if !bucket.is_unused() {
            return;
        }
        let Some(bucket) = self.buckets.remove(&id) else { return };
        if let Some(wake_ms) = bucket.wake_ms {
            self.timers.remove(&(wake_ms, id));
        }
        if let Some(scope) = self.scopes.get_mut(&bucket.scope) {
            scope.buckets.remove(&id);
            let is_unused = scope.is_unused();
            if is_unused {
                self.scopes.remove(&bucket.scope);
            }
        }
        if let Some(ids) = self.bucket_ids.get_mut(&bucket.policy) {
            ids.remove(&bucket.key);
            if ids.is_empty() {
                self.bucket_ids.remove(&bucket.policy);
            }
        }
    }

    fn set_timer(&mut self, id: u32, wake_ms: Option<u64>) {
        let Some(bucket) = self.buckets.get_mut(&id) else { return };
        if bucket.wake_ms == wake_ms {
            return;
        }
        if let Some(old) = std::mem::replace(&mut bucket.wake_ms, wake_ms) {
            self.timers.remove(&(old, id));
        }
        if let Some(new) = wake_ms {
            self.timers.insert((new, id));
        }
    }
}

/// One bucket at one moment.
struct View<'a> {
    bucket: &'a Bucket,
    scope: &'a Scope,
    is_learning: bool,
    now_ms: u64,
    ttl_ms: u64,
    margin_ms: u64,
}

impl View<'_> {
    /// Reporters to which a lease is due.
    fn due(&self, id: u32, reporters: &std::collections::BTreeMap<u32, Reporter>) -> Vec<u32> {
        if self.bucket.is_removed {
            return Vec::new();
        }
        let reachable =
            |member: &u32| reporters.get(member).filter(|reporter| reporter.is_reachable(self.ttl_ms, self.now_ms));
        let is_wanted = self.scope.waits
            || self.bucket.entries.values().any(Entry::is_short)
            || self.bucket.enforced(self.scope) > self.bucket.rate;
        // Those renewed together once stay together, so that a bucket is looked at once in half a ttl and not for each of them.
        let renews = |entry: &Entry, early_ms: u64| {
            entry.leases.newest().is_some_and(|lease| {
                lease.amount > 0 && self.renewal_ms(id, lease.expires_ms) <= self.now_ms + early_ms
            })
        };
        let round = self.bucket.entries.values().any(|entry| renews(entry, 0));
        let early_ms = if round { self.ttl_ms / 4 } else { 0 };
        let is_due = |(member, entry): (&u32, &Entry)| {
            let reporter = reachable(member)?;
            let current = entry.leases.current();
            let shrinks = is_wanted && entry.target < current;
            let grows = || !self.is_learning && entry.is_short() && self.room(*member) > current;
            let renews = || renews(entry, early_ms) && self.extends(entry, reporter);
            (shrinks || grows() || renews()).then_some(*member)
        };
        self.bucket.entries.iter().filter_map(is_due).collect()
    }

    /// Room for the reporter's lease in the snapshot that also lowers its safe share, where that is due.
    fn room(&self, member: u32) -> u64 {
        let share = share_of(self.scope, member);
        let ppm = if share.is_assumed { share.history.most() } else { share.given().min(share.target) };
        self.bucket.room(self.scope, member, ppm)
    }

    /// Whether a renewal would last noticeably longer: it runs from the reporter's newest message.
    fn extends(&self, entry: &Entry, reporter: &Reporter) -> bool {
        let expires_ms = entry.leases.newest().map_or(0, |lease| lease.expires_ms);
        reporter.heard_ms + self.ttl_ms + self.margin_ms > expires_ms + self.ttl_ms / 8
    }

    /// Half a ttl after the lease was given, and up to an eighth earlier, which spreads buckets over time.
    fn renewal_ms(&self, id: u32, expires_ms: u64) -> u64 {
        let spread = (u64::from(id.wrapping_mul(0x9E37_79B9) >> 16) * (self.ttl_ms / 8)) >> 16;
        expires_ms.saturating_sub(self.margin_ms + self.ttl_ms / 2 + spread)
    }

    /// When the bucket must be looked at again though nothing happens to it.
    fn wake_ms(&self, id: u32) -> Option<u64> {
        let retry_ms = self.now_ms + (self.ttl_ms / 16).max(1);
        let of_entry = |entry: &Entry| {
            let renewal = entry.leases.newest().filter(|lease| lease.amount > 0).map(|lease| {
                // A renewal that was just made due, or cannot be made now, is tried again a little later.
                self.renewal_ms(id, lease.expires_ms).max(retry_ms)
            });
            let fall = entry.demand.next_fall_ms(self.now_ms);
            [renewal, fall, entry.leases.first_expiry_ms()].into_iter().flatten().min()
        };
        let entries = self.bucket.entries.values().filter_map(of_entry).min();
        [entries, self.bucket.orphans.first_expiry_ms()].into_iter().flatten().min()
    }
}
