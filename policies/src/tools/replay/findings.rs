//! What is different, grouped by caller, called service, route and policies.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::{Combination, is_let_through, said};
use crate::shaping::{Concurrency, Shaping};
use crate::tools::judge::Judgement;
use tollgate_attributes::Decision;

/// Most groups that are told apart.
const GROUPS_MAX: usize = 10_000;
/// Most ids of requests that a group shows.
const SAMPLES_MAX: usize = 5;

/// How a decision differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Let through before, and denied now.
    NewlyDenied,
    /// Denied before, and let through now.
    NewlyAllowed,
    /// Now shaped by a limit that did not apply, or not so tightly.
    NewlyLimited,
    /// No longer shaped by a limit that applied.
    NoLongerLimited,
    /// Decided alike for another reason.
    ReasonChanged,
    /// A policy fails to evaluate.
    Failed,
    /// An attribute was not recorded.
    Undecidable,
    /// Nothing.
    Unchanged,
}

/// Requests that are decided otherwise in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How.
    pub kind: Kind,
    /// Calling service; empty for anonymous callers.
    pub source: String,
    /// Called service.
    pub destination: String,
    /// Route, where one matched.
    pub route: String,
    /// What was decided: `allow permitted`.
    pub old: String,
    /// What is decided.
    pub new: String,
    /// The policies that make the difference.
    pub policies: Vec<Arc<str>>,
    /// Attributes that are missing, or errors.
    pub detail: Vec<String>,
    /// How many requests.
    pub requests: u64,
    /// How many distinct combinations of attributes.
    pub combinations: u64,
    /// Ids of some of the requests.
    pub samples: Vec<String>,
}

/// One combination, before and after.
pub(super) struct Compared {
    pub(super) kind: Kind,
    old: String,
    new: String,
    policies: Vec<Arc<str>>,
    detail: Vec<String>,
}

impl Compared {
    pub(super) fn new(
        combination: &Combination,
        before: Option<&Judgement>,
        after: &Judgement,
        shaping: impl Fn(&Arc<str>) -> (Option<Shaping>, Option<Shaping>),
    ) -> Self {
        let recorded = || format!("{} {}", combination.decision, combination.reason);
        let (old, new) = (before.map_or_else(recorded, said), said(after));
        let made = |kind, policies, detail| Self { kind, old: old.clone(), new: new.clone(), policies, detail };
        let unsure: BTreeSet<_> =
            before.iter().flat_map(|before| &before.unsure).chain(&after.unsure).cloned().collect();
        if !unsure.is_empty() {
            let new = "not decidable".to_owned();
            return Self { new, ..made(Kind::Undecidable, Vec::new(), unsure.into_iter().collect()) };
        }
        let was_allowed =
            before.map_or_else(|| is_let_through(&combination.decision), |before| before.decision == Decision::Allow);
        match (was_allowed, after.decision == Decision::Allow) {
            (true, false) => return made(Kind::NewlyDenied, after.policies.clone(), errors(after)),
            (false, true) => return made(Kind::NewlyAllowed, after.policies.clone(), errors(after)),
            _ => {}
        }
        let has_failed = |id: &&Arc<str>| !before.is_some_and(|before| before.failed.contains_key(*id));
        let failed: Vec<_> = after.failed.keys().filter(has_failed).cloned().collect();
        if !failed.is_empty() {
            return made(Kind::Failed, failed, errors(after));
        }
        if let Some(before) = before {
            let (tighter, looser) = limits(before, after, shaping);
            if !tighter.is_empty() {
                return made(Kind::NewlyLimited, tighter, Vec::new());
            }
            if !looser.is_empty() {
                return made(Kind::NoLongerLimited, looser, Vec::new());
            }
            // Of a limit of which it was not known before either it is taken that nothing has changed.
            let unsure = after.unsure_limits.iter().filter(|id| !before.unsure_limits.contains(id));
            let unsure: Vec<_> = unsure.cloned().collect();
            if !unsure.is_empty() {
                return made(Kind::Undecidable, unsure, vec!["whether the limit applies".to_owned()]);
            }
        }
        let is_same_reason = match before {
            Some(before) => (before.reason, &before.policies) == (after.reason, &after.policies),
            // What was limited or shed at the time was permitted as well.
            None => combination.decision != after.decision.as_str() || combination.reason == after.reason.as_str(),
        };
        if is_same_reason {
            made(Kind::Unchanged, Vec::new(), Vec::new())
        } else {
            made(Kind::ReasonChanged, after.policies.clone(), Vec::new())
        }
    }
}

fn errors(judgement: &Judgement) -> Vec<String> {
    judgement.failed.iter().map(|(id, error)| format!("{id}: {error}")).collect()
}

