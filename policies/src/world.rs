//! The entities of a snapshot with their signals, and those that exist without being written anywhere.
//!
//! Making a Cedar entity store costs more than asking a policy, so a request never sees all entities: only itself, what
//! its attributes refer to, and what conditions name. Each of these is made once and shared, with everything that it is in, so
//! that Cedar need not look for that again: `cedar-policy-core` takes such entities, `cedar-policy` makes all of them anew.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, OnceLock};

use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, EvalResult, RestrictedExpression, Schema};
use cedar_policy_core::ast;
use cedar_policy_core::entities::{self, NoEntitiesSchema, TCComputation};
use cedar_policy_core::extensions::Extensions;
use serde_json::Value;
use tollgate_api::v1;

use crate::entities::all_with_signals;
use crate::model::{
    ACTION, ANONYMOUS, ANONYMOUS_ID, METHODS, NAMESPACE, SERVICE, SIGNALS, USER, WITH_SIGNALS, namespace,
};
use crate::rule::fingerprint;

/// Entities as they are now.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    nodes: Arc<HashMap<EntityUid, Node>>,
    /// Of what the nodes were read.
    fingerprint: u128,
    signals: HashMap<EntityUid, Arc<Signals>>,
}

/// An entity of a request, with everything that it is in.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) uid: EntityUid,
    pub(crate) of_type: &'static str,
    pub(crate) ancestors: HashSet<EntityUid>,
}

impl Place {
    pub(crate) fn itself_and_above(&self) -> impl Iterator<Item = &EntityUid> {
        [&self.uid].into_iter().chain(&self.ancestors)
    }

    pub(crate) fn is_in(&self, uid: &EntityUid) -> bool {
        self.uid == *uid || self.ancestors.contains(uid)
    }
}

/// The signals of one entity.
#[derive(Debug)]
pub(crate) struct Signals {
    values: Vec<v1::Signal>,
    record: RestrictedExpression,
    /// The entity with them, once it was asked for.
    entity: OnceLock<Option<Arc<ast::Entity>>>,
}

/// An entity without its signals.
#[derive(Debug)]
struct Node {
    attributes: HashMap<String, RestrictedExpression>,
    ancestors: HashSet<EntityUid>,
    /// Those of its attributes that are integers.
    integers: HashMap<String, i64>,
    /// Entities that its attributes hold.
    refers_to: Vec<EntityUid>,
    /// The entity without signals, once it was asked for.
    entity: OnceLock<Option<Arc<ast::Entity>>>,
}

/// Names of entity types, parsed once: parsing one costs more than making an id of it.
#[derive(Debug)]
struct Types {
    service: EntityTypeName,
    namespace: EntityTypeName,
    user: EntityTypeName,
    anonymous: EntityTypeName,
    action: EntityTypeName,
    with_signals: Vec<EntityTypeName>,
}

impl World {
    /// Reads the entities of a snapshot, or says what cannot be read. Signals stay as they were.
    pub(crate) fn read(entities: &v1::Entities, before: &Self) -> Result<Self, String> {
        let fingerprint = fingerprint((&entities.schema_json, &entities.entities_json));
        if fingerprint == before.fingerprint {
            return Ok(before.clone());
        }
        let schema = Schema::from_json_str(&entities.schema_json).map_err(|error| format!("schema: {error}"))?;
        let written: Value =
            serde_json::from_str(&entities.entities_json).map_err(|error| format!("entities: {error}"))?;
        let Value::Array(written) = written else { return Err("entities: not a list".to_owned()) };
        let store = Entities::from_json_value(all_with_signals(written), Some(&schema));
        let store = store.map_err(|error| format!("entities: {error}"))?;
        let mut nodes = HashMap::new();
        for entity in store.iter().filter(|entity| *entity.uid().type_name() != TYPES.action) {
            nodes.insert(entity.uid(), Node::new(entity, &store));
        }
        let signals = before.signals.iter().map(|(uid, signals)| (uid.clone(), Arc::new(signals.of_other_entity())));
        Ok(Self { nodes: Arc::new(nodes), fingerprint, signals: signals.collect() })
    }

    /// The same entities with signals changed.
    pub(crate) fn with_signals(&self, replace_all: bool, changed: &[v1::EntitySignals]) -> Result<Self, String> {
        let mut world = self.clone();
        if replace_all {
            world.signals.clear();
        }
        for entity in changed {
            let uid = uid(&entity.entity_type, &entity.entity_id)?;
            if entity.signals.is_empty() {
                world.signals.remove(&uid);
            } else {
                world.signals.insert(uid, Arc::new(Signals::new(&entity.signals)?));
            }
        }
        Ok(world)
    }

