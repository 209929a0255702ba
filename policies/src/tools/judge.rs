//! Judges requests with plain Cedar.

mod context;
mod found;
mod recorded;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::{Entities, EntityId, EntityTypeName, EntityUid, Request, Schema};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use tollgate_attributes::{Decision, Reason};

pub use self::recorded::Recorded;

use self::context::context;
use self::found::Found;
use super::asked::RequestFacts;
use super::ground::{Ground, Signals, Uid, action, causes};
use super::rule::Rule;
use super::tree::{Ask, Truth};
use crate::compile::{Compiled, Mode};
use crate::diagnostics::nearest;
use crate::model::{self, ACTION, SIGNALS, USER};
use crate::text::with_deep_stack;

/// Most lanes, and most end users of one, that are remembered; what is full is emptied.
const REMEMBERED_MAX: usize = 65_536;

/// Policies that requests can be judged by.
#[derive(Debug)]
pub struct Judge {
    pub(crate) rules: Vec<Rule>,
    pub(crate) ground: Ground,
    pub(crate) schema: Schema,
    /// Names of signals by entity type.
    signals: BTreeMap<String, BTreeSet<String>>,
    mode: Mode,
    digest: String,
    recorded: Recorded,
    lanes: Mutex<HashMap<LaneKey, Arc<Lane>>>,
}

/// What the policies say of a request, but for how many tokens are left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// Allowed or denied.
    #[serde(serialize_with = "as_text")]
    pub decision: Decision,
    /// Why.
    #[serde(serialize_with = "as_text")]
    pub reason: Reason,
    /// Ids of the policies that decided, in the order in which they are written.
    pub policies: Vec<Arc<str>>,
    /// Ids of the policies that would have denied, were they not only observed.
    pub shadow: Vec<Arc<str>>,
    /// Ids of the shaping policies that apply. None where access is denied.
    pub limits: Vec<Arc<str>>,
    /// Ids of the policies that failed to evaluate, with the error.
    pub failed: BTreeMap<Arc<str>, String>,
    /// Attributes that are not known and on which the decision hangs. Empty when it is sure.
    pub unsure: Vec<String>,
    /// Shaping policies of which it is not known whether they apply.
    pub unsure_limits: Vec<Arc<str>>,
}

