//! Decides requests by the newest snapshot, and spends what leases give. It never waits for anything.

mod apply;
mod threads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use cedar_policy::Authorizer;
use parking_lot::Mutex;
use smallvec::SmallVec;
use thread_local::ThreadLocal;
use tollgate_api::v1;
use tollgate_attributes::{Decision, Priority, Reason};

pub use apply::ApplyError;

use crate::buckets::Buckets;
use crate::clock::Clock;
use crate::context::context;
use crate::enforcer::apply::State;
use crate::enforcer::threads::Thread;
use crate::facts::{ConcurrencyPermits, Facts, Verdict};
use crate::lane::{Indices, Matches};
use crate::loaded::{Loaded, Rule};
use crate::model::NO_PERMIT;
use crate::shaping::CostAttribute;
use crate::spend::{Purse, Shaped, Spend};

/// How long leases live until a first one says.
const LEASE_TTL_MS_DEFAULT: u64 = 10_000;

type Wake = Box<dyn Fn() + Send + Sync>;

/// Decides requests. One for a process; threads share it without locks.
///
/// Policies come whole by [`Enforcer::apply`] and are replaced at once for all threads. Each thread remembers the policies
/// for the callers, services and methods that it has seen, and the buckets, both bounded.
pub struct Enforcer {
    clock: Clock,
    state: ArcSwap<State>,
    buckets: Buckets,
    threads: ThreadLocal<std::cell::RefCell<Thread>>,
    authorizer: Authorizer,
    wake: ArcSwapOption<Wake>,
    /// Held while a snapshot is applied: they come one after another.
    applying: Mutex<()>,
    heard_ms: AtomicU64,
    lease_ttl_ms: AtomicU64,
}