    /// The signals of an entity, if it has any.
    pub(crate) fn signals(&self, uid: &EntityUid) -> Option<&Arc<Signals>> {
        self.signals.get(uid)
    }

    /// The caller: a service, or `Anonymous` for an empty name.
    pub(crate) fn principal(&self, source: &str) -> Place {
        if source.is_empty() {
            return self.place(ANONYMOUS, TYPES.anonymous.clone(), ANONYMOUS_ID);
        }
        self.service(source)
    }

    pub(crate) fn service(&self, name: &str) -> Place {
        self.place(SERVICE, TYPES.service.clone(), name)
    }

    /// An integer attribute of an entity.
    pub(crate) fn integer(&self, uid: &EntityUid, name: &str) -> Option<i64> {
        self.nodes.get(uid)?.integers.get(name).copied()
    }

    /// A store of these entities and all that they can lead to.
    pub(crate) fn store<'a>(&self, from: impl Iterator<Item = &'a EntityUid>) -> Entities {
        let mut open: Vec<_> = from.cloned().collect();
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        while let Some(uid) = open.pop() {
            if seen.contains(&uid) {
                continue;
            }
            if let Some(node) = self.nodes.get(&uid) {
                open.extend(node.refers_to.iter().cloned());
            }
            found.extend(self.entity(&uid));
            seen.insert(uid);
        }
        // Each knows all that it is in. The only error is two of one id, which cannot be.
        let (complete, extensions) = (TCComputation::AssumeAlreadyComputed, Extensions::all_available());
        let store = entities::Entities::new().add_entities(found, None::<&NoEntitiesSchema>, complete, extensions);
        store.unwrap_or_default().into()
    }

    fn place(&self, of_type: &'static str, type_name: EntityTypeName, id: &str) -> Place {
        let uid = EntityUid::from_type_name_and_id(type_name, EntityId::new(id));
        let ancestors = self.ancestors(&uid);
        Place { uid, of_type, ancestors }
    }

    /// `None`: there is no such entity, which is what Cedar shall find.
    fn entity(&self, uid: &EntityUid) -> Option<Arc<ast::Entity>> {
        if *uid.type_name() == TYPES.action {
            return Some(ACTIONS.get(uid).map_or_else(|| action_entity(uid, None), Arc::clone));
        }
        let made = |signals| self.make(uid, signals);
        match (self.signals.get(uid), self.nodes.get(uid)) {
            (Some(signals), _) => signals.entity.get_or_init(|| made(Some(signals))).clone(),
            (None, Some(node)) => node.entity.get_or_init(|| made(None)).clone(),
            (None, None) => made(None),
        }
    }

    fn make(&self, uid: &EntityUid, signals: Option<&Arc<Signals>>) -> Option<Arc<ast::Entity>> {
        let node = self.nodes.get(uid);
        let has_signals = TYPES.with_signals.contains(uid.type_name());
        if node.is_none() && !has_signals {
            return None;
        }
        let mut attributes = node.map(|node| node.attributes.clone()).unwrap_or_default();
        if has_signals {
            let none = || RestrictedExpression::new_record([]).ok();
            let signals = signals.map(|signals| signals.record.clone()).or_else(none)?;
            attributes.insert(SIGNALS.to_owned(), signals);
        }
        // Attributes were evaluated once when they were read, so that they can be again.
        let entity = Entity::new(uid.clone(), attributes, self.ancestors(uid)).ok()?;
        Some(Arc::new(entity.as_ref().clone()))
    }

    fn ancestors(&self, uid: &EntityUid) -> HashSet<EntityUid> {
        match self.nodes.get(uid) {
            Some(node) => node.ancestors.clone(),
            None if *uid.type_name() == TYPES.service => {
                let namespace = namespace_of(uid);
                let above = self.nodes.get(&namespace).map(|node| node.ancestors.clone());
                above.unwrap_or_default().into_iter().chain([namespace]).collect()
            }
            None => HashSet::new(),
        }
    }
}

