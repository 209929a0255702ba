//! Asks the buckets of every shaping policy that matches a request: all of them give, or none does.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tollgate_attributes::{Priority, Reason};

use crate::bucket::{Bucket, Occupied, Take};
use crate::context::header;
use crate::facts::{Facts, LimitState};
use crate::ids::PolicyIds;
use crate::rule::Rule;
use crate::shaping::{ByKey, Concurrency, Cost, CostAttribute, Limit, MICROTOKENS, Offline, Shaping};

/// How to retry where nothing says when a token will come: neither lease nor safe share.
const RETRY_UNKNOWN: Duration = Duration::from_secs(1);

/// Whether tokens are taken or only looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spend {
    Take,
    Look,
}

/// What the shaping policies say.
#[derive(Debug)]
pub(crate) struct Shaped {
    /// Policies that refuse, and why the first one does.
    pub(crate) refused: PolicyIds,
    pub(crate) reason: Option<Reason>,
    /// Policies in shadow mode that would have refused.
    pub(crate) shadow: PolicyIds,
    pub(crate) priority: Priority,
    pub(crate) wait: Option<Duration>,
    pub(crate) limit: Option<LimitState>,
    pub(crate) permits: SmallVec<[Occupied; 1]>,
    /// A bucket was wanted for the first time, or had nothing to give.
    pub(crate) is_urgent: bool,
}

/// What a request brings to its buckets.
pub(crate) struct Purse<'a, F> {
    pub(crate) facts: &'a Facts<'a>,
    pub(crate) now_ns: u64,
    pub(crate) spend: Spend,
    /// The engine has been silent for longer than leases live.
    pub(crate) is_offline: bool,
    /// Finds a bucket by policy and key, and says whether it is new.
    pub(crate) bucket: F,
    /// Room for keys.
    pub(crate) key: String,
}

