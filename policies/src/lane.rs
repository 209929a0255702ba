//! What one caller, one called service and one method have in common: the policies whose scopes match, and the entities.
//!
//! A lane holds those few policies that are left once the scope has been looked at, knows which of them have no conditions,
//! and what the conditions of the others read.

use std::sync::Arc;

use cedar_policy::{Entities, EntityUid, Request};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;

use crate::answer::{Answer, Matches};
use crate::clock::Clock;
use crate::context::context;
use crate::facts::Facts;
use crate::index::Indices;
use crate::lists::Lists;
use crate::loaded::Loaded;
use crate::model::METHODS;
use crate::needs::Needs;
use crate::reads::Whose;
use crate::rule::{Outcome, Rule, Sight};
use crate::shaping::{Cost, CostAttribute};
use crate::text;
use crate::world::{self, Place, Signals, World};

/// Most answers that a lane keeps to give again.
const ANSWERS_MAX: usize = 16;

/// A request, and what it is decided by.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) loaded: &'a Loaded,
    pub(crate) world: &'a World,
    pub(crate) facts: &'a Facts<'a>,
    pub(crate) lists: &'a Lists,
    pub(crate) clock: &'a Clock,
}

pub(crate) struct Lane {
    principal: Place,
    action: EntityUid,
    resource: Place,
    /// What the policies without conditions say.
    certain: Matches,
    /// Policies whose answer stays the same for equal attributes.
    lasting: Conditions,
    /// Policies that read the time: they are asked each time.
    timed: Conditions,
    /// Policies with conditions that may permit.
    conditional_permits: Indices,
    /// Without an end user's entity. Made when first needed.
    entities: Option<Arc<Entities>>,
    /// Signals of caller and called service when they were last looked at.
    seen: [Option<Arc<Signals>>; 2],
    /// Answers that were given, so that the same is not made twice.
    answers: Vec<Arc<Answer>>,
}

#[derive(Default)]
struct Conditions {
    rules: Indices,
    needs: Needs,
    /// Whether evaluating them needs a deep stack.
    is_long: bool,
}

impl Lane {
    /// `action` is a place in [`METHODS`].
    pub(crate) fn new(asked: &Asked<'_>, action: usize) -> Self {
        let Asked { loaded, world, facts, .. } = asked;
        let (principal, resource) = (world.principal(facts.source), world.service(facts.destination));
        let (mut certain, mut lasting, mut timed) = <(Matches, Conditions, Conditions)>::default();
        let mut conditional_permits = Indices::new();
        for index in loaded.find(&principal, action, &resource) {
            let rule = loaded.rule(index);
            if !rule.is_conditional() {
                certain.add(index, rule, Outcome::Matches);
                continue;
            }
            let conditions = if rule.needs.has_time() { &mut timed } else { &mut lasting };
            conditions.add(index, rule);
            if rule.shaping.is_none() && !rule.is_forbid && !rule.shadow {
                conditional_permits.push(index);
            }
        }
        let seen = [&principal, &resource].map(|place| world.signals(&place.uid).cloned());
        let action = world::action(METHODS[action].0);
        let (entities, answers) = (None, Vec::new());
        Self { principal, action, resource, certain, lasting, timed, conditional_permits, entities, seen, answers }
    }

    /// What the answer for equal attributes depends on.
    pub(crate) fn needs(&self) -> &Needs {
        &self.lasting.needs
    }

    /// Whether the answer is the same for every request.
    pub(crate) fn is_fixed(&self) -> bool {
        self.lasting.rules.is_empty() && self.timed.rules.is_empty()
    }

    /// Whether the answer also follows from the time.
    pub(crate) fn is_timed(&self) -> bool {
        !self.timed.rules.is_empty()
    }

    /// Looks at the signals again. Returns whether any that the policies read has changed.
    pub(crate) fn renew(&mut self, world: &World) -> bool {
        let now = [&self.principal, &self.resource].map(|place| world.signals(&place.uid));
        let needs = self.lasting.needs.signals.iter().chain(&self.timed.needs.signals);
        let is_changed = |of: usize, name: Option<&str>| match (&self.seen[of], now[of]) {
            (Some(before), Some(now)) => !Arc::ptr_eq(before, now) && !before.is_same(now, name),
            (None, None) => false,
            _ => true,
        };
        let has_changed = needs.into_iter().any(|need| match need.of {
            Whose::Principal => is_changed(0, need.name.as_deref()),
            Whose::Resource => is_changed(1, need.name.as_deref()),
            // It may be of any entity: every change counts.
            Whose::Any => true,
        });
        if has_changed {
            self.seen = now.map(Option::<&Arc<Signals>>::cloned);
            self.entities = None;
        }
        has_changed
    }

