//! One policy, ready to be asked.
//!
//! Of the parsed policy only the conditions are kept: the scope goes into the [`Index`](crate::index::Index), and the text
//! and the syntax tree would be most of what ten thousand policies take.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cedar_policy::{
    ActionConstraint, Effect, EntityTypeName, EntityUid, Expression, Policy, PolicyId, PrincipalConstraint,
    ResourceConstraint,
};
use cedar_policy_core::ast::{Literal, SlotEnv, ValueKind};
use cedar_policy_core::evaluator::Evaluator;
use tollgate_api::v1;

use crate::annotations;
use crate::compile::PolicyKind;
use crate::needs::Needs;
use crate::reads::Reads;
use crate::shaping::Shaping;
use crate::text;
use crate::world::Place;

/// One policy.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Tells it from every other, in this process.
    pub(crate) fingerprint: u128,
    pub(crate) id: Arc<str>,
    pub(crate) kind: PolicyKind,
    pub(crate) is_forbid: bool,
    pub(crate) shadow: bool,
    pub(crate) principal: Constraint,
    pub(crate) resource: Constraint,
    pub(crate) action: ActionConstraint,
    /// `None`: its scope alone decides.
    condition: Option<Expression>,
    /// Whether evaluating it needs a deep stack.
    pub(crate) is_long: bool,
    pub(crate) needs: Needs,
    pub(crate) shaping: Option<Box<Shaping>>,
    /// Requests for which it failed to evaluate.
    failures: AtomicU64,
}

/// What the scope of a policy says about the caller, or about the called service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Constraint {
    Any,
    Eq(EntityUid),
    In(EntityUid),
    Is(EntityTypeName),
    IsIn(EntityTypeName, EntityUid),
}

/// What a caller's own proxy has to go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Policies and signals as the called side has them.
    Live,
    /// Policies, while signals may have changed since they were last pushed.
    WithoutSignals,
}

/// What a policy says of a request whose scope it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Matches,
    Differs,
    /// It failed to evaluate.
    Fails,
}

impl Constraint {
    /// The entity that it names, where it matches nothing but that and what is in it.
    pub(crate) fn entity(&self) -> Option<&EntityUid> {
        match self {
            Self::Any | Self::Is(_) => None,
            Self::Eq(uid) | Self::In(uid) | Self::IsIn(_, uid) => Some(uid),
        }
    }

    pub(crate) fn matches(&self, place: &Place) -> bool {
        match self {
            Self::Any => true,
            Self::Eq(uid) => place.uid == *uid,
            Self::In(uid) => place.is_in(uid),
            Self::Is(of_type) => place.uid.type_name() == of_type,
            Self::IsIn(of_type, uid) => place.uid.type_name() == of_type && place.is_in(uid),
        }
    }
}

impl Rule {
    /// Reads a policy of a snapshot, or says why it cannot be read.
    pub(crate) fn read(policy: &v1::Policy, kind: PolicyKind) -> Result<Self, String> {
        let unreadable = |problem: String| format!("policy `{}` ({}): {problem}", policy.id, policy.origin);
        if let Some(problem) = text::too_deep(&policy.text) {
            return Err(unreadable(problem));
        }
        let cedar = Policy::parse(Some(PolicyId::new("")), &policy.text);
        let cedar = cedar.map_err(|errors| unreadable(errors.to_string()))?;
        let (shadow, shaping) = match kind {
            PolicyKind::Access => (annotations::access(&cedar).0.shadow, None),
            PolicyKind::Shaping => {
                let (annotations, shaping, _) = annotations::shaping(&cedar);
                (annotations.shadow, Some(Box::new(shaping)))
            }
        };
        Ok(Self {
            fingerprint: Self::fingerprint(policy, kind),
            id: Arc::from(policy.id.as_str()),
            kind,
            is_forbid: cedar.effect() == Effect::Forbid,
            shadow,
            principal: cedar.principal_constraint().into(),
            resource: cedar.resource_constraint().into(),
            action: cedar.action_constraint(),
            // Cedar's own tree: evaluating it is what its authorizer does once the scope matches.
            condition: cedar.as_ref().non_scope_constraints().cloned().map(Expression::from),
            is_long: text::is_long(&policy.text),
            needs: Needs::of(&Reads::of(&cedar)).map_err(unreadable)?,
            shaping,
            failures: AtomicU64::new(0),
        })
    }

    /// Of kind, id and text.
    pub(crate) fn fingerprint(policy: &v1::Policy, kind: PolicyKind) -> u128 {
        fingerprint((kind, &policy.id, &policy.text))
    }

