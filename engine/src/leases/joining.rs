//! Who comes and goes, what they say they hold, what they acknowledge and what they want.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollgate_api::v1;

use super::bucket::{Bucket, Entry};
use super::ledger::{History, NEVER, Orphans, PPM_WHOLE};
use super::members::{Reporter, Stream};
use super::model::{Hello, Member, StreamId, TooManyMembers};
use super::{KEY_BYTES_MAX, Leases, MEMBERS_MAX};

/// The scope of all policies that are not fixed to one service.
const EVERYWHERE: &str = "*";

impl Leases {
    /// A stream of a reporter begins with this message. It replaces the reporter's stream before, whose other end must be told.
    pub fn join(&mut self, hello: &Hello<'_>, now_ms: u64) -> Result<StreamId, TooManyMembers> {
        let (id, is_unknown) = match self.reporter_ids.get(hello.reporter) {
            Some(&id) => (id, false),
            None => (self.add_reporter(Reporter::new(hello.reporter, hello.epoch, hello.services, now_ms))?, true),
        };
        // A replaced process that comes back is as unknown as one from an earlier run of the engine.
        let is_unknown = self.supersede(id, hello.epoch, now_ms) || is_unknown;
        self.set_services(id, hello.services);
        if hello.acknowledged_version != 0 {
            self.claim_safe_shares(id, hello, is_unknown);
            self.claim_leases(id, hello.held, now_ms);
        }
        let generation = self.next_stream;
        self.next_stream += 1;
        if let Some(reporter) = self.reporters.get_mut(&id) {
            reporter.heard_ms = now_ms;
            reporter.stream = Some(Stream {
                generation,
                echo_ms: hello.sent_ms,
                first_acknowledged: Some(hello.acknowledged_version),
                acknowledged: 0,
                is_new: true,
                waits: None,
            });
        }
        self.touch_all_of(id);
        self.members_revision += 1;
        Ok(StreamId { member: id, generation })
    }

    /// A later message of the stream.
    pub fn heard(&mut self, stream: StreamId, sent_ms: u64, acknowledged_version: u64, now_ms: u64) {
        let Some(reporter) = self.reporters.get_mut(&stream.member).filter(|reporter| reporter.is_current(stream))
        else {
            return;
        };
        let was_reachable = reporter.is_reachable(self.ttl_ms, now_ms);
        reporter.heard_ms = reporter.heard_ms.max(now_ms);
        if let Some(current) = &mut reporter.stream {
            current.echo_ms = current.echo_ms.max(sent_ms);
        }
        if let Some(version) = reporter.acknowledge(acknowledged_version, now_ms) {
            self.settle(stream.member, version);
            if !was_reachable {
                self.touch_all_of(stream.member);
            }
        }
    }

    /// What the reporter wanted from one bucket. A bucket that is new to it is not counted when the ledger is full.
    pub fn demand(&mut self, stream: StreamId, demand: &v1::Demand, now_ms: u64) {
        let Some(named) = &demand.bucket else { return };
        if !self.reporters.get(&stream.member).is_some_and(|reporter| reporter.is_current(stream)) {
            return;
        }
        if !self.limits.contains_key(named.policy.as_str()) {
            return;
        }
        let Some(id) = self.open(&named.policy, &named.key, stream.member) else { return };
        let Some(bucket) = self.buckets.get_mut(&id) else { return };
        let Some(entry) = bucket.entries.get_mut(&stream.member) else { return };
        entry.demand.add(demand.wanted, demand.interval_ms, bucket.rate, now_ms);
        let rate = entry.demand.at(now_ms);
        if rate.abs_diff(entry.divided_demand) > entry.divided_demand / 16 {
            self.touch_bucket(id);
        }
    }

    /// The stream broke. The reporter may go on enforcing what it holds, and stays a member.
    pub fn disconnected(&mut self, stream: StreamId, _now_ms: u64) {
        if let Some(reporter) = self.reporters.get_mut(&stream.member).filter(|reporter| reporter.is_current(stream)) {
            reporter.stream = None;
            reporter.due_buckets.clear();
            reporter.due_scopes.clear();
        }
    }

    /// The reporter said on this stream that it enforces nothing any more, and will not: what it held is free at once.
    pub fn leave(&mut self, stream: StreamId, _now_ms: u64) {
        if self.reporters.get(&stream.member).is_some_and(|reporter| reporter.is_current(stream)) {
            self.forget(stream.member);
        }
    }

    pub(super) fn forget(&mut self, id: u32) {
        let Some(reporter) = self.reporters.remove(&id) else { return };
        self.reporter_ids.remove(&reporter.name);
        for bucket_id in reporter.buckets {
            if let Some(bucket) = self.buckets.get_mut(&bucket_id)
                && bucket.entries.remove(&id).is_some()
            {
                self.entries -= 1;
                self.touch_bucket(bucket_id);
            }
        }
        for name in reporter.scopes {
            if let Some(scope) = self.scopes.get_mut(&name) {
                scope.shares.remove(&id);
            }
            self.touch_scope(&name);
        }
        self.members_slack += 1;
    }