    /// Asks the policies whose answer stays the same for equal attributes.
    pub(crate) fn ask(&mut self, asked: &Asked<'_>) -> Arc<Answer> {
        let mut matches = self.certain.clone();
        self.ask_conditions(asked, Which::Lasting, &mut matches);
        self.answer(asked, matches)
    }

    /// Asks the others too.
    pub(crate) fn ask_timed(&mut self, asked: &Asked<'_>, lasting: &Answer) -> Arc<Answer> {
        let mut matches = lasting.matches.clone();
        self.ask_conditions(asked, Which::Timed, &mut matches);
        self.answer(asked, matches)
    }

    fn ask_conditions(&mut self, asked: &Asked<'_>, which: Which, matches: &mut Matches) {
        if self.conditions(which).rules.is_empty() {
            return;
        }
        let entities = self.entities(asked, which);
        let conditions = self.conditions(which);
        let context = context(asked.facts, asked.clock, &asked.loaded.headers, asked.lists, &conditions.needs);
        let uid = |place: &Place| place.uid.clone();
        // Without a schema nothing is checked, and so nothing fails.
        let request = Request::new(uid(&self.principal), self.action.clone(), uid(&self.resource), context, None).ok();
        // One for all of them: making it takes about as long as asking a policy.
        let evaluator = |request: Request| {
            Evaluator::new(request.as_ref().clone(), (*entities).as_ref(), Extensions::all_available())
        };
        let evaluator = request.map(evaluator);
        let mut ask = || {
            for index in &conditions.rules {
                let rule = asked.loaded.rule(*index);
                let outcome = evaluator.as_ref().map_or(Outcome::Fails, |evaluator| rule.ask(evaluator));
                matches.add(*index, rule, outcome);
            }
        };
        if conditions.is_long {
            text::with_evaluation_stack(ask)
        } else {
            ask()
        }
        matches.sort();
    }

    fn conditions(&self, which: Which) -> &Conditions {
        match which {
            Which::Lasting => &self.lasting,
            Which::Timed => &self.timed,
        }
    }

    /// The entities that the conditions can come across.
    fn entities(&mut self, asked: &Asked<'_>, which: Which) -> Arc<Entities> {
        let needs = &self.conditions(which).needs;
        if !needs.entities {
            return Arc::default();
        }
        let literals = self.lasting.needs.literals.iter().chain(&self.timed.needs.literals);
        let from = [&self.principal.uid, &self.action, &self.resource.uid].into_iter().chain(literals);
        if needs.has_user_entity() && !asked.facts.user.is_empty() {
            let user = world::user(asked.facts.user);
            return Arc::new(asked.world.store(from.chain([&user])));
        }
        Arc::clone(self.entities.get_or_insert_with(|| Arc::new(asked.world.store(from))))
    }

    fn answer(&mut self, asked: &Asked<'_>, matches: Matches) -> Arc<Answer> {
        if let Some(known) = self.answers.iter().find(|answer| answer.matches == matches) {
            return Arc::clone(known);
        }
        let amount = |rule: &Rule| self.amount(asked.world, rule);
        let is_known = |index: &u32, sight| asked.loaded.rule(*index).is_known_to_caller(sight);
        let may_be_permitted = |sight: Sight| self.conditional_permits.iter().any(|index| !is_known(index, sight));
        let answer = Arc::new(Answer::new(matches, asked.loaded, may_be_permitted, amount));
        if self.answers.len() < ANSWERS_MAX {
            self.answers.push(Arc::clone(&answer));
        }
        answer
    }

    fn amount(&self, world: &World, rule: &Rule) -> Option<i64> {
        match &rule.shaping.as_ref()?.cost {
            Cost::Attribute(CostAttribute::Principal(name)) => world.integer(&self.principal.uid, name),
            Cost::Attribute(CostAttribute::Resource(name)) => world.integer(&self.resource.uid, name),
            Cost::Attribute(CostAttribute::RequestBytes) | Cost::Tokens(_) => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Which {
    Lasting,
    Timed,
}

impl Conditions {
    fn add(&mut self, index: u32, rule: &Rule) {
        self.rules.push(index);
        self.needs.add(&rule.needs);
        self.is_long |= rule.is_long;
    }
}