impl Enforcer {
    /// An enforcer without a snapshot, which denies all.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            state: ArcSwap::default(),
            buckets: Buckets::new(clock.monotonic_ns()),
            threads: ThreadLocal::new(),
            authorizer: Authorizer::new(),
            wake: ArcSwapOption::empty(),
            applying: Mutex::new(()),
            heard_ms: AtomicU64::new(clock.monotonic_ms()),
            lease_ttl_ms: AtomicU64::new(LEASE_TTL_MS_DEFAULT),
            clock,
        }
    }

    /// The clock that leases expire by. `WatchRequest.sent_ms` is read from it.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Calls `wake` when a bucket is first wanted or runs dry, so that demand is sent at once. It is called on the path of
    /// a request, and must not block.
    pub fn on_urgent_demand(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.wake.store(Some(Arc::new(Box::new(wake))));
    }

    /// Says that the engine is there although it has nothing to push: `@offline` counts from the last sign of life.
    pub fn heard(&self) {
        self.heard_ms.store(self.clock.monotonic_ms(), Ordering::Release);
    }

    /// Version in force; 0 before the first.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.state.load().version
    }

    /// Decides a request: access, then shaping. Takes tokens.
    #[must_use]
    pub fn decide(&self, facts: &Facts<'_>) -> Verdict {
        self.judge(facts, Spend::Take)
    }

    /// As [`Enforcer::decide`], but takes nothing.
    #[must_use]
    pub fn look(&self, facts: &Facts<'_>) -> Verdict {
        self.judge(facts, Spend::Look)
    }

    /// At the caller's side: the refusal that the called side is sure to give. Takes no token.
    ///
    /// Sure is what follows from attributes that both sides read alike. An address, a verified user or the time may look
    /// different to the called side, so a policy that reads one of them is left to it.
    #[must_use]
    pub fn refuses_early(&self, facts: &Facts<'_>) -> Option<Verdict> {
        let state = self.state.load();
        let loaded = state.loaded.as_ref().filter(|loaded| !loaded.is_observed(facts.destination))?;
        let matches = self.matches(&state, loaded, facts);
        let is_sure = |index: &u32| loaded.access[*index as usize].is_known_to_caller();
        let mut access = matches.access;
        // Cedar names no permit next to a `forbid` that matches, so that there may be one although none is named.
        let may_hide_permits = !access.forbids.is_empty();
        access.forbids.retain(|index| is_sure(index));
        access.errors.retain(|index| is_sure(index));
        let (reason, indices) = refusal(loaded, &access)?;
        let may_be_permitted =
            || may_hide_permits || self.with_lane(&state, loaded, facts, |lane, _| lane.may_be_permitted(loaded));
        if reason == Reason::NoPermit && may_be_permitted() {
            return None;
        }
        Some(Verdict {
            decision: Decision::Deny,
            reason,
            policies: ids(&loaded.access, &indices),
            ..self.empty(state.version)
        })
    }

    /// Attributes that answers may depend on, such as `principal` and `context.path`.
    #[must_use]
    pub fn depends_on(&self) -> Vec<String> {
        self.state.load().loaded.as_ref().map(|loaded| loaded.depends_on()).unwrap_or_default()
    }

    /// Headers that the policies in force read, by lower-case name.
    #[must_use]
    pub fn headers(&self) -> Arc<[Arc<str>]> {
        self.state.load().loaded.as_ref().map(|loaded| Arc::clone(&loaded.headers)).unwrap_or_default()
    }

    /// What was wanted from buckets since the last call.
    #[must_use]
    pub fn take_demand(&self) -> Vec<v1::Demand> {
        self.buckets.take_demand(self.clock.monotonic_ns())
    }

    /// Leases that have not expired; their `ttl_ms` counts from now.
    #[must_use]
    pub fn held(&self) -> Vec<v1::Lease> {
        self.buckets.held(self.clock.monotonic_ns())
    }

    fn judge(&self, facts: &Facts<'_>, spend: Spend) -> Verdict {
        let state = self.state.load();
        let Some(loaded) = &state.loaded else {
            return Verdict { decision: Decision::Deny, reason: Reason::NoSnapshot, ..self.empty(state.version) };
        };
        let matches = self.matches(&state, loaded, facts);
        let is_observed = loaded.is_observed(facts.destination);
        let shadowed = matches.shadow.forbids.iter().chain(&matches.shadow.errors);
        let shadow = shadowed.map(|index| Arc::clone(&loaded.access[*index as usize].id)).collect();
        let mut verdict = Verdict { shadow, ..self.empty(state.version) };
        match refusal(loaded, &matches.access) {
            Some((reason, indices)) => {
                refuse(&mut verdict, is_observed, Decision::Deny, reason, ids(&loaded.access, &indices))
            }
            None => {
                verdict.policies = ids(&loaded.access, &matches.access.permits);
                self.shape(&mut verdict, &state, loaded, facts, &matches, spend, is_observed);
            }
        }
        verdict
    }

    #[expect(clippy::too_many_arguments, reason = "all of it is the one request that is being judged")]
    fn shape(
        &self,
        verdict: &mut Verdict,
        state: &State,
        loaded: &Loaded,
        facts: &Facts<'_>,
        matches: &Matches,
        spend: Spend,
        is_observed: bool,
    ) {
        let mut indices: Indices = matches.shaping.permits.iter().chain(&matches.shaping.errors).copied().collect();
        if indices.is_empty() {
            return;
        }
        indices.sort_unstable();
        let now_ns = self.clock.monotonic_ns();
        let mut purse = Purse {
            facts,
            now_ns,
            spend,
            is_offline: self.is_offline(now_ns),
            bucket: |policy: &Arc<str>, key: &str| {
                self.thread().borrow_mut().bucket(&self.buckets, policy, key, now_ns)
            },
        };
        let shaped =
            purse.ask(indices.iter().map(|index| &loaded.shaping[*index as usize]), |attribute| match attribute {
                CostAttribute::Principal(name) => state.world.integer(&state.world.principal(facts.source).uid, name),
                CostAttribute::Resource(name) => state.world.integer(&state.world.service(facts.destination).uid, name),
                CostAttribute::RequestBytes => None,
            });
        if shaped.is_urgent
            && let Some(wake) = &*self.wake.load()
        {
            wake();
        }
        settle(verdict, shaped, is_observed);
    }

    fn matches(&self, state: &State, loaded: &Loaded, facts: &Facts<'_>) -> Matches {
        self.with_lane(state, loaded, facts, |lane, authorizer| {
            let make = |reads: &_| context(facts, self.clock.wall_us(), &loaded.headers, &state.world, reads);
            lane.matches(&state.world, authorizer, facts.user, make)
        })
    }

    fn with_lane<T>(
        &self,
        state: &State,
        loaded: &Loaded,
        facts: &Facts<'_>,
        act: impl FnOnce(&mut crate::lane::Lane, &Authorizer) -> T,
    ) -> T {
        act(self.thread().borrow_mut().lane(state, loaded, facts), &self.authorizer)
    }

    fn thread(&self) -> &std::cell::RefCell<Thread> {
        self.threads.get_or_default()
    }

    fn is_offline(&self, now_ns: u64) -> bool {
        let silent_ms = (now_ns / 1_000_000).saturating_sub(self.heard_ms.load(Ordering::Acquire));
        silent_ms > self.lease_ttl_ms.load(Ordering::Acquire)
    }

    fn empty(&self, snapshot: u64) -> Verdict {
        Verdict {
            decision: Decision::Allow,
            reason: Reason::Permitted,
            policies: SmallVec::new(),
            shadow: SmallVec::new(),
            priority: Priority::Normal,
            snapshot,
            wait: None,
            limit: None,
            permits: ConcurrencyPermits::default(),
        }
    }
}