impl<F: FnMut(&Arc<str>, &str) -> (Arc<Bucket>, bool)> Purse<'_, F> {
    /// Asks for what every rule takes. With each comes what its cost reads of the caller or the called service.
    pub(crate) fn ask<'r>(&mut self, rules: impl Iterator<Item = (&'r Rule, Option<i64>)> + Clone) -> Shaped {
        let mut shaped = Shaped {
            refused: PolicyIds::default(),
            reason: None,
            shadow: PolicyIds::default(),
            priority: Priority::Normal,
            wait: None,
            limit: None,
            permits: SmallVec::new(),
            is_urgent: false,
        };
        let with_shaping = rules.filter_map(|(rule, amount)| Some((rule, rule.shaping.as_deref()?, amount)));
        let enforced = with_shaping.clone().filter(|(rule, ..)| !rule.shadow);
        let priorities = enforced.clone().filter_map(|(_, shaping, _)| shaping.priority);
        // `Priority` orders from the most important to the least.
        shaped.priority = priorities.max().unwrap_or(Priority::Normal);
        let mut taken: SmallVec<[(Arc<Bucket>, u64); 4]> = SmallVec::new();
        for (rule, shaping, amount) in enforced {
            self.one(rule, shaping, amount, &mut taken, &mut shaped);
        }
        if !shaped.refused.is_empty() {
            taken.iter().for_each(|(bucket, cost)| bucket.give_back(*cost, self.now_ns));
            shaped.permits.clear();
            shaped.wait = None;
            return shaped;
        }
        // What would have been refused anyway says nothing about policies in shadow mode, so they are asked last.
        let (limit, wait) = (shaped.limit.clone(), shaped.wait);
        for (rule, shaping, amount) in with_shaping.filter(|(rule, ..)| rule.shadow) {
            self.one(rule, shaping, amount, &mut taken, &mut shaped);
        }
        shaped.shadow = std::mem::take(&mut shaped.refused);
        (shaped.limit, shaped.wait, shaped.reason) = (limit, wait, None);
        shaped
    }

    fn one(
        &mut self,
        rule: &Rule,
        shaping: &Shaping,
        amount: Option<i64>,
        taken: &mut SmallVec<[(Arc<Bucket>, u64); 4]>,
        shaped: &mut Shaped,
    ) {
        let limit = shaping.limit.as_ref().filter(|_| !(self.is_offline && shaping.offline == Offline::Allow));
        let places = match shaping.concurrency {
            Some(Concurrency::Fixed(places)) => Some(places),
            Some(Concurrency::Adaptive) | None => None,
        };
        if limit.is_none() && places.is_none() {
            return;
        }
        let mut key = std::mem::take(&mut self.key);
        write_key(&mut key, self.facts, &shaping.by);
        self.ask_bucket(rule, shaping, limit, places, &key, amount, taken, shaped);
        self.key = key;
    }

    #[expect(clippy::too_many_arguments, reason = "all of it is the one policy that is being asked")]
    fn ask_bucket(
        &mut self,
        rule: &Rule,
        shaping: &Shaping,
        limit: Option<&Limit>,
        places: Option<u32>,
        key: &str,
        amount: Option<i64>,
        taken: &mut SmallVec<[(Arc<Bucket>, u64); 4]>,
        shaped: &mut Shaped,
    ) {
        if let Some(limit) = limit {
            let cost = cost(&shaping.cost, limit, self.facts, amount);
            let queue_ns = shaping.queue.map_or(0, |queue| u64::try_from(queue.as_nanos()).unwrap_or(u64::MAX));
            let (bucket, take) = self.take(rule, key, cost, queue_ns, shaped);
            let take = if self.is_offline && shaping.offline == Offline::Deny {
                // Asked all the same, so that the demand is known when the engine is back.
                if matches!(take, Take::Taken { .. }) && self.spend == Spend::Take {
                    bucket.give_back(cost, self.now_ns);
                }
                Take::Refused { retry_ns: u64::MAX, left: 0 }
            } else {
                take
            };
            shaped.note(rule, limit, take);
            if let Take::Taken { .. } = take
                && self.spend == Spend::Take
            {
                taken.push((bucket, cost));
            }
        }
        if let Some(places) = places {
            self.occupy(rule, key, places, shaped);
        }
    }

    fn take(&mut self, rule: &Rule, key: &str, cost: u64, queue_ns: u64, shaped: &mut Shaped) -> (Arc<Bucket>, Take) {
        loop {
            let (bucket, is_new) = (self.bucket)(&rule.id, key);
            let take = match self.spend {
                Spend::Take => bucket.take(cost, queue_ns, self.now_ns),
                Spend::Look => bucket.look(cost, queue_ns, self.now_ns),
            };
            // A bucket that was forgotten just now: the next look finds the one in its place.
            let Some(take) = take else { continue };
            let is_refused = matches!(take, Take::Refused { .. });
            shaped.is_urgent |= self.spend == Spend::Take && (is_new || (is_refused && bucket.runs_dry()));
            return (bucket, take);
        }
    }

    fn occupy(&mut self, rule: &Rule, key: &str, places: u32, shaped: &mut Shaped) {
        let is_full = loop {
            let (bucket, _) = (self.bucket)(&rule.id, key);
            if self.spend == Spend::Look {
                break bucket.in_flight() >= places;
            }
            match bucket.occupy(places) {
                Some(Ok(occupied)) => {
                    shaped.permits.push(occupied);
                    break false;
                }
                Some(Err(_)) => break true,
                None => {}
            }
        };
        if is_full {
            if shaped.refused.last() != Some(&rule.id) {
                shaped.refused.push(Arc::clone(&rule.id));
            }
            shaped.reason.get_or_insert(Reason::Concurrency);
        }
    }
}

impl Shaped {
    /// Takes note of what one limit said.
    fn note(&mut self, rule: &Rule, limit: &Limit, take: Take) {
        let (left, retry_after) = match take {
            Take::Taken { wait_ns, left } => {
                let wait = Duration::from_nanos(wait_ns);
                if !wait.is_zero() {
                    self.wait = self.wait.max(Some(wait));
                }
                (left, Duration::ZERO)
            }
            Take::Refused { retry_ns, left } => {
                self.refused.push(Arc::clone(&rule.id));
                self.reason = Some(Reason::Rate);
                (left, if retry_ns == u64::MAX { RETRY_UNKNOWN } else { Duration::from_nanos(retry_ns) })
            }
        };
        let state = LimitState {
            policy: Arc::clone(&rule.id),
            quota: limit.amount,
            window_s: limit.window_s,
            remaining: left / MICROTOKENS,
            retry_after,
        };
        // The one to wait for longest; where there is nothing to wait for, the one with the smallest part left.
        let is_tighter = |other: &LimitState| {
            let part = |state: &LimitState, of: &LimitState| u128::from(state.remaining) * u128::from(of.quota);
            state.retry_after > other.retry_after
                || (state.retry_after == other.retry_after && part(&state, other) < part(other, &state))
        };
        if self.limit.as_ref().is_none_or(is_tighter) {
            self.limit = Some(state);
        }
    }
}

