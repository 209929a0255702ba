//! What one caller, one called service and one method have in common: the policies whose scopes match, and the entities.
//!
//! Cedar's authorizer walks every policy for each request. A lane holds those few that are left once the scope has been
//! looked at, and knows which of them need no looking at all because they have no conditions.

use std::sync::Arc;

use cedar_policy::{AuthorizationError, Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request};
use smallvec::SmallVec;

use crate::loaded::{Loaded, Place, Rule};
use crate::model;
use crate::reads::Reads;
use crate::text;
use crate::world::World;

/// Places of policies in their set, in order.
pub(crate) type Indices = SmallVec<[u32; 4]>;

pub(crate) struct Lane {
    pub(crate) principal: Place,
    action: Place,
    pub(crate) resource: Place,
    access: Slice,
    /// Only `forbid`s: a `permit` in shadow mode can refuse nothing.
    shadow: Slice,
    shaping: Slice,
    /// What the conditions of any of them read.
    reads: Reads,
    /// Without an end user's entity. Made when first needed.
    entities: Option<Arc<Entities>>,
}

/// Policies of one set whose scopes match.
#[derive(Default)]
struct Slice {
    permits: Indices,
    forbids: Indices,
    conditional: Option<PolicySet>,
    /// Whether evaluating them needs a deep stack.
    is_long: bool,
}

/// Policies of one set that match a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Matched {
    /// Only what Cedar says: it does not name permits where a `forbid` matches.
    pub(crate) permits: Indices,
    pub(crate) forbids: Indices,
    /// Policies of either effect that failed to evaluate.
    pub(crate) errors: Indices,
}

/// Policies that match a request.
#[derive(Debug, Default)]
pub(crate) struct Matches {
    pub(crate) access: Matched,
    pub(crate) shadow: Matched,
    pub(crate) shaping: Matched,
}

impl Lane {
    pub(crate) fn new(loaded: &Loaded, world: &World, source: &str, destination: &str, action: &str) -> Self {
        let principal = world.principal(source);
        let action = world.action(action);
        let resource = world.service(destination);
        let mut reads = Reads::default();
        let mut slice = |rules: &[Rule], is_wanted: &dyn Fn(&Rule) -> bool| {
            let mut slice = Slice::default();
            for (index, rule) in rules.iter().enumerate() {
                if is_wanted(rule) && rule.matches(&principal, &action, &resource) {
                    slice.add(index as u32, rule);
                    reads.add(&rule.reads);
                }
            }
            slice
        };
        let access = slice(&loaded.access, &|rule| !rule.shadow);
        let shadow = slice(&loaded.access, &|rule| rule.shadow && rule.is_forbid);
        let shaping = slice(&loaded.shaping, &|_| true);
        Self { principal, action, resource, access, shadow, shaping, reads, entities: None }
    }

    /// Forgets the entities: some signal has changed.
    pub(crate) fn refresh(&mut self) {
        self.entities = None;
    }

    /// Asks every policy of the lane. `context` makes the context for what is read; `user` is the end user, if known.
    pub(crate) fn matches(
        &mut self,
        world: &World,
        authorizer: &Authorizer,
        user: &str,
        context: impl FnOnce(&Reads) -> Context,
    ) -> Matches {
        let is_conditional =
            [&self.access, &self.shadow, &self.shaping].iter().any(|slice| slice.conditional.is_some());
        if !is_conditional {
            return Matches {
                access: self.access.matched(None),
                shadow: self.shadow.matched(None),
                shaping: self.shaping.matched(None),
            };
        }
        let entities = self.entities(world, user);
        let request = self.request(context(&self.reads));
        let asked = request.as_ref().map(|request| Asked { authorizer, request, entities: &entities });
        Matches {
            access: self.access.matched(asked),
            shadow: self.shadow.matched(asked),
            shaping: self.shaping.matched(asked),
        }
    }

    /// Whether there is a `permit` of which a caller's own proxy cannot say that it does not match.
    pub(crate) fn may_be_permitted(&self, loaded: &Loaded) -> bool {
        let conditional =
            self.access.conditional.iter().flat_map(PolicySet::policies).filter_map(|policy| index(policy.id()));
        let rules = conditional.filter_map(|index| loaded.access.get(index as usize));
        let mut unsure = rules.filter(|rule| !rule.is_forbid && !rule.is_known_to_caller());
        unsure.next().is_some()
    }

    fn entities(&mut self, world: &World, user: &str) -> Arc<Entities> {
        let places = [&self.principal, &self.action, &self.resource];
        if !user.is_empty() && self.reads.reads_context("user") {
            let user: EntityUid = world.user(user);
            return Arc::new(world.store(&places, Some(&user)));
        }
        Arc::clone(self.entities.get_or_insert_with(|| Arc::new(world.store(&places, None))))
    }

    fn request(&self, context: Context) -> Option<Request> {
        let uid = |place: &Place| place.uid.clone();
        // Without a schema nothing is checked, and so nothing fails.
        Request::new(uid(&self.principal), uid(&self.action), uid(&self.resource), context, None).ok()
    }
}

#[derive(Clone, Copy)]
struct Asked<'a> {
    authorizer: &'a Authorizer,
    request: &'a Request,
    entities: &'a Entities,
}

impl Slice {
    fn add(&mut self, index: u32, rule: &Rule) {
        if rule.is_conditional {
            self.is_long |= rule.is_long;
            // Ids are the places of the policies in their set, so that none is there twice.
            drop(self.conditional.get_or_insert_with(PolicySet::new).add(rule.cedar.clone()));
        } else if rule.is_forbid {
            self.forbids.push(index);
        } else {
            self.permits.push(index);
        }
    }

    fn matched(&self, asked: Option<Asked<'_>>) -> Matched {
        let mut matched =
            Matched { permits: self.permits.clone(), forbids: self.forbids.clone(), errors: Indices::new() };
        if let (Some(policies), Some(asked)) = (&self.conditional, asked) {
            let ask = || asked.authorizer.is_authorized(asked.request, policies, asked.entities);
            let response = if self.is_long { text::with_deep_stack(ask) } else { ask() };
            let diagnostics = response.diagnostics();
            let reasons = diagnostics.reason().filter_map(index);
            match response.decision() {
                Decision::Allow => matched.permits.extend(reasons),
                Decision::Deny => matched.forbids.extend(reasons),
            }
            matched.errors.extend(diagnostics.errors().filter_map(|error| match error {
                AuthorizationError::PolicyEvaluationError(error) => index(error.policy_id()),
            }));
        }
        // Cedar gives them in no order.
        matched.permits.sort_unstable();
        matched.forbids.sort_unstable();
        matched.errors.sort_unstable();
        matched
    }
}

fn index(id: &cedar_policy::PolicyId) -> Option<u32> {
    let id: &str = id.as_ref();
    id.parse().ok()
}

/// The action of a method, for finding a lane.
pub(crate) fn action(method: &str) -> &'static str {
    model::action(method)
}
