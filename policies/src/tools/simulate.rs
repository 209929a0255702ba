//! What limits would have refused, had one bucket for all reporters stood in their way.
//!
//! Each limit is simulated by itself, in steps of one second: within a step the order of requests does not matter, and a
//! second's tokens are there at its beginning. Leases, queues and places among simultaneous requests are not simulated. So
//! the numbers tell whether a limit bites and about how much, and are no promise to the request.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::asked::RequestFacts;
use super::judge::{Judge, Judgement, uids};
use super::replay::Combination;
use crate::shaping::{ByKey, Cost, CostAttribute, MICROTOKENS, Shaping};

/// Length of a step.
const STEP_US: i64 = 1_000_000;
/// Most buckets; requests of others are not simulated.
const BUCKETS_MAX: usize = 200_000;

/// What one limit would have done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SimulatedLimit {
    /// The policy.
    pub policy: Arc<str>,
    /// Requests that met it.
    pub requests: u64,
    /// Of those, the ones for which there was no token.
    pub refused: u64,
    /// The same under the old policies, where the policy was there.
    pub refused_before: Option<u64>,
}

/// Buckets of both sets of policies.
pub(super) struct Simulation<'a> {
    old: Option<Side<'a>>,
    new: Side<'a>,
}

struct Side<'a> {
    judge: &'a Judge,
    shaping: HashMap<Arc<str>, &'a Shaping>,
    buckets: HashMap<(Arc<str>, String), Bucket>,
    counts: BTreeMap<Arc<str>, (u64, u64)>,
}

struct Bucket {
    level: u128,
    step_us: i64,
}

impl<'a> Simulation<'a> {
    pub(super) fn new(old: Option<&'a Judge>, new: &'a Judge) -> Self {
        Self { old: old.map(Side::new), new: Side::new(new) }
    }

    /// Requests in the order of time. Those whose time is not known are left out.
    pub(super) fn add(&mut self, combination: &Combination, before: Option<&Judgement>, after: &Judgement) {
        let Some(time_us) = combination.time_us else { return };
        let step_us = time_us - time_us.rem_euclid(STEP_US);
        if let (Some(old), Some(before)) = (&mut self.old, before) {
            old.add(combination, before, step_us);
        }
        self.new.add(combination, after, step_us);
    }

    pub(super) fn limits(&self) -> Vec<SimulatedLimit> {
        let before = |policy| Some(self.old.as_ref()?.counts.get(policy)?.1);
        let limits = self.new.counts.iter().map(|(policy, (requests, refused))| SimulatedLimit {
            policy: Arc::clone(policy),
            requests: *requests,
            refused: *refused,
            refused_before: before(policy),
        });
        limits.collect()
    }
}

impl<'a> Side<'a> {
    fn new(judge: &'a Judge) -> Self {
        let limits = judge.rules.iter().filter_map(|rule| {
            let shaping = rule.entry.shaping.as_ref().filter(|shaping| shaping.limit.is_some())?;
            Some((Arc::clone(&rule.entry.id), shaping))
        });
        Self { judge, shaping: limits.collect(), buckets: HashMap::new(), counts: BTreeMap::new() }
    }

    fn add(&mut self, combination: &Combination, judgement: &Judgement, step_us: i64) {
        for id in &judgement.limits {
            let Some(shaping) = self.shaping.get(id).copied() else { continue };
            let Some(limit) = &shaping.limit else { continue };
            let key = (Arc::clone(id), key(&combination.facts, &shaping.by));
            if self.buckets.len() >= BUCKETS_MAX && !self.buckets.contains_key(&key) {
                continue;
            }
            let cost = u128::from(cost(shaping, self.judge, &combination.facts)) * u128::from(MICROTOKENS);
            let bucket = self.buckets.entry(key);
            let bucket =
                bucket.or_insert_with(|| Bucket { level: u128::from(limit.burst), step_us: step_us - STEP_US });
            bucket.fill(limit.rate.into(), limit.burst.into(), step_us);
            let passed = u64::try_from(bucket.level / cost.max(1)).unwrap_or(u64::MAX).min(combination.requests);
            bucket.level -= u128::from(passed) * cost;
            let count = self.counts.entry(Arc::clone(id)).or_default();
            count.0 += combination.requests;
            count.1 += combination.requests - passed;
        }
    }
}

impl Bucket {
    /// What has come in since the last step, at most a full bucket, and what comes in during this one.
    fn fill(&mut self, rate: u128, burst: u128, step_us: i64) {
        let steps = u128::try_from((step_us - self.step_us) / STEP_US).unwrap_or(0);
        if steps > 0 {
            self.level = (self.level + (steps - 1) * rate).min(burst) + rate;
            self.step_us = step_us;
        }
    }
}

fn key(facts: &RequestFacts, by: &[ByKey]) -> String {
    let address = facts.source_address.map(|address| address.to_canonical().to_string()).unwrap_or_default();
    let values = by.iter().map(|key| match key {
        ByKey::Principal => facts.source.as_str(),
        ByKey::Resource => &facts.destination,
        ByKey::Method => &facts.method,
        ByKey::Path => &facts.path,
        ByKey::Host => &facts.host,
        ByKey::Route => &facts.route,
        ByKey::Scheme => &facts.scheme,
        ByKey::Protocol => &facts.protocol,
        ByKey::UserAgent => &facts.user_agent,
        ByKey::User => &facts.user,
        ByKey::Header(name) => facts.labels.get(&**name).map_or("", String::as_str),
        ByKey::SourceAddress => &address,
    });
    values.collect::<Vec<_>>().join("\u{1f}")
}

fn cost(shaping: &Shaping, judge: &Judge, facts: &RequestFacts) -> u64 {
    let [principal, _, resource] = uids(facts);
    let attribute = |uid, name: &str| judge.ground.attributes(uid)?.get(name)?.as_u64();
    let tokens = match &shaping.cost {
        Cost::Tokens(tokens) => Some(u64::from(*tokens)),
        Cost::Attribute(CostAttribute::RequestBytes) => facts.request_bytes,
        Cost::Attribute(CostAttribute::Principal(name)) => attribute(&principal, name),
        Cost::Attribute(CostAttribute::Resource(name)) => attribute(&resource, name),
    };
    tokens.unwrap_or(1).max(1)
}
