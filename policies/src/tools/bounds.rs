//! What the scope of a policy says: which entities it can be about, and whether one bound lies within another.

use std::collections::BTreeSet;
use std::fmt;

use cedar_policy::pst::{ActionConstraint, EntityOrSlot, EntityUID, PrincipalConstraint, ResourceConstraint, Template};

use super::ground::{Ground, Uid};
use crate::model::{ACTION, METHODS};

/// What a policy says of its principal, or of its resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bound {
    Any,
    Eq(Uid),
    In(Uid),
    Is(String),
    IsIn(String, Uid),
}

/// The scope of a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bounds {
    pub(crate) principal: Bound,
    /// `None` for any action.
    pub(crate) actions: Option<Vec<Uid>>,
    /// Whether the actions are given with `==`.
    is_one_action: bool,
    pub(crate) resource: Bound,
}

impl Bounds {
    /// Of a policy without slots. `None` with slots, which no policy of a directory has.
    pub(crate) fn of(policy: &Template) -> Option<Self> {
        let principal = match &policy.principal {
            PrincipalConstraint::Any => Bound::Any,
            PrincipalConstraint::Eq(entity) => Bound::Eq(uid(entity)?),
            PrincipalConstraint::In(entity) => Bound::In(uid(entity)?),
            PrincipalConstraint::Is(of_type) => Bound::Is(of_type.to_string()),
            PrincipalConstraint::IsIn(of_type, entity) => Bound::IsIn(of_type.to_string(), uid(entity)?),
        };
        let resource = match &policy.resource {
            ResourceConstraint::Any => Bound::Any,
            ResourceConstraint::Eq(entity) => Bound::Eq(uid(entity)?),
            ResourceConstraint::In(entity) => Bound::In(uid(entity)?),
            ResourceConstraint::Is(of_type) => Bound::Is(of_type.to_string()),
            ResourceConstraint::IsIn(of_type, entity) => Bound::IsIn(of_type.to_string(), uid(entity)?),
        };
        let (actions, is_one_action) = match &policy.action {
            ActionConstraint::Any => (None, false),
            ActionConstraint::Eq(action) => (Some(vec![literal(action)]), true),
            ActionConstraint::In(actions) => (Some(actions.iter().map(literal).collect()), false),
        };
        Some(Self { principal, actions, is_one_action, resource })
    }

    pub(crate) fn matches(&self, principal: &Uid, action: &Uid, resource: &Uid, ground: &Ground) -> bool {
        self.principal.matches(principal, ground) && self.allows(action) && self.resource.matches(resource, ground)
    }

    /// Whether an action is one of those.
    pub(crate) fn allows(&self, action: &Uid) -> bool {
        let Some(actions) = &self.actions else { return true };
        let is_in = |above: &Uid| METHODS.iter().any(|(method, group)| *method == action.id && *group == above.id);
        actions.iter().any(|allowed| allowed == action || (!self.is_one_action && is_in(allowed)))
    }

    /// Whether every request within `other` is within these too.
    pub(crate) fn contain(&self, other: &Self, ground: &Ground) -> bool {
        self.principal.contains(&other.principal, ground)
            && self.resource.contains(&other.resource, ground)
            && other.methods().is_subset(&self.methods())
    }

    /// Every method that is within.
    pub(crate) fn methods(&self) -> BTreeSet<&'static str> {
        let methods = METHODS.iter().map(|(method, _)| *method);
        methods.filter(|method| self.allows(&Uid::new(ACTION, method))).collect()
    }

    /// The three parts as written.
    pub(crate) fn texts(&self) -> [String; 3] {
        let action = match &self.actions {
            None => "action".to_owned(),
            Some(actions) if self.is_one_action => format!("action == {}", list(actions)),
            Some(actions) if actions.len() == 1 => format!("action in {}", list(actions)),
            Some(actions) => format!("action in [{}]", list(actions)),
        };
        [self.principal.text("principal"), action, self.resource.text("resource")]
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().join(", "))
    }
}

impl Bound {
    pub(crate) fn matches(&self, entity: &Uid, ground: &Ground) -> bool {
        match self {
            Self::Any => true,
            Self::Eq(uid) => entity == uid,
            Self::In(uid) => ground.is_in(entity, uid),
            Self::Is(of_type) => entity.of_type == *of_type,
            Self::IsIn(of_type, uid) => entity.of_type == *of_type && ground.is_in(entity, uid),
        }
    }

    /// The entity that it names.
    pub(crate) fn uid(&self) -> Option<&Uid> {
        match self {
            Self::Eq(uid) | Self::In(uid) | Self::IsIn(_, uid) => Some(uid),
            Self::Any | Self::Is(_) => None,
        }
    }

    fn contains(&self, other: &Self, ground: &Ground) -> bool {
        if self == other || *self == Self::Any {
            return true;
        }
        match other {
            Self::Eq(uid) => self.matches(uid, ground),
            Self::In(uid) => matches!(self, Self::In(above) if ground.is_in(uid, above)),
            Self::IsIn(of_type, uid) => match self {
                Self::In(above) => ground.is_in(uid, above),
                Self::Is(own) => own == of_type,
                Self::IsIn(own, above) => own == of_type && ground.is_in(uid, above),
                Self::Any | Self::Eq(_) => false,
            },
            Self::Any | Self::Is(_) => false,
        }
    }

    fn text(&self, name: &str) -> String {
        match self {
            Self::Any => name.to_owned(),
            Self::Eq(uid) => format!("{name} == {uid}"),
            Self::In(uid) => format!("{name} in {uid}"),
            Self::Is(of_type) => format!("{name} is {of_type}"),
            Self::IsIn(of_type, uid) => format!("{name} is {of_type} in {uid}"),
        }
    }
}

fn uid(entity: &EntityOrSlot) -> Option<Uid> {
    match entity {
        EntityOrSlot::Entity(uid) => Some(literal(uid)),
        EntityOrSlot::Slot(_) => None,
    }
}

fn literal(uid: &EntityUID) -> Uid {
    Uid::new(&uid.ty.to_string(), &uid.eid)
}

fn list(uids: &[Uid]) -> String {
    uids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
