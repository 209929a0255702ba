//! Decides requests by the last snapshot that was applied, and spends what leases and the safe share give. There is no I/O, and
//! nothing is awaited. Locks are short: a thread takes one when it comes to a bucket for the first time, and while a bucket's
//! share changes.

mod apply;
mod in_force;
mod threads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use thread_local::ThreadLocal;
use tollgate_api::v1;
use tollgate_attributes::{Decision, Priority, Reason};

pub use apply::ApplyError;
pub use in_force::InForce;

use crate::answer::{Answer, Applied};
use crate::buckets::Buckets;
use crate::clock::Clock;
use crate::enforcer::apply::State;
use crate::enforcer::threads::Thread;
use crate::facts::{ConcurrencyPermits, Facts, Verdict};
use crate::ids::PolicyIds;
use crate::lane::Asked;
use crate::loaded::Loaded;
use crate::model::NO_PERMIT;
use crate::rule::Sight;
use crate::slices::Standpoint;
use crate::spend::{Purse, Shaped, Spend};
use crate::tally::{self, CacheReport, Tally};

/// How long leases live until a first one says.
const LEASE_TTL_MS_DEFAULT: u64 = 10_000;
/// How long after the engine's last sign of life its signals count as those of now. They are computed once a second, and
/// a sign of life comes as often where nothing has changed.
const SIGNALS_LIVE_MS: u64 = 3_000;

type Wake = Box<dyn Fn() + Send + Sync>;