    pub(crate) fn is_conditional(&self) -> bool {
        self.condition.is_some()
    }

    /// Asks its conditions. The scope is taken to match.
    pub(crate) fn ask(&self, evaluator: &Evaluator<'_>) -> Outcome {
        let Some(condition) = &self.condition else { return Outcome::Matches };
        // A condition has no slots: templates were linked.
        let value = evaluator.interpret(condition.as_ref(), &SlotEnv::new());
        match value.map(|value| value.value) {
            Ok(ValueKind::Lit(Literal::Bool(true))) => Outcome::Matches,
            Ok(ValueKind::Lit(Literal::Bool(false))) => Outcome::Differs,
            // To Cedar a condition that is no boolean is an error too.
            Ok(_) | Err(_) => Outcome::Fails,
        }
    }

    /// Whether a caller's own proxy reads the same as the called side's.
    pub(crate) fn is_known_to_caller(&self, sight: Sight) -> bool {
        self.needs.is_known_to_caller(sight)
    }

    pub(crate) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

/// Tells whether a policy is the same as one that was read before. 128 bits, of this process only.
pub(crate) fn fingerprint(parts: impl Hash) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, &parts).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

impl From<PrincipalConstraint> for Constraint {
    fn from(constraint: PrincipalConstraint) -> Self {
        match constraint {
            PrincipalConstraint::Any => Self::Any,
            PrincipalConstraint::Eq(uid) => Self::Eq(uid),
            PrincipalConstraint::In(uid) => Self::In(uid),
            PrincipalConstraint::Is(of_type) => Self::Is(of_type),
            PrincipalConstraint::IsIn(of_type, uid) => Self::IsIn(of_type, uid),
        }
    }
}

impl From<ResourceConstraint> for Constraint {
    fn from(constraint: ResourceConstraint) -> Self {
        match constraint {
            ResourceConstraint::Any => Self::Any,
            ResourceConstraint::Eq(uid) => Self::Eq(uid),
            ResourceConstraint::In(uid) => Self::In(uid),
            ResourceConstraint::Is(of_type) => Self::Is(of_type),
            ResourceConstraint::IsIn(of_type, uid) => Self::IsIn(of_type, uid),
        }
    }
}

#[cfg(test)]
mod tests {
    use cedar_policy::{Context, Entities, Request};
    use cedar_policy_core::extensions::Extensions;

    use super::*;

    /// As deep or as long as is allowed, in every way of which evaluating is recursive.
    fn longest() -> Vec<String> {
        let nested = |open: &str, inner: &str, close: &str, times: usize| {
            format!("{}{inner}{}", open.repeat(times), close.repeat(times))
        };
        let joined = |item: &str, operator: &str| vec![item; 298].join(operator);
        vec![
            joined("true", " && "),
            joined("false", " || "),
            format!("{} == 0", joined("0", " + ")),
            nested("!(", "true", ")", 39),
            nested("true && !(", "false", ")", 39),
            nested("if (", "true", ") then true else false", 39),
            nested("if false then true else ", "true", "", 99),
            nested("[", "true", "].contains(true)", 39),
            format!("{} == []", nested("[", "1", "]", 39)),
            format!("{} == {{}}", nested("{a:", "1", "}", 38)),
        ]
    }

    #[test]
    fn the_longest_policies_are_evaluated_on_the_stack_that_is_made_for_it() {
        for condition in longest() {
            let text = format!("permit (principal, action, resource) when {{ {condition} }};");
            assert_eq!(text::too_deep(&text), None, "{condition}");
            assert!(text::is_long(&text), "{condition}");
            let policy = v1::Policy { id: "long".to_owned(), text, origin: "a:1".to_owned() };
            let rule = text::with_deep_stack(|| Rule::read(&policy, PolicyKind::Access)).unwrap();
            let uid = |text: &str| text.parse::<EntityUid>().unwrap();
            let (principal, action, resource) =
                (uid("Service::\"a/b\""), uid("Action::\"GET\""), uid("Service::\"c/d\""));
            let request = Request::new(principal, action, resource, Context::empty(), None).unwrap();
            let (entities, extensions) = (Entities::empty(), Extensions::all_available());
            let evaluator = Evaluator::new(request.as_ref().clone(), entities.as_ref(), extensions);
            let ask = || rule.ask(&evaluator);
            assert_ne!(stacker::grow(text::EVALUATION_STACK_BYTES, ask), Outcome::Fails, "{condition}");
        }
    }
}