impl Node {
    fn new(entity: &Entity, store: &Entities) -> Self {
        let uid = entity.uid();
        let above = |uid: &EntityUid| store.ancestors(uid).into_iter().flatten().cloned().collect::<HashSet<_>>();
        let mut ancestors = above(&uid);
        if *uid.type_name() == TYPES.service {
            let namespace = namespace_of(&uid);
            ancestors.extend(above(&namespace));
            ancestors.insert(namespace);
        }
        let (mut integers, mut refers_to) = (HashMap::new(), Vec::new());
        for (name, value) in entity.attrs().filter_map(|(name, value)| Some((name, value.ok()?))) {
            match value {
                EvalResult::Long(integer) => drop(integers.insert(name.to_owned(), integer)),
                other => collect(&other, &mut refers_to),
            }
        }
        let (_, mut attributes, _) = entity.clone().into_inner();
        attributes.remove(SIGNALS);
        Self { attributes, ancestors, integers, refers_to, entity: OnceLock::new() }
    }
}

impl Signals {
    fn new(signals: &[v1::Signal]) -> Result<Self, String> {
        let fields = signals.iter().filter_map(|signal| {
            let value = match signal.value.as_ref()? {
                v1::signal::Value::Integer(integer) => RestrictedExpression::new_long(*integer),
                v1::signal::Value::Text(text) => RestrictedExpression::new_string(text.clone()),
            };
            Some((signal.name.clone(), value))
        });
        let record = RestrictedExpression::new_record(fields).map_err(|error| format!("signals: {error}"))?;
        Ok(Self { values: signals.to_vec(), record, entity: OnceLock::new() })
    }

    /// The same, where the entity may be another one.
    fn of_other_entity(&self) -> Self {
        Self { values: self.values.clone(), record: self.record.clone(), entity: OnceLock::new() }
    }

    /// Whether one signal, or all of them, are the same.
    pub(crate) fn is_same(&self, other: &Self, name: Option<&str>) -> bool {
        let value = |signals: &Self, name: &str| {
            signals.values.iter().find(|signal| signal.name == name).and_then(|signal| signal.value.clone())
        };
        match name {
            Some(name) => value(self, name) == value(other, name),
            None => self.values == other.values,
        }
    }
}

static TYPES: LazyLock<Types> = LazyLock::new(|| Types {
    service: type_name(SERVICE),
    namespace: type_name(NAMESPACE),
    user: type_name(USER),
    anonymous: type_name(ANONYMOUS),
    action: type_name(ACTION),
    with_signals: WITH_SIGNALS.iter().map(|name| type_name(name)).collect(),
});

/// The methods, each in its group.
static ACTIONS: LazyLock<HashMap<EntityUid, Arc<ast::Entity>>> = LazyLock::new(|| {
    let entity = |(method, group): &(&str, &str)| (action(method), action_entity(&action(method), Some(action(group))));
    METHODS.iter().map(entity).collect()
});

fn action_entity(uid: &EntityUid, group: Option<EntityUid>) -> Arc<ast::Entity> {
    let entity = Entity::new_no_attrs(uid.clone(), group.into_iter().collect());
    Arc::new(entity.as_ref().clone())
}

#[expect(clippy::expect_used, reason = "only ever called with the constants of the model")]
fn type_name(name: &str) -> EntityTypeName {
    name.parse().expect("an entity type of the model is an identifier")
}

fn namespace_of(service: &EntityUid) -> EntityUid {
    let id = EntityId::new(namespace(service.id().unescaped()));
    EntityUid::from_type_name_and_id(TYPES.namespace.clone(), id)
}

/// The action of this name.
pub(crate) fn action(name: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(TYPES.action.clone(), EntityId::new(name))
}

/// The end user of this name.
pub(crate) fn user(name: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(TYPES.user.clone(), EntityId::new(name))
}

/// An entity by the name of its type.
pub(crate) fn uid(of_type: &str, id: &str) -> Result<EntityUid, String> {
    let of_type = of_type.parse::<EntityTypeName>().map_err(|error| format!("entity type `{of_type}`: {error}"))?;
    Ok(EntityUid::from_type_name_and_id(of_type, EntityId::new(id)))
}

fn collect(value: &EvalResult, found: &mut Vec<EntityUid>) {
    match value {
        EvalResult::EntityUid(uid) => found.push(uid.clone()),
        EvalResult::Set(items) => items.iter().for_each(|item| collect(item, found)),
        EvalResult::Record(fields) => fields.iter().for_each(|(_, field)| collect(field, found)),
        _ => {}
    }
}
