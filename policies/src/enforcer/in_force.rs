//! One state of the policies, for a decision and for what is collected to make it.

use std::sync::Arc;

use arc_swap::Guard;

use super::Enforcer;
use super::apply::State;
use crate::facts::{Facts, Verdict};
use crate::spend::Spend;

/// What is in force when a decision begins. Hold it no longer than the decision takes.
///
/// Headers are collected before a request is decided. Were the policies replaced in between, one that reads another header
/// would find it absent.
pub struct InForce<'a> {
    pub(super) enforcer: &'a Enforcer,
    pub(super) state: Guard<Arc<State>>,
}

impl InForce<'_> {
    /// Headers that the policies read, or that are looked up in lists, by lower-case name. The same list, by its address, as
    /// long as the policies and lists are the same. `None` before the first snapshot.
    #[must_use]
    pub fn headers(&self) -> Option<&Arc<[Arc<str>]>> {
        self.state.loaded.as_ref().map(|loaded| self.state.headers.as_ref().unwrap_or(&loaded.headers))
    }

    /// As [`Enforcer::decide`].
    #[must_use]
    pub fn decide(&self, facts: &Facts<'_>) -> Verdict {
        self.enforcer.judge(&self.state, facts, Spend::Take)
    }

    /// As [`Enforcer::refuses_early`].
    #[must_use]
    pub fn refuses_early(&self, facts: &Facts<'_>) -> Option<Verdict> {
        self.enforcer.judge_early(&self.state, facts)
    }
}

impl std::fmt::Debug for InForce<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InForce").field("version", &self.state.version).finish_non_exhaustive()
    }
}
