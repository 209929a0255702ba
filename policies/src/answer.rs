//! What the policies say of a request, worked out as far as it can be once and for all.

use std::sync::Arc;

use tollgate_attributes::Reason;

use crate::compile::PolicyKind;
use crate::ids::PolicyIds;
use crate::index::Indices;
use crate::loaded::Loaded;
use crate::rule::{Outcome, Rule, Sight};

/// Policies that match a request, each list in the order in which they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Matches {
    pub(crate) permits: Indices,
    pub(crate) forbids: Indices,
    pub(crate) failed_forbids: Indices,
    /// In shadow mode, would have refused.
    pub(crate) shadow: Indices,
    pub(crate) shaping: Indices,
    /// Failed to evaluate, of every kind.
    pub(crate) failed: Indices,
}

/// The same as a reply.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) matches: Matches,
    /// Why access is refused, and by which policies.
    pub(crate) refusal: Option<(Reason, PolicyIds)>,
    /// The same as the caller's own side can tell.
    early: Option<(Reason, PolicyIds)>,
    /// The same without what follows from signals.
    early_without_signals: Option<(Reason, PolicyIds)>,
    pub(crate) permits: PolicyIds,
    pub(crate) shadow: PolicyIds,
    pub(crate) failed: PolicyIds,
    pub(crate) shaping: Box<[Applied]>,
}

/// A shaping policy that matches.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) rule: u32,
    /// What `@cost` reads of an entity.
    pub(crate) amount: Option<i64>,
}

impl Matches {
    /// A policy that fails to evaluate does what is safe: a `forbid` refuses, a limit limits, a `permit` does not permit.
    pub(crate) fn add(&mut self, index: u32, rule: &Rule, outcome: Outcome) {
        if outcome == Outcome::Differs {
            return;
        }
        if outcome == Outcome::Fails {
            self.failed.push(index);
        }
        let list = match (rule.kind, rule.is_forbid, outcome) {
            (PolicyKind::Shaping, false, _) => &mut self.shaping,
            (PolicyKind::Shaping, true, _) => return,
            (PolicyKind::Access, true, _) if rule.shadow => &mut self.shadow,
            (PolicyKind::Access, true, Outcome::Fails) => &mut self.failed_forbids,
            (PolicyKind::Access, true, _) => &mut self.forbids,
            (PolicyKind::Access, false, Outcome::Matches) if !rule.shadow => &mut self.permits,
            (PolicyKind::Access, false, _) => return,
        };
        list.push(index);
    }

    pub(crate) fn sort(&mut self) {
        let lists = [&mut self.permits, &mut self.forbids, &mut self.failed_forbids, &mut self.shadow];
        lists.into_iter().chain([&mut self.shaping, &mut self.failed]).for_each(|list| list.sort_unstable());
    }

    /// Why access is refused, and by which policies; `None` when it is not.
    ///
    /// Plain Cedar passes over a policy that fails to evaluate. Here a `forbid` that fails refuses.
    fn refusal(&self, is_counted: impl Fn(&u32) -> bool) -> Option<(Reason, Indices)> {
        let counted = |indices: &Indices| indices.iter().copied().filter(&is_counted).collect::<Indices>();
        let (forbids, failed) = (counted(&self.forbids), counted(&self.failed_forbids));
        if !forbids.is_empty() {
            return Some((Reason::Forbidden, forbids));
        }
        if !failed.is_empty() {
            return Some((Reason::ForbidError, failed));
        }
        self.permits.is_empty().then(|| (Reason::NoPermit, Indices::new()))
    }
}

impl Answer {
    /// `may_be_permitted`: there is a `permit` of which the caller's own side cannot say whether it matches, from what it
    /// has to go by. `amount` is what `@cost` of a policy reads of an entity.
    pub(crate) fn new(
        matches: Matches,
        loaded: &Loaded,
        may_be_permitted: impl Fn(Sight) -> bool,
        amount: impl Fn(&Rule) -> Option<i64>,
    ) -> Self {
        let ids =
            |indices: &Indices| PolicyIds::shared(indices.iter().map(|index| Arc::clone(&loaded.rule(*index).id)));
        let refusal = matches.refusal(|_| true).map(|(reason, indices)| (reason, ids(&indices)));
        let early = |sight| {
            let early = matches.refusal(|index| loaded.rule(*index).is_known_to_caller(sight));
            let early = early.filter(|(reason, _)| *reason != Reason::NoPermit || !may_be_permitted(sight));
            early.map(|(reason, indices)| (reason, ids(&indices)))
        };
        let applied = |rule: &u32| Applied { rule: *rule, amount: amount(loaded.rule(*rule)) };
        Self {
            refusal,
            early: early(Sight::Live),
            early_without_signals: early(Sight::WithoutSignals),
            permits: ids(&matches.permits),
            shadow: ids(&matches.shadow),
            failed: ids(&matches.failed),
            shaping: matches.shaping.iter().map(applied).collect(),
            matches,
        }
    }

    /// Why access is refused, as far as the caller's own side can tell, and by which policies.
    pub(crate) fn early(&self, sight: Sight) -> Option<&(Reason, PolicyIds)> {
        match sight {
            Sight::Live => self.early.as_ref(),
            Sight::WithoutSignals => self.early_without_signals.as_ref(),
        }
    }
}