/// Policies that now hold back more, and those that hold back less.
fn limits(
    before: &Judgement,
    after: &Judgement,
    shaping: impl Fn(&Arc<str>) -> (Option<Shaping>, Option<Shaping>),
) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
    let (mut tighter, mut looser) = (Vec::new(), Vec::new());
    let ids: BTreeSet<_> = before.limits.iter().chain(&after.limits).collect();
    for id in ids {
        let (old, new) = shaping(id);
        let old = old.filter(|old| before.limits.contains(id) && is_limit(old));
        let new = new.filter(|new| after.limits.contains(id) && is_limit(new));
        match (old, new) {
            (None, Some(_)) => tighter.push(Arc::clone(id)),
            (Some(_), None) => looser.push(Arc::clone(id)),
            (Some(old), Some(new)) if is_looser(&old, &new) => looser.push(Arc::clone(id)),
            // Where one is not plainly looser it may refuse what the other let through.
            (Some(old), Some(new)) if !holds_alike(&old, &new) => tighter.push(Arc::clone(id)),
            _ => {}
        }
    }
    (tighter, looser)
}

fn is_limit(shaping: &Shaping) -> bool {
    !shaping.shadow && (shaping.limit.is_some() || matches!(shaping.concurrency, Some(Concurrency::Fixed(_))))
}

fn holds_alike(old: &Shaping, new: &Shaping) -> bool {
    (&old.limit, &old.by, &old.cost, old.concurrency) == (&new.limit, &new.by, &new.cost, new.concurrency)
}

fn is_looser(old: &Shaping, new: &Shaping) -> bool {
    let is_rate_looser = match (&old.limit, &new.limit) {
        (Some(old), Some(new)) => new.rate >= old.rate && new.burst >= old.burst,
        (_, None) => true,
        (None, Some(_)) => false,
    };
    let is_concurrency_looser = match (old.concurrency, new.concurrency) {
        (Some(Concurrency::Fixed(old)), Some(Concurrency::Fixed(new))) => new >= old,
        (None, Some(Concurrency::Fixed(_))) => false,
        _ => true,
    };
    let counts_alike = (&old.by, &old.cost) == (&new.by, &new.cost);
    counts_alike && is_rate_looser && is_concurrency_looser && !holds_alike(old, new)
}

/// What tells groups apart.
type Key = (Kind, String, String, String, String, String, Vec<Arc<str>>);

/// Groups of what is different, bounded: beyond that only the totals count.
#[derive(Default)]
pub(super) struct Findings {
    groups: HashMap<Key, Finding>,
    left_off: BTreeMap<Kind, usize>,
}

impl Findings {
    pub(super) fn add(&mut self, combination: &Combination, compared: Compared) {
        if compared.kind == Kind::Unchanged {
            return;
        }
        let Compared { kind, old, new, policies, detail } = compared;
        let facts = &combination.facts;
        let (source, destination, route) = (facts.source.clone(), facts.destination.clone(), facts.route.clone());
        let key = (kind, source, destination, route, old, new, policies);
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&key) {
            *self.left_off.entry(kind).or_default() += 1;
            return;
        }
        let finding = self.groups.entry(key).or_insert_with_key(|key| {
            let (kind, source, destination, route, old, new, policies) = key.clone();
            let (requests, combinations) = (0, 0);
            Finding {
                kind,
                source,
                destination,
                route,
                old,
                new,
                policies,
                detail: Vec::new(),
                requests,
                combinations,
                samples: Vec::new(),
            }
        });
        finding.requests += combination.requests;
        finding.combinations += 1;
        let new_details: Vec<_> = detail.into_iter().filter(|detail| !finding.detail.contains(detail)).collect();
        finding.detail.extend(new_details.into_iter().take(SAMPLES_MAX.saturating_sub(finding.detail.len())));
        let room = SAMPLES_MAX.saturating_sub(finding.samples.len());
        finding.samples.extend(combination.samples.iter().take(room).cloned());
    }

    pub(super) fn add_error(&mut self, combination: &Combination, error: String) {
        let old = format!("{} {}", combination.decision, combination.reason);
        let new = "not decided".to_owned();
        self.add(combination, Compared { kind: Kind::Failed, old, new, policies: Vec::new(), detail: vec![error] });
    }

    /// The groups, and how many combinations were in none.
    pub(super) fn sorted(self) -> (Vec<Finding>, usize) {
        let mut findings: Vec<_> = self.groups.into_values().collect();
        findings.sort_by(|a, b| {
            let order = |finding: &Finding| {
                let (source, destination) = (finding.source.clone(), finding.destination.clone());
                (finding.kind, std::cmp::Reverse(finding.requests), source, destination, finding.route.clone())
            };
            order(a).cmp(&order(b)).then_with(|| a.policies.cmp(&b.policies))
        });
        (findings, self.left_off.values().sum())
    }
}
