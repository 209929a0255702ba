//! Which policies an enforcer needs that is only ever asked about some services.
//!
//! INVARIANT: for a request that it is asked about, no policy is left out that could change the answer.

use crate::compile::PolicyKind;
use crate::rule::{Constraint, Rule, Sight};
use crate::world::{Place, World};

/// The requests that an enforcer is asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standpoint {
    /// Services in front of which it stands, as `namespace/name`: it decides what calls them.
    pub called: Vec<String>,
    /// Services that call through it: it may refuse early what they ask of those in `calls`.
    pub calling: Vec<String>,
    /// Services that can be called through it.
    pub calls: Vec<String>,
}

impl Standpoint {
    pub(crate) fn decides(&self, destination: &str) -> bool {
        self.called.iter().any(|service| service == destination)
    }

    pub(crate) fn refuses_early(&self, source: &str, destination: &str) -> bool {
        let has = |services: &[String], name: &str| services.iter().any(|service| service == name);
        self.decides(destination) || (has(&self.calling, source) && has(&self.calls, destination))
    }
}

/// A standpoint among the entities of a snapshot.
pub(crate) struct Slice {
    called: Vec<Place>,
    calling: Vec<Place>,
    calls: Vec<Place>,
}

impl Slice {
    pub(crate) fn new(standpoint: &Standpoint, world: &World) -> Self {
        let places = |services: &[String]| services.iter().map(|service| world.service(service)).collect();
        Self {
            called: places(&standpoint.called),
            calling: places(&standpoint.calling),
            calls: places(&standpoint.calls),
        }
    }

    /// Whether a policy may say something about a request that is asked about.
    pub(crate) fn has(&self, rule: &Rule) -> bool {
        let may_match =
            |constraint: &Constraint, places: &[Place]| places.iter().any(|place| constraint.matches(place));
        // An early refusal follows from there being no permit, and from those that refuse for certain.
        let serves_early =
            || rule.kind == PolicyKind::Access && (!rule.is_forbid || rule.is_known_to_caller(Sight::Live));
        let may_be_called = || may_match(&rule.principal, &self.calling) && may_match(&rule.resource, &self.calls);
        may_match(&rule.resource, &self.called) || (serves_early() && may_be_called())
    }
}