    /// A member of an earlier run of the engine: what it may hold stays reserved.
    pub(super) fn remember(&mut self, member: &Member, now_ms: u64) {
        let reporter = Reporter::new(&member.reporter, member.epoch, &member.services, now_ms);
        if self.reporter_ids.contains_key(&reporter.name) {
            return;
        }
        let Ok(id) = self.add_reporter(reporter) else { return };
        self.set_services(id, &member.services);
        for (scope, ppm) in &member.safe_shares {
            let share = self.share_mut(id, &Arc::from(scope.as_str()));
            share.history = History::held(u64::from(*ppm).min(PPM_WHOLE), NEVER);
        }
        for scope in &member.assumed {
            self.share_mut(id, &Arc::from(scope.as_str())).assume_the_worst();
        }
    }

    fn add_reporter(&mut self, reporter: Reporter) -> Result<u32, TooManyMembers> {
        if self.reporters.len() >= MEMBERS_MAX {
            return Err(TooManyMembers { members: self.reporters.len() });
        }
        let id = self.next_reporter;
        self.next_reporter += 1;
        self.reporter_ids.insert(reporter.name.clone(), id);
        self.reporters.insert(id, reporter);
        Ok(id)
    }

    /// If this is another process than before, sets aside what the earlier one may still be enforcing. Says whether it is.
    fn supersede(&mut self, id: u32, epoch: u64, now_ms: u64) -> bool {
        let Some(reporter) = self.reporters.get_mut(&id).filter(|reporter| reporter.epoch != epoch) else {
            return false;
        };
        reporter.epoch = epoch;
        let was_connected = reporter.stream.is_some();
        reporter.unsettled.clear();
        let (buckets, scopes) = (reporter.buckets.clone(), reporter.scopes.clone());
        for bucket_id in buckets {
            let Some(bucket) = self.buckets.get_mut(&bucket_id) else { continue };
            let Some(entry) = bucket.entries.get_mut(&id) else { continue };
            let leases = std::mem::take(&mut entry.leases);
            bucket.orphans.add(leases.most(), leases.last_expiry_ms().unwrap_or(now_ms));
        }
        for name in scopes {
            let Some(scope) = self.scopes.get_mut(&name) else { continue };
            let Some(share) = scope.shares.get_mut(&id) else { continue };
            let most = share.history.most();
            // The new process holds nothing, whatever stays reserved for it. What was only assumed of the old one is nothing
            // that it could inherit.
            let inherits = !was_connected && !share.is_assumed;
            share.inherited = if inherits { most } else { 0 };
            share.history = if inherits { History::held(most, NEVER) } else { History::default() };
            share.is_assumed = inherits;
            if was_connected {
                scope.orphans.add(most, now_ms + self.ttl_ms + self.margin_ms);
            }
        }
        true
    }

    fn set_services(&mut self, id: u32, services: &[String]) {
        let mut fleets: BTreeSet<Arc<str>> = services.iter().map(|service| Arc::from(service.as_str())).collect();
        if let Some(reporter) = self.reporters.get_mut(&id) {
            reporter.services = fleets.clone();
        }
        if !fleets.is_empty() {
            fleets.insert(Arc::from(EVERYWHERE));
        }
        let before = self.reporters.get(&id).map_or(BTreeSet::new(), |reporter| reporter.scopes.clone());
        for name in before.union(&fleets) {
            self.share_mut(id, name).is_in_fleet = fleets.contains(name);
        }
    }

    fn share_mut(&mut self, id: u32, name: &Arc<str>) -> &mut super::safe_shares::Share {
        if let Some(reporter) = self.reporters.get_mut(&id) {
            reporter.scopes.insert(name.clone());
        }
        self.scopes.entry(name.clone()).or_default().is_dirty = true;
        self.dirty_scopes.insert(name.clone());
        self.scopes.entry(name.clone()).or_default().shares.entry(id).or_default()
    }

    /// What a process that enforces a snapshot says it holds without a lease; the worst, if it says nothing and nothing is
    /// known of it.
    fn claim_safe_shares(&mut self, id: u32, hello: &Hello<'_>, is_unknown: bool) {
        for claim in hello.safe_shares {
            let ppm = u64::from(claim.parts_per_million).min(PPM_WHOLE);
            self.share_mut(id, &Arc::from(claim.scope.as_str())).history.claim(ppm, NEVER);
        }
        if !is_unknown || !hello.safe_shares.is_empty() {
            return;
        }
        let scopes = self.reporters.get(&id).map_or(BTreeSet::new(), |reporter| reporter.scopes.clone());
        for name in scopes {
            self.share_mut(id, &name).assume_the_worst();
        }
    }