/// Calling service, called service and action.
type LaneKey = (String, String, &'static str);

/// What one caller, one called service and one action have in common.
#[derive(Debug)]
struct Lane {
    /// Places of the rules whose scope matches.
    rules: Vec<usize>,
    reads_user: bool,
    /// Attributes of `context` that any of them reads.
    context: BTreeSet<&'static str>,
    is_conditional: bool,
    uids: [Uid; 3],
    literals: Vec<Uid>,
    /// Entities by end user, without signals.
    entities: Mutex<HashMap<String, Arc<Entities>>>,
}

impl Judge {
    /// Takes compiled policies.
    ///
    /// # Errors
    /// When they cannot be read again, which only a snapshot of another version can bring about.
    pub fn new(compiled: &Compiled) -> Result<Self, String> {
        with_deep_stack(|| {
            let rules = compiled.policies.iter().map(Rule::new).collect::<Result<_, _>>()?;
            let schema = Schema::from_json_str(&compiled.schema_json).map_err(|error| causes(&error))?;
            let signals = signal_names(&compiled.schema_json);
            Ok(Self {
                rules,
                ground: Ground::read(&compiled.entities_json),
                schema,
                signals,
                mode: compiled.mode.clone(),
                digest: compiled.digest.clone(),
                recorded: Recorded::default(),
                lanes: Mutex::default(),
            })
        })
    }

    /// The same for requests of which less is known.
    #[must_use]
    pub fn with_recorded(self, recorded: Recorded) -> Self {
        Self { recorded, ..self }
    }

    /// The digest of the policies.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Decides a request. Signals come from it alone.
    ///
    /// # Errors
    /// When the request itself cannot be put into Cedar's terms, such as by a signal that no service has.
    pub fn judge(&self, facts: &RequestFacts) -> Result<Judgement, String> {
        with_deep_stack(|| self.judge_here(facts))
    }

    /// The same for whoever stands on a deep stack already: making one costs as much as a decision.
    pub(crate) fn judge_here(&self, facts: &RequestFacts) -> Result<Judgement, String> {
        self.judge_of(facts, &self.recorded)
    }

    /// Decides several requests of which only so much is known.
    pub fn judge_each<'a>(
        &self,
        requests: impl IntoIterator<Item = &'a RequestFacts>,
        recorded: &Recorded,
    ) -> Vec<Result<Judgement, String>> {
        with_deep_stack(|| requests.into_iter().map(|facts| self.judge_of(facts, recorded)).collect())
    }

    fn judge_of(&self, facts: &RequestFacts, recorded: &Recorded) -> Result<Judgement, String> {
        let lane = self.lane(facts);
        let signals = self.signals(facts)?;
        let ask = lane.is_conditional.then(|| self.ask_in(&lane, facts, &signals)).transpose()?;
        Ok(self.decide(&lane, facts, ask.as_ref(), recorded))
    }

    /// Places of the rules whose scope the request is in.
    pub(crate) fn in_scope(&self, facts: &RequestFacts) -> Vec<usize> {
        self.lane(facts).rules.clone()
    }

    /// The request in Cedar's terms, with all entities that any policy may ask about.
    pub(crate) fn ask(&self, facts: &RequestFacts) -> Result<Ask, String> {
        let literals = self.rules.iter().flat_map(|rule| rule.reads.literals.iter());
        let user = (!facts.user.is_empty()).then(|| Uid::new(USER, &facts.user));
        let from = uids(facts).into_iter().chain(literals.map(|(of_type, id)| Uid::new(of_type, id))).chain(user);
        let entities = self.ground.entities(from, &self.signals(facts)?, &self.schema)?;
        self.request(facts, Arc::new(entities), None)
    }

    fn decide(&self, lane: &Lane, facts: &RequestFacts, ask: Option<&Ask>, recorded: &Recorded) -> Judgement {
        let mut found = Found::default();
        for rule in lane.rules.iter().map(|index| &self.rules[*index]) {
            found.add(rule, truth(rule, ask, facts, recorded));
        }
        found.judgement(self.mode.observe || self.mode.observed_services.contains(&facts.destination))
    }

    fn lane(&self, facts: &RequestFacts) -> Arc<Lane> {
        let action = action(&facts.method);
        let key = (facts.source.clone(), facts.destination.clone(), action);
        let mut lanes = self.lanes.lock();
        if lanes.len() >= REMEMBERED_MAX && !lanes.contains_key(&key) {
            lanes.clear();
        }
        Arc::clone(lanes.entry(key).or_insert_with(|| Arc::new(self.new_lane(facts))))
    }

    fn new_lane(&self, facts: &RequestFacts) -> Lane {
        let uids = uids(facts);
        let matches = |rule: &Rule| rule.bounds.matches(&uids[0], &uids[1], &uids[2], &self.ground);
        let rules: Vec<_> = (0..self.rules.len()).filter(|index| matches(&self.rules[*index])).collect();
        let in_scope = || rules.iter().map(|index| &self.rules[*index]);
        let literals = in_scope().flat_map(|rule| rule.reads.literals.iter());
        Lane {
            context: model::context()
                .iter()
                .map(|(name, ..)| *name)
                .filter(|name| in_scope().any(|rule| rule.reads_context(name)))
                .collect(),
            reads_user: in_scope().any(|rule| rule.reads_context("user")),
            is_conditional: in_scope().any(Rule::is_conditional),
            literals: literals.map(|(of_type, id)| Uid::new(of_type, id)).collect(),
            entities: Mutex::default(),
            uids,
            rules,
        }
    }

    fn ask_in(&self, lane: &Lane, facts: &RequestFacts, signals: &Signals) -> Result<Ask, String> {
        let user = if lane.reads_user { facts.user.as_str() } else { "" };
        let make = || {
            let user = (!user.is_empty()).then(|| Uid::new(USER, user));
            let from = lane.uids.iter().chain(&lane.literals).cloned().chain(user);
            self.ground.entities(from, signals, &self.schema).map(Arc::new)
        };
        if !signals.is_empty() {
            return self.request(facts, make()?, Some(&lane.context));
        }
        let mut remembered = lane.entities.lock();
        if let Some(entities) = remembered.get(user) {
            return self.request(facts, Arc::clone(entities), Some(&lane.context));
        }
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        let entities = make()?;
        remembered.insert(user.to_owned(), Arc::clone(&entities));
        self.request(facts, entities, Some(&lane.context))
    }

    /// With those attributes of `context` that are named, or all.
    fn request(
        &self,
        facts: &RequestFacts,
        entities: Arc<Entities>,
        names: Option<&BTreeSet<&'static str>>,
    ) -> Result<Ask, String> {
        let [principal, action, resource] = uids(facts);
        let context = context(facts, names)?;
        let request = Request::new(cedar(&principal)?, cedar(&action)?, cedar(&resource)?, context, None);
        Ok(Ask { request: request.map_err(|error| causes(&error))?, entities })
    }

    /// The signals of a request, of which each has to be one that is computed.
    fn signals(&self, facts: &RequestFacts) -> Result<Signals, String> {
        let mut found = Signals::new();
        for (entity, signals) in facts.signals.iter().flatten() {
            let uid = Uid::read(entity);
            let known = self.signals.get(&uid.of_type);
            if let Some(name) = signals.keys().find(|name| !known.is_some_and(|known| known.contains(*name))) {
                let known = known.into_iter().flatten().map(String::as_str);
                let meant = nearest(name, known).map(|meant| format!("; did you mean `{meant}`?"));
                return Err(format!("`{uid}` has no signal `{name}`{}", meant.unwrap_or_default()));
            }
            found.insert(uid, signals.clone());
        }
        Ok(found)
    }
}

fn truth(rule: &Rule, ask: Option<&Ask>, facts: &RequestFacts, recorded: &Recorded) -> Truth {
    let Some(ask) = ask.filter(|_| rule.is_conditional()) else { return Truth::True };
    if recorded.is_everything() {
        return rule.truth(ask);
    }
    rule.truth_without(ask, &|names| recorded.lacks_of(facts, names))
}

/// Names of signals by entity type, as the generated schema has them.
fn signal_names(schema_json: &str) -> BTreeMap<String, BTreeSet<String>> {
    let schema: Value = serde_json::from_str(schema_json).unwrap_or_default();
    let types = schema[""]["entityTypes"].as_object().into_iter().flatten();
    let names = types.filter_map(|(of_type, shape)| {
        let signals = shape["shape"]["attributes"][SIGNALS]["attributes"].as_object()?;
        Some((of_type.clone(), signals.keys().cloned().collect()))
    });
    names.collect()
}

/// Principal, action and resource.
pub(crate) fn uids(facts: &RequestFacts) -> [Uid; 3] {
    let action = Uid::new(ACTION, action(&facts.method));
    [Uid::principal(&facts.source), action, Uid::new(model::SERVICE, &facts.destination)]
}

fn cedar(uid: &Uid) -> Result<EntityUid, String> {
    let of_type: EntityTypeName = uid.of_type.parse().map_err(|_| format!("`{uid}` is not an entity"))?;
    Ok(EntityUid::from_type_name_and_id(of_type, EntityId::new(&uid.id)))
}

fn as_text<S: serde::Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}
