//! Entities as `entities.json` has them, and those that exist without being written anywhere, for plain Cedar.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use cedar_policy::{Entities, Schema};
use serde_json::{Map, Value, json};

use crate::model::{
    self, ACTION, ANONYMOUS, ANONYMOUS_ID, METHODS, NAMESPACE, OTHER, SERVICE, SIGNALS, WITH_SIGNALS, namespace,
};

/// An entity's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Uid {
    pub(crate) of_type: String,
    pub(crate) id: String,
}

impl Uid {
    pub(crate) fn new(of_type: &str, id: &str) -> Self {
        Self { of_type: of_type.to_owned(), id: id.to_owned() }
    }

    /// The caller.
    pub(crate) fn principal(source: &str) -> Self {
        if source.is_empty() { Self::new(ANONYMOUS, ANONYMOUS_ID) } else { Self::new(SERVICE, source) }
    }

    /// `shop/search` for a service, `User::"ann"` for anything.
    pub(crate) fn read(text: &str) -> Self {
        let quoted = text
            .split_once("::")
            .and_then(|(of_type, id)| Some(Self::new(of_type.trim(), id.trim().strip_prefix('"')?.strip_suffix('"')?)));
        quoted.unwrap_or_else(|| Self::new(SERVICE, text))
    }

    fn of_json(value: &Value) -> Option<Self> {
        let uid = value.get("__entity").unwrap_or(value);
        Some(Self::new(uid.get("type")?.as_str()?, uid.get("id")?.as_str()?))
    }

    fn to_json(&self) -> Value {
        json!({ "type": self.of_type, "id": self.id })
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::\"{}\"", self.of_type, self.id.escape_default())
    }
}

/// The action that a method asks for.
pub(crate) fn action(method: &str) -> &'static str {
    METHODS.get(model::action(method)).map_or(OTHER, |(action, _)| *action)
}

/// Signals by entity.
pub(crate) type Signals = BTreeMap<Uid, Map<String, Value>>;

/// Every entity that is written down.
#[derive(Debug, Default)]
pub(crate) struct Ground {
    nodes: HashMap<Uid, Node>,
}

#[derive(Debug, Default)]
struct Node {
    attributes: Map<String, Value>,
    parents: Vec<Uid>,
    refers_to: Vec<Uid>,
}

impl Ground {
    /// Reads entities that were checked before. What is not understood is left out.
    pub(crate) fn read(entities_json: &str) -> Self {
        let items = serde_json::from_str::<Vec<Value>>(entities_json).unwrap_or_default();
        let nodes = items.into_iter().filter_map(|item| {
            let uid = Uid::of_json(item.get("uid")?)?;
            let attributes = item.get("attrs").and_then(Value::as_object).cloned().unwrap_or_default();
            let parents = item.get("parents").and_then(Value::as_array).into_iter().flatten();
            let mut refers_to = Vec::new();
            attributes.values().for_each(|value| collect(value, &mut refers_to));
            Some((uid, Node { parents: parents.filter_map(Uid::of_json).collect(), attributes, refers_to }))
        });
        Self { nodes: nodes.collect() }
    }

    pub(crate) fn uids(&self) -> impl Iterator<Item = &Uid> {
        self.nodes.keys()
    }

    /// Attributes of an entity, without signals.
    pub(crate) fn attributes(&self, uid: &Uid) -> Option<&Map<String, Value>> {
        Some(&self.nodes.get(uid)?.attributes)
    }

    /// Everything that an entity is in, without itself.
    pub(crate) fn ancestors(&self, uid: &Uid) -> BTreeSet<Uid> {
        let mut found = BTreeSet::new();
        let mut open = self.parents(uid);
        while let Some(parent) = open.pop() {
            if !found.contains(&parent) {
                open.extend(self.parents(&parent));
                found.insert(parent);
            }
        }
        found
    }

    pub(crate) fn is_in(&self, uid: &Uid, above: &Uid) -> bool {
        uid == above || self.ancestors(uid).contains(above)
    }

    /// A service is in its namespace, and a method in its group, without being told.
    fn parents(&self, uid: &Uid) -> Vec<Uid> {
        let mut parents = self.nodes.get(uid).map(|node| node.parents.clone()).unwrap_or_default();
        match uid.of_type.as_str() {
            SERVICE => parents.push(Uid::new(NAMESPACE, namespace(&uid.id))),
            ACTION => {
                let group = METHODS.iter().find(|(method, _)| *method == uid.id);
                parents.extend(group.map(|(_, group)| Uid::new(ACTION, group)));
            }
            _ => {}
        }
        parents
    }

    /// These entities and all that they can lead to, as Cedar has them.
    pub(crate) fn entities(
        &self,
        from: impl IntoIterator<Item = Uid>,
        signals: &Signals,
        schema: &Schema,
    ) -> Result<Entities, String> {
        let mut open: Vec<Uid> = from.into_iter().collect();
        let mut seen = BTreeSet::new();
        let mut items = Vec::new();
        while let Some(uid) = open.pop() {
            // Actions come with the schema.
            if uid.of_type == ACTION || !seen.insert(uid.clone()) {
                continue;
            }
            open.extend(self.parents(&uid));
            let node = self.nodes.get(&uid);
            open.extend(node.iter().flat_map(|node| node.refers_to.iter().cloned()));
            let has_signals = WITH_SIGNALS.contains(&uid.of_type.as_str());
            if node.is_none() && !has_signals && uid.of_type != NAMESPACE {
                continue;
            }
            let mut attributes = node.map(|node| node.attributes.clone()).unwrap_or_default();
            if has_signals {
                let signals = signals.get(&uid).cloned().unwrap_or_default();
                attributes.insert(SIGNALS.to_owned(), Value::Object(signals));
            }
            let parents: BTreeSet<_> = self.parents(&uid).into_iter().collect();
            let parents: Vec<_> = parents.iter().map(Uid::to_json).collect();
            items.push(json!({ "uid": uid.to_json(), "attrs": attributes, "parents": parents }));
        }
        Entities::from_json_value(Value::Array(items), Some(schema)).map_err(|error| causes(&error))
    }
}

fn collect(value: &Value, found: &mut Vec<Uid>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => match fields.get("__entity") {
            Some(entity) => found.extend(Uid::of_json(entity)),
            None => fields.values().for_each(|field| collect(field, found)),
        },
        _ => {}
    }
}

/// An error with all of its causes.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !texts.iter().any(|said| said.contains(&text)) {
            texts.push(text);
        }
        source = error.source();
    }
    texts.join(": ")
}
