//! What was learnt of the policies that were compiled last, so that a change of one file costs that file.
//!
//! Bounded: nothing is kept but what the last directory held.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{EntityUid, Policy};
use parking_lot::Mutex;

use super::{Effect, PolicyKind};
use crate::annotations::{self, Problem};
use crate::model::{self, Known};
use crate::needs::Needs;
use crate::reads::Reads;
use crate::rule::fingerprint;
use crate::shaping::Shaping;
use crate::slices::Bearing;

/// By the text of a policy.
#[derive(Default)]
pub(crate) struct Memory {
    policies: HashMap<u128, Arc<Learned>>,
    /// The entities, and what they were checked against, that had no problem.
    pub(crate) entities: Option<u128>,
}

/// Everything about one policy that follows from its text alone.
pub(crate) struct Learned {
    pub(crate) reads: Reads,
    /// Entities that it names anywhere.
    pub(crate) literals: Vec<EntityUid>,
    pub(crate) effect: Effect,
    pub(crate) id: Option<Arc<str>>,
    pub(crate) shadow: bool,
    pub(crate) shaping: Option<Shaping>,
    pub(crate) bearing: Arc<Bearing>,
    /// Of its annotations.
    pub(crate) problems: Vec<Problem>,
    /// What it was validated against when nothing was found.
    clean_under: Mutex<Option<u128>>,
}

impl Memory {
    pub(crate) fn policy(&self, fingerprint: u128) -> Option<&Arc<Learned>> {
        self.policies.get(&fingerprint)
    }

    pub(crate) fn remember(&mut self, fingerprint: u128, learned: &Arc<Learned>) {
        self.policies.insert(fingerprint, Arc::clone(learned));
    }
}

impl Learned {
    pub(crate) fn of(policy: &Policy, kind: PolicyKind) -> Self {
        let (annotations, shaping, problems) = match kind {
            PolicyKind::Access => {
                let (annotations, problems) = annotations::access(policy);
                (annotations, None, problems)
            }
            PolicyKind::Shaping => {
                let (annotations, shaping, problems) = annotations::shaping(policy);
                (annotations, Some(shaping), problems)
            }
        };
        let effect = match policy.effect() {
            cedar_policy::Effect::Permit => Effect::Permit,
            cedar_policy::Effect::Forbid => Effect::Forbid,
        };
        let reads = Reads::of(policy);
        let scope = [policy.principal_constraint().into(), policy.resource_constraint().into()];
        let bearing = Bearing::new(kind, effect, scope, Needs::of(&reads).ok().as_ref(), shaping.as_ref());
        Self {
            reads,
            bearing: Arc::new(bearing),
            literals: policy.entity_literals(),
            effect,
            id: annotations.id,
            shadow: annotations.shadow,
            shaping,
            problems,
            clean_under: Mutex::new(None),
        }
    }

    pub(crate) fn is_clean_under(&self, schema: &Schemas) -> bool {
        *self.clean_under.lock() == Some(schema.of(self))
    }

    pub(crate) fn set_clean_under(&self, schema: &Schemas) {
        *self.clean_under.lock() = Some(schema.of(self));
    }
}

/// Tells schemas apart, as far as a policy can see them.
///
/// A header that one policy names is part of the schema of all. To a policy that does not look at all headers as one record
/// it makes no difference, so that naming a new header validates few policies again.
pub(crate) struct Schemas {
    without_headers: u128,
    whole: u128,
    /// Names of the lists, which are no part of the schema.
    lists: u128,
}

impl Schemas {
    pub(crate) fn new(known: &Known, whole: &str) -> Self {
        let bare = Known { attributes: known.attributes.clone(), signals: known.signals.clone(), ..Known::default() };
        let (without_headers, whole) = (fingerprint(model::schema(&bare).to_string()), fingerprint(whole));
        Self { without_headers, whole, lists: fingerprint(&known.lists) }
    }

    /// What entities are checked against.
    pub(crate) fn of_entities(&self) -> u128 {
        self.without_headers
    }

    fn of(&self, policy: &Learned) -> u128 {
        let sees_all = policy.reads.whole_context || policy.reads.whole_headers;
        let of_schema = if sees_all { self.whole } else { self.without_headers };
        if policy.reads.lists.is_empty() { of_schema } else { fingerprint((of_schema, self.lists)) }
    }
}