    /// Leases that the reporter says it holds. Those of policies that are gone count too: they may come back.
    fn claim_leases(&mut self, id: u32, held: &[v1::Lease], now_ms: u64) {
        for lease in held {
            let Some(named) = &lease.bucket else { continue };
            let rate = match self.limits.get(named.policy.as_str()) {
                Some(limit) => lease.rate.min(limit.rate),
                None => lease.rate,
            };
            let expires_ms = now_ms + lease.ttl_ms.min(self.ttl_ms) + self.margin_ms;
            let entry = self
                .open(&named.policy, &named.key, id)
                .and_then(|bucket_id| self.buckets.get_mut(&bucket_id))
                .and_then(|bucket| bucket.entries.get_mut(&id));
            match entry {
                Some(entry) => entry.leases.claim(rate, expires_ms),
                // The ledger is full. Raising nothing anywhere until the lease has run out is as safe as counting it.
                None => self.learning_until_ms = self.learning_until_ms.max(expires_ms),
            }
        }
    }

    /// Finds or makes the entry of a bucket for one reporter.
    fn open(&mut self, policy: &str, key: &str, reporter_id: u32) -> Option<u32> {
        let found = self.bucket_ids.get(policy).and_then(|ids| ids.get(key)).copied();
        if let Some(id) = found
            && self.buckets.get(&id)?.entries.contains_key(&reporter_id)
        {
            return Some(id);
        }
        if self.entries >= self.entries_max || key.len() > KEY_BYTES_MAX {
            return None;
        }
        let id = found.unwrap_or_else(|| self.add_bucket(policy, key));
        self.buckets.get_mut(&id)?.entries.insert(reporter_id, Entry::default());
        self.reporters.get_mut(&reporter_id)?.buckets.insert(id);
        self.entries += 1;
        self.touch_bucket(id);
        Some(id)
    }

    fn add_bucket(&mut self, policy: &str, key: &str) -> u32 {
        let id = self.next_bucket;
        self.next_bucket = self.next_bucket.wrapping_add(1);
        let limit = self.limits.get(policy);
        let policy = limit.map_or_else(|| Arc::from(policy), |limit| limit.policy.clone());
        let key: Arc<str> = Arc::from(key);
        let bucket = Bucket {
            policy: policy.clone(),
            key: key.clone(),
            scope: limit.map_or_else(|| Arc::from(EVERYWHERE), |limit| limit.scope.clone()),
            rate: limit.map_or(0, |limit| limit.rate),
            burst: limit.map_or(0, |limit| limit.burst),
            lenient_until_ms: 0,
            is_removed: limit.is_none(),
            entries: BTreeMap::new(),
            orphans: Orphans::default(),
            is_dirty: false,
            wake_ms: None,
        };
        self.scopes.entry(bucket.scope.clone()).or_default().buckets.insert(id);
        self.bucket_ids.entry(policy).or_default().insert(key, id);
        self.buckets.insert(id, bucket);
        id
    }

    /// The reporter enforces this version: whatever it replaced is free.
    fn settle(&mut self, id: u32, version: u64) {
        let Some(reporter) = self.reporters.get_mut(&id) else { return };
        let unsettled = std::mem::take(&mut reporter.unsettled);
        let mut still_unsettled = BTreeSet::new();
        let scopes = reporter.scopes.clone();
        for bucket_id in unsettled {
            let Some(entry) = self.buckets.get_mut(&bucket_id).and_then(|bucket| bucket.entries.get_mut(&id)) else {
                continue;
            };
            if entry.leases.acknowledge(version) {
                self.touch_bucket(bucket_id);
            }
            let entry = self.buckets.get(&bucket_id).and_then(|bucket| bucket.entries.get(&id));
            if entry.is_some_and(|entry| !entry.leases.is_settled()) {
                still_unsettled.insert(bucket_id);
            }
        }
        if let Some(reporter) = self.reporters.get_mut(&id) {
            reporter.unsettled = still_unsettled;
        }
        for name in scopes {
            let Some(share) = self.scopes.get_mut(&name).and_then(|scope| scope.shares.get_mut(&id)) else { continue };
            if share.history.acknowledge(version) {
                share.is_assumed = false;
                share.inherited = 0;
                self.members_slack += 1;
                self.touch_scope(&name);
            }
        }
    }

    /// A new stream gets everything: all of the reporter's buckets and scopes are looked at again.
    fn touch_all_of(&mut self, id: u32) {
        let Some(reporter) = self.reporters.get(&id) else { return };
        let (buckets, scopes) = (reporter.buckets.clone(), reporter.scopes.clone());
        for bucket_id in buckets {
            self.touch_bucket(bucket_id);
        }
        for name in scopes {
            self.touch_scope(&name);
        }
    }
}