impl std::fmt::Debug for Enforcer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enforcer").field("version", &self.version()).finish_non_exhaustive()
    }
}

/// Why access is refused, and by which policies; `None` when it is not.
///
/// Plain Cedar passes over a policy that fails to evaluate. Here a `forbid` that fails refuses.
fn refusal(loaded: &Loaded, access: &crate::lane::Matched) -> Option<(Reason, Indices)> {
    if !access.forbids.is_empty() {
        return Some((Reason::Forbidden, access.forbids.clone()));
    }
    let failed: Indices =
        access.errors.iter().copied().filter(|index| loaded.access[*index as usize].is_forbid).collect();
    if !failed.is_empty() {
        return Some((Reason::ForbidError, failed));
    }
    access.permits.is_empty().then(|| (Reason::NoPermit, Indices::new()))
}

fn ids(rules: &[Rule], indices: &Indices) -> SmallVec<[Arc<str>; 4]> {
    indices.iter().map(|index| Arc::clone(&rules[*index as usize].id)).collect()
}

/// Refuses, or where the service is only observed says who would have.
fn refuse(
    verdict: &mut Verdict,
    is_observed: bool,
    decision: Decision,
    reason: Reason,
    policies: SmallVec<[Arc<str>; 4]>,
) {
    if !is_observed {
        (verdict.decision, verdict.reason, verdict.policies) = (decision, reason, policies);
        return;
    }
    (verdict.decision, verdict.reason) = (Decision::Allow, Reason::Observed);
    if policies.is_empty() {
        verdict.shadow.push(Arc::from(NO_PERMIT));
    }
    verdict.shadow.extend(policies);
}

/// Takes over what the shaping policies say.
fn settle(verdict: &mut Verdict, shaped: Shaped, is_observed: bool) {
    verdict.shadow.extend(shaped.shadow);
    if let Some(reason) = shaped.reason {
        let decision = if reason == Reason::Concurrency { Decision::Shed } else { Decision::Limit };
        refuse(verdict, is_observed, decision, reason, shaped.refused);
    }
    if is_observed {
        // Nothing is held up or put last either. The permits stay, so that what is observed is counted right.
        verdict.permits = ConcurrencyPermits(shaped.permits);
        return;
    }
    verdict.priority = shaped.priority;
    verdict.wait = shaped.wait;
    verdict.limit = shaped.limit;
    verdict.permits = ConcurrencyPermits(shaped.permits);
}
