//! The policies of a snapshot, ready to be asked.

use std::collections::HashSet;
use std::sync::Arc;

use cedar_policy::{ActionConstraint, Effect, EntityUid, Policy, PolicyId, PrincipalConstraint, ResourceConstraint};
use tollgate_api::v1;

use crate::annotations;
use crate::compile::by_headers;
use crate::reads::Reads;
use crate::shaping::Shaping;
use crate::text;

/// Attributes of `context` that a caller's own proxy knows as surely as the called side's.
const KNOWN_TO_CALLER: &[&str] = &["method", "path", "host", "headers", "user_agent"];

/// Both sets of policies.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) access: Vec<Rule>,
    pub(crate) shaping: Vec<Rule>,
    /// What any of them reads.
    pub(crate) reads: Reads,
    pub(crate) headers: Arc<[Arc<str>]>,
    pub(crate) observe: bool,
    pub(crate) observed_services: HashSet<String>,
}

/// One policy.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: Arc<str>,
    pub(crate) cedar: Policy,
    pub(crate) is_forbid: bool,
    pub(crate) shadow: bool,
    /// Whether it has conditions; without any its scope alone decides.
    pub(crate) is_conditional: bool,
    /// Whether evaluating it needs a deep stack.
    pub(crate) is_long: bool,
    pub(crate) reads: Reads,
    pub(crate) shaping: Option<Shaping>,
}

impl Loaded {
    /// Reads the policies of a snapshot, or says which one cannot be read.
    pub(crate) fn read(policies: &v1::Policies) -> Result<Self, String> {
        let access = rules(&policies.access, |policy| (annotations::access(policy).0.shadow, None))?;
        let shaping = rules(&policies.shaping, |policy| {
            let (annotations, shaping, _) = annotations::shaping(policy);
            (annotations.shadow, Some(shaping))
        })?;
        let mut reads = Reads::default();
        access.iter().chain(&shaping).for_each(|rule| reads.add(&rule.reads));
        let by = shaping.iter().filter_map(|rule| rule.shaping.as_ref()).flat_map(by_headers);
        let mut headers: Vec<_> = reads.headers.iter().map(|name| Arc::from(name.as_str())).chain(by).collect();
        headers.sort();
        headers.dedup();
        Ok(Self {
            access,
            shaping,
            reads,
            headers: Arc::from(headers),
            observe: policies.observe,
            observed_services: policies.observed_services.iter().cloned().collect(),
        })
    }

    pub(crate) fn is_observed(&self, service: &str) -> bool {
        self.observe || self.observed_services.contains(service)
    }

    /// Attributes that an answer may depend on.
    pub(crate) fn depends_on(&self) -> Vec<String> {
        let mut names: Vec<_> = ["principal", "action", "resource"].map(str::to_owned).to_vec();
        if self.reads.whole_context {
            names.push("context".to_owned());
        }
        let plain = self.reads.context.iter().filter(|name| *name != "headers");
        names.extend(plain.map(|name| format!("context.{name}")));
        names.extend(self.reads.headers.iter().map(|name| format!("context.headers[\"{name}\"]")));
        let shaping = || self.shaping.iter().filter_map(|rule| rule.shaping.as_ref());
        for name in shaping().flat_map(|shaping| shaping.by.iter().map(ToString::to_string)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

impl Rule {
    /// Whether its scope matches. INVARIANT: it says no only where plain Cedar would find the scope false too.
    pub(crate) fn matches(&self, principal: &Place, action: &Place, resource: &Place) -> bool {
        let principal_matches = match self.cedar.principal_constraint() {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Eq(uid) => principal.uid == uid,
            PrincipalConstraint::In(uid) => principal.is_in(&uid),
            PrincipalConstraint::Is(of_type) => *principal.uid.type_name() == of_type,
            PrincipalConstraint::IsIn(of_type, uid) => *principal.uid.type_name() == of_type && principal.is_in(&uid),
        };
        principal_matches
            && match self.cedar.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(uid) => action.uid == uid,
                ActionConstraint::In(uids) => uids.iter().any(|uid| action.is_in(uid)),
            }
            && match self.cedar.resource_constraint() {
                ResourceConstraint::Any => true,
                ResourceConstraint::Eq(uid) => resource.uid == uid,
                ResourceConstraint::In(uid) => resource.is_in(&uid),
                ResourceConstraint::Is(of_type) => *resource.uid.type_name() == of_type,
                ResourceConstraint::IsIn(of_type, uid) => *resource.uid.type_name() == of_type && resource.is_in(&uid),
            }
    }

    /// Whether a caller's own proxy reads the same as the called side's.
    pub(crate) fn is_known_to_caller(&self) -> bool {
        !self.reads.whole_context && self.reads.context.iter().all(|name| KNOWN_TO_CALLER.contains(&name.as_str()))
    }
}

/// An entity of a request, with everything that it is in.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) uid: EntityUid,
    pub(crate) ancestors: HashSet<EntityUid>,
}

impl Place {
    fn is_in(&self, uid: &EntityUid) -> bool {
        self.uid == *uid || self.ancestors.contains(uid)
    }
}

fn rules(
    policies: &[v1::Policy],
    annotations: impl Fn(&Policy) -> (bool, Option<Shaping>),
) -> Result<Vec<Rule>, String> {
    let rule = |(index, policy): (usize, &v1::Policy)| {
        let unreadable = |problem: String| format!("policy `{}` ({}): {problem}", policy.id, policy.origin);
        if let Some(problem) = text::too_deep(&policy.text) {
            return Err(unreadable(problem));
        }
        // Cedar knows the policy by its place, which also tells the order of two.
        let cedar = Policy::parse(Some(PolicyId::new(index.to_string())), &policy.text);
        let cedar = cedar.map_err(|errors| unreadable(errors.to_string()))?;
        let (shadow, shaping) = annotations(&cedar);
        Ok(Rule {
            id: Arc::from(policy.id.as_str()),
            is_forbid: cedar.effect() == Effect::Forbid,
            shadow,
            is_conditional: cedar.has_non_scope_constraint(),
            is_long: text::is_long(&policy.text),
            reads: Reads::of(&cedar),
            shaping,
            cedar,
        })
    };
    policies.iter().enumerate().map(rule).collect()
}
