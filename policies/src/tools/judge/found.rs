//! From what became of each policy to the decision.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_attributes::{Decision, Reason};

use super::Judgement;
use crate::compile::{Effect, PolicyKind};
use crate::model::NO_PERMIT;
use crate::tools::rule::Rule;
use crate::tools::tree::Truth;

/// The rules of a lane, by what became of them.
#[derive(Default)]
pub(super) struct Found {
    permits: Vec<Arc<str>>,
    forbids: Vec<Arc<str>>,
    failed_forbids: Vec<Arc<str>>,
    shadow: Vec<Arc<str>>,
    shadow_failed: Vec<Arc<str>>,
    limits: Vec<Arc<str>>,
    unsure_permits: Vec<String>,
    unsure_forbids: Vec<String>,
    unsure_limits: Vec<Arc<str>>,
    failed: BTreeMap<Arc<str>, String>,
}

impl Found {
    pub(super) fn add(&mut self, rule: &Rule, truth: Truth) {
        let entry = &rule.entry;
        let id = Arc::clone(&entry.id);
        if let Truth::Failed(error) = &truth {
            self.failed.insert(Arc::clone(&id), error.clone());
        }
        let is_forbid = entry.effect == Effect::Forbid;
        match (entry.kind, truth) {
            (_, Truth::False) => {}
            (PolicyKind::Shaping, Truth::Unsure(_)) => self.unsure_limits.push(id),
            (PolicyKind::Shaping, Truth::True | Truth::Failed(_)) => self.limits.push(id),
            (PolicyKind::Access, _) if entry.shadow && !is_forbid => {}
            (PolicyKind::Access, Truth::True) if entry.shadow => self.shadow.push(id),
            (PolicyKind::Access, Truth::Failed(_)) if entry.shadow => self.shadow_failed.push(id),
            (PolicyKind::Access, _) if entry.shadow => {}
            (PolicyKind::Access, Truth::True) if is_forbid => self.forbids.push(id),
            (PolicyKind::Access, Truth::True) => self.permits.push(id),
            (PolicyKind::Access, Truth::Failed(_)) if is_forbid => self.failed_forbids.push(id),
            (PolicyKind::Access, Truth::Failed(_)) => {}
            (PolicyKind::Access, Truth::Unsure(names)) if is_forbid => self.unsure_forbids.extend(names),
            (PolicyKind::Access, Truth::Unsure(names)) => self.unsure_permits.extend(names),
        }
    }

    pub(super) fn judgement(mut self, is_observed: bool) -> Judgement {
        let mut unsure = Vec::new();
        let refusal = if !self.forbids.is_empty() {
            Some((Reason::Forbidden, self.forbids))
        } else if !self.failed_forbids.is_empty() {
            Some((Reason::ForbidError, self.failed_forbids))
        } else {
            unsure = self.unsure_forbids;
            self.permits.is_empty().then(|| {
                unsure.append(&mut self.unsure_permits);
                (Reason::NoPermit, Vec::new())
            })
        };
        unsure.sort();
        unsure.dedup();
        self.shadow.extend(self.shadow_failed);
        let mut judgement = Judgement {
            decision: Decision::Allow,
            reason: Reason::Permitted,
            policies: Vec::new(),
            shadow: self.shadow,
            limits: Vec::new(),
            failed: self.failed,
            unsure,
            unsure_limits: Vec::new(),
        };
        match refusal {
            None => {
                judgement.policies = self.permits;
                (judgement.limits, judgement.unsure_limits) = (self.limits, self.unsure_limits);
            }
            Some((_, policies)) if is_observed => {
                judgement.reason = Reason::Observed;
                if policies.is_empty() {
                    judgement.shadow.push(Arc::from(NO_PERMIT));
                }
                judgement.shadow.extend(policies);
            }
            Some((reason, policies)) => {
                (judgement.decision, judgement.reason, judgement.policies) = (Decision::Deny, reason, policies);
            }
        }
        judgement
    }
}