/// Decides requests. One for a process, shared by its threads.
///
/// Policies come whole by [`Enforcer::apply`] and are replaced at once for all threads; a decision that has begun ends by
/// those that it began with. Each thread remembers the policies for the callers, services and methods that it has seen, and
/// the buckets, both bounded.
pub struct Enforcer {
    clock: Clock,
    /// `None`: it is asked about every service.
    standpoint: Option<Standpoint>,
    state: ArcSwap<State>,
    buckets: Buckets,
    threads: ThreadLocal<std::cell::RefCell<Thread>>,
    tallies: ThreadLocal<Tally>,
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
            tallies: ThreadLocal::new(),
            wake: ArcSwapOption::empty(),
            applying: Mutex::new(()),
            heard_ms: AtomicU64::new(clock.monotonic_ms()),
            lease_ttl_ms: AtomicU64::new(LEASE_TTL_MS_DEFAULT),
            standpoint: None,
            clock,
        }
    }

    /// An enforcer that is only asked about some services, so that it needs no more than their [`Slice`](crate::Slice). It
    /// denies what calls other services, and refuses nothing early that others call.
    #[must_use]
    pub fn at(clock: Clock, standpoint: Standpoint) -> Self {
        Self { standpoint: Some(standpoint), ..Self::new(clock) }
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

    /// Digest of the policies in force, for `WatchHello`; empty before the first.
    #[must_use]
    pub fn policies_digest(&self) -> String {
        self.state.load().loaded.as_ref().map(|loaded| loaded.digest().to_owned()).unwrap_or_default()
    }

    /// The lists that are held, by name and digest, for `WatchHello`.
    #[must_use]
    pub fn held_lists(&self) -> Vec<v1::List> {
        self.state.load().lists.held()
    }

    /// What is in force now, for one decision: what it names is what the decision reads, whatever is applied meanwhile.
    #[must_use]
    pub fn in_force(&self) -> InForce<'_> {
        InForce { enforcer: self, state: self.state.load() }
    }

    /// Decides a request: access, then shaping. Takes tokens.
    #[must_use]
    pub fn decide(&self, facts: &Facts<'_>) -> Verdict {
        self.in_force().decide(facts)
    }

    /// As [`Enforcer::decide`], but takes nothing.
    #[must_use]
    pub fn look(&self, facts: &Facts<'_>) -> Verdict {
        self.judge(&self.state.load(), facts, Spend::Look)
    }

    /// At the caller's side: the refusal that the called side would give if it has the same snapshot. Takes no token.
    ///
    /// It follows from attributes that both sides read alike. An address, a verified user or the time may look different to
    /// the called side, so a policy that reads one of them is left to it.
    ///
    /// While the engine is silent the called side may have newer policies and signals, or none. So a policy that reads
    /// signals is left to it after 3 seconds of silence, and every request once leases have ended, as with `@offline`.
    #[must_use]
    pub fn refuses_early(&self, facts: &Facts<'_>) -> Option<Verdict> {
        self.in_force().refuses_early(facts)
    }

    fn judge_early(&self, state: &State, facts: &Facts<'_>) -> Option<Verdict> {
        let now_ns = self.clock.monotonic_ns();
        if self.is_offline(now_ns) {
            return None;
        }
        let sight = if self.silent_ms(now_ns) > SIGNALS_LIVE_MS { Sight::WithoutSignals } else { Sight::Live };
        let loaded = state.loaded.as_ref().filter(|loaded| !loaded.is_observed(facts.destination))?;
        if self.standpoint.as_ref().is_some_and(|at| !at.refuses_early(facts.source, facts.destination)) {
            return None;
        }
        let answer = self.answer(state, loaded, facts);
        let (reason, policies) = answer.early(sight)?;
        Some(Verdict {
            decision: Decision::Deny,
            reason: *reason,
            policies: policies.clone(),
            ..self.empty(state.version)
        })
    }

    /// Attributes that answers may depend on, such as `principal` and `context.path`.
    #[must_use]
    pub fn depends_on(&self) -> Vec<String> {
        self.state.load().loaded.as_ref().map(|loaded| loaded.depends_on()).unwrap_or_default()
    }

    /// Headers that the policies in force read, by lower-case name. A decision may be made by others that come meanwhile:
    /// see [`Enforcer::in_force`].
    #[must_use]
    pub fn headers(&self) -> Arc<[Arc<str>]> {
        self.in_force().headers().cloned().unwrap_or_default()
    }

    /// How well remembered decisions serve, and which attribute is to blame where they do not.
    #[must_use]
    pub fn cache_report(&self) -> CacheReport {
        tally::report(self.tallies.iter())
    }

    /// Policies that failed to evaluate, with the number of requests for which they did, since the policy last changed.
    #[must_use]
    pub fn failures(&self) -> Vec<(Arc<str>, u64)> {
        let state = self.state.load();
        let rules = state.loaded.iter().flat_map(|loaded| loaded.rules());
        rules.filter(|rule| rule.failures() > 0).map(|rule| (Arc::clone(&rule.id), rule.failures())).collect()
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

    fn judge(&self, state: &State, facts: &Facts<'_>, spend: Spend) -> Verdict {
        let Some(loaded) = &state.loaded else {
            return Verdict { decision: Decision::Deny, reason: Reason::NoSnapshot, ..self.empty(state.version) };
        };
        if self.standpoint.as_ref().is_some_and(|at| !at.decides(facts.destination)) {
            return Verdict { decision: Decision::Deny, reason: Reason::NoPermit, ..self.empty(state.version) };
        }
        let answer = self.answer(state, loaded, facts);
        let is_observed = loaded.is_observed(facts.destination);
        answer.matches.failed.iter().for_each(|index| loaded.rule(*index).count_failure());
        let (shadow, failed) = (answer.shadow.clone(), answer.failed.clone());
        let mut verdict = Verdict { shadow, failed, ..self.empty(state.version) };
        match &answer.refusal {
            Some((reason, policies)) => refuse(&mut verdict, is_observed, Decision::Deny, *reason, policies.clone()),
            None => {
                verdict.policies = answer.permits.clone();
                self.shape(&mut verdict, loaded, facts, &answer.shaping, spend, is_observed);
            }
        }
        verdict
    }

    fn shape(
        &self,
        verdict: &mut Verdict,
        loaded: &Loaded,
        facts: &Facts<'_>,
        applied: &[Applied],
        spend: Spend,
        is_observed: bool,
    ) {
        if applied.is_empty() {
            return;
        }
        let now_ns = self.clock.monotonic_ns();
        let thread = self.thread();
        let mut purse = Purse {
            facts,
            now_ns,
            spend,
            is_offline: self.is_offline(now_ns),
            bucket: |policy: &Arc<str>, key: &str| thread.borrow_mut().bucket(&self.buckets, policy, key, now_ns),
            key: std::mem::take(&mut thread.borrow_mut().bucket_key),
        };
        let shaped = purse.ask(applied.iter().map(|applied| (loaded.rule(applied.rule), applied.amount)));
        thread.borrow_mut().bucket_key = purse.key;
        if shaped.is_urgent
            && let Some(wake) = &*self.wake.load()
        {
            wake();
        }
        settle(verdict, shaped, is_observed);
    }

    fn answer(&self, state: &State, loaded: &Loaded, facts: &Facts<'_>) -> Arc<Answer> {
        let asked = Asked { loaded, world: &state.world, facts, lists: &state.lists, clock: &self.clock };
        self.thread().borrow_mut().answer(state, &asked, self.tallies.get_or_default())
    }

    fn thread(&self) -> &std::cell::RefCell<Thread> {
        self.threads.get_or_default()
    }

    fn is_offline(&self, now_ns: u64) -> bool {
        self.silent_ms(now_ns) > self.lease_ttl_ms.load(Ordering::Acquire)
    }

    /// Since the engine's last sign of life.
    fn silent_ms(&self, now_ns: u64) -> u64 {
        (now_ns / 1_000_000).saturating_sub(self.heard_ms.load(Ordering::Acquire))
    }

    fn empty(&self, snapshot: u64) -> Verdict {
        Verdict {
            decision: Decision::Allow,
            reason: Reason::Permitted,
            policies: PolicyIds::default(),
            shadow: PolicyIds::default(),
            failed: PolicyIds::default(),
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

/// Refuses, or where the service is only observed says who would have.
fn refuse(verdict: &mut Verdict, is_observed: bool, decision: Decision, reason: Reason, policies: PolicyIds) {
    if !is_observed {
        (verdict.decision, verdict.reason, verdict.policies) = (decision, reason, policies);
        return;
    }
    (verdict.decision, verdict.reason) = (Decision::Allow, Reason::Observed);
    if policies.is_empty() {
        verdict.shadow.push(Arc::from(NO_PERMIT));
    }
    verdict.shadow.extend(&policies);
}

/// Takes over what the shaping policies say.
fn settle(verdict: &mut Verdict, shaped: Shaped, is_observed: bool) {
    verdict.shadow.extend(&shaped.shadow);
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