/// Values of what is counted by, joined by `|`. A `|` or `%` inside a value is written as in a URL, and an empty header,
/// which is not an absent one, as `%22%22`: two different lists of values are never the same key, as long as none is cut.
fn write_key(key: &mut String, facts: &Facts<'_>, by: &[ByKey]) {
    key.clear();
    for (index, part) in by.iter().enumerate() {
        if index > 0 {
            key.push('|');
        }
        let value = match part {
            ByKey::Principal => facts.source,
            ByKey::Resource => facts.destination,
            ByKey::Method => facts.method,
            ByKey::Path => facts.path,
            ByKey::Host => facts.host,
            ByKey::Route => facts.route,
            ByKey::Scheme => facts.scheme,
            ByKey::Protocol => facts.protocol,
            ByKey::UserAgent => facts.user_agent,
            ByKey::User => facts.user,
            ByKey::Header(name) => match header(facts, name) {
                Some("") => {
                    key.push_str(EMPTY);
                    continue;
                }
                value => value.unwrap_or_default(),
            },
            ByKey::SourceAddress => {
                // Writing to a text cannot fail.
                let _ = facts.source_address.iter().try_for_each(|address| write!(key, "{}", address.to_canonical()));
                continue;
            }
        };
        push_escaped(key, value);
    }
}

/// An empty value. No other is written so: a `"` is not escaped.
const EMPTY: &str = "%22%22";
/// Longest value that is written out: a caller must not be able to fill the memory with long keys.
const VALUE_BYTES_MAX: usize = 256;

/// A longer value is cut, and told from others by a hash of the rest, `%23` and 16 hexadecimal digits.
fn push_escaped(key: &mut String, value: &str) {
    let (written, rest) = value.split_at(value.floor_char_boundary(VALUE_BYTES_MAX));
    for c in written.chars() {
        match c {
            '|' => key.push_str("%7C"),
            '%' => key.push_str("%25"),
            c => key.push(c),
        }
    }
    if !rest.is_empty() {
        // Writing to a text cannot fail.
        let _ = write!(key, "%23{:016x}", fnv1a(rest.as_bytes()));
    }
}

/// FNV-1a with 64 bits: the same in every process, as leases are given by key. Whoever makes two values meet on purpose
/// only shares one bucket between them.
fn fnv1a(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// Microtokens that a request takes. Never more than the bucket holds: a caller that announces a huge body must not be
/// able to run a bucket into debt for days.
fn cost(cost: &Cost, limit: &Limit, facts: &Facts<'_>, amount: Option<i64>) -> u64 {
    let tokens = match cost {
        Cost::Tokens(tokens) => u64::from(*tokens),
        Cost::Attribute(CostAttribute::RequestBytes) => facts.request_bytes.unwrap_or(1),
        Cost::Attribute(_) => amount.map_or(1, |value| u64::try_from(value).unwrap_or(1)),
    };
    tokens.max(1).saturating_mul(MICROTOKENS).min(limit.burst)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tenant: Option<&str>) -> String {
        let name: Arc<str> = Arc::from("x-tenant");
        let headers: Vec<_> = tenant.map(|tenant| (Arc::clone(&name), tenant.to_owned())).into_iter().collect();
        let facts = Facts { source: "a/b", headers: &headers, ..Facts::default() };
        let mut key = "what was there".to_owned();
        write_key(&mut key, &facts, &[ByKey::Principal, ByKey::Header(name)]);
        key
    }

    #[test]
    fn keys_are_readable_and_tell_values_apart() {
        assert_eq!(key(Some("acme")), "a/b|acme");
        assert_eq!(key(Some("a|b%7C")), "a/b|a%7Cb%257C");
        assert_eq!((key(None), key(Some(""))), ("a/b|".to_owned(), "a/b|%22%22".to_owned()));
        assert_eq!(key(Some("\"\"")), "a/b|\"\"");
    }

    #[test]
    fn long_values_are_told_apart_by_what_follows() {
        let cut = "é".repeat(128);
        assert_eq!(key(Some(&cut)), format!("a/b|{cut}"));
        // Reference values of FNV-1a for `a` and `foobar`.
        assert_eq!(key(Some(&format!("{cut}a"))), format!("a/b|{cut}%23af63dc4c8601ec8c"));
        assert_eq!(key(Some(&format!("{cut}foobar"))), format!("a/b|{cut}%2385944171f73967e8"));
        assert_eq!(key(Some(&format!("{cut}{}", "x".repeat(1 << 20)))).len(), key(Some(&format!("{cut}a"))).len());
    }
}
