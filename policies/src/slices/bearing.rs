//! What decides to whom a policy may matter.

use std::sync::Arc;

use crate::compile::{Effect, PolicyKind, by_headers};
use crate::needs::Needs;
use crate::rule::{Constraint, Sight};
use crate::shaping::Shaping;
use crate::world::Place;

/// The part of a policy from which it follows where it can say anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bearing {
    pub(crate) principal: Constraint,
    pub(crate) resource: Constraint,
    /// Whether a caller's own proxy may refuse by it, or has to know that it may permit. An early refusal follows from there
    /// being no permit, and from those that refuse for certain.
    serves_early: bool,
    /// Headers that it reads, or counts by.
    pub(crate) headers: Box<[Arc<str>]>,
    /// It reads all headers as one record: all that any policy names.
    pub(crate) sees_all_headers: bool,
    /// Lists that it reads.
    pub(crate) lists: Box<[Arc<str>]>,
    /// It reads all lists as one set.
    pub(crate) sees_all_lists: bool,
}

impl Bearing {
    /// `needs` are those of its conditions; where they are not known it is taken to need everything.
    pub(crate) fn new(
        kind: PolicyKind,
        effect: Effect,
        [principal, resource]: [Constraint; 2],
        needs: Option<&Needs>,
        shaping: Option<&Shaping>,
    ) -> Self {
        let is_known = needs.is_none_or(|needs| needs.is_known_to_caller(Sight::Live));
        let headers = needs.into_iter().flat_map(|needs| needs.headers.iter().cloned());
        Self {
            principal,
            resource,
            serves_early: kind == PolicyKind::Access && (effect == Effect::Permit || is_known),
            headers: headers.chain(shaping.into_iter().flat_map(by_headers)).collect(),
            sees_all_headers: needs.is_none_or(|needs| needs.all_headers),
            lists: needs.into_iter().flat_map(|needs| needs.lists.iter().cloned()).collect(),
            sees_all_lists: needs.is_none_or(|needs| needs.all_lists),
        }
    }

    /// Whether it may say something about a request to one of `called`, or about one of `calling` to one of `calls`.
    pub(crate) fn may_matter(&self, called: &[Place], calling: &[Place], calls: &[Place]) -> bool {
        let may_match =
            |constraint: &Constraint, places: &[Place]| places.iter().any(|place| constraint.matches(place));
        may_match(&self.resource, called)
            || (self.serves_early && may_match(&self.principal, calling) && may_match(&self.resource, calls))
    }
}
