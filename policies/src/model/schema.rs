//! The generated Cedar schema.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use tollgate_attributes::ATTRIBUTES;

use super::types::record;
use super::{
    ACTION, ANONYMOUS, AttributeType, ENTITY_TYPES, LISTS, METHODS, SERVICE, SIGNALS, SignalSchema, SignalType, USER,
    WITH_SIGNALS,
};

/// Attributes of `context` that a request need not have.
const OPTIONAL: &[&str] = &["route", "source_address", "user", "claims"];

/// Every name that a policy may use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// Attributes in `entities.json`, by entity type.
    pub(crate) attributes: BTreeMap<String, BTreeMap<String, AttributeType>>,
    /// Signals, by entity type.
    pub(crate) signals: BTreeMap<String, BTreeMap<String, SignalType>>,
    /// Headers that policies name.
    pub(crate) headers: BTreeSet<String>,
    /// Lists that are declared.
    pub(crate) lists: BTreeSet<String>,
}

impl Known {
    pub(crate) fn add_signals(&mut self, signals: &[SignalSchema]) {
        for schema in signals {
            self.signals.entry(schema.entity_type.clone()).or_default().extend(schema.signals.iter().cloned());
        }
    }

    /// What entities can be read by: no header makes a difference to them, nor does a signal.
    pub(crate) fn of_entities(&self) -> Self {
        Self { attributes: self.attributes.clone(), ..Self::default() }
    }

    /// Signals of a type of entity, or of any.
    pub(crate) fn signal_names(&self, entity_type: Option<&str>) -> BTreeSet<&str> {
        let of_type = self.signals.iter().filter(|(name, _)| entity_type.is_none_or(|wanted| wanted == name.as_str()));
        of_type.flat_map(|(_, signals)| signals.keys().map(String::as_str)).collect()
    }

    /// Attributes of a type of entity, `signals` among them.
    pub(crate) fn attribute_names(&self, entity_type: &str) -> BTreeSet<&str> {
        let own = self.attributes.get(entity_type).into_iter().flatten().map(|(name, _)| name.as_str());
        own.chain(WITH_SIGNALS.contains(&entity_type).then_some(SIGNALS)).collect()
    }
}

/// Names of the attributes of `context`, with type and whether they are always there.
///
/// Which attributes there are follows from the vocabulary; what is not text is named here.
pub(crate) fn context() -> &'static [(&'static str, ContextType, bool)] {
    static CONTEXT: LazyLock<Vec<(&'static str, ContextType, bool)>> = LazyLock::new(|| {
        let cells = ATTRIBUTES.iter().flat_map(|attribute| attribute.cedar.split(", "));
        let names = cells.filter_map(|cell| cell.strip_prefix("context."));
        // Which lists a request is on is worked out of its attributes, and no attribute itself.
        let names = names.chain([LISTS]);
        names.map(|name| (name, ContextType::of(name), !OPTIONAL.contains(&name))).collect()
    });
    &CONTEXT
}

/// Type of an attribute of `context`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContextType {
    Text,
    Bool,
    Time,
    Address,
    User,
    Headers,
    Claims,
    Lists,
}

impl ContextType {
    fn of(name: &str) -> Self {
        match name {
            "is_mtls" => Self::Bool,
            "time" => Self::Time,
            "headers" => Self::Headers,
            "source_address" => Self::Address,
            "user" => Self::User,
            "claims" => Self::Claims,
            LISTS => Self::Lists,
            _ => Self::Text,
        }
    }
}

/// The schema in the JSON form that Cedar reads.
pub(crate) fn schema(known: &Known) -> Value {
    let entity_types = ENTITY_TYPES
        .iter()
        .map(|(name, parents)| ((*name).to_owned(), json!({ "memberOfTypes": parents, "shape": shape(name, known) })));
    json!({ "": {
        "entityTypes": entity_types.collect::<Map<_, _>>(),
        "actions": actions(&context_record(known)),
    } })
}

/// The attributes of a type of entity.
pub(crate) fn shape(entity_type: &str, known: &Known) -> Value {
    let own = known.attributes.get(entity_type).into_iter().flatten();
    let own = own.map(|(name, of_type)| (name.clone(), of_type.to_schema(), false));
    let signals = WITH_SIGNALS.contains(&entity_type).then(|| {
        let signals = known.signals.get(entity_type).into_iter().flatten();
        let signals = signals.map(|(name, of_type)| (name.clone(), signal(*of_type), false));
        (SIGNALS.to_owned(), record(signals), true)
    });
    record(own.chain(signals))
}

fn signal(of_type: SignalType) -> Value {
    json!({ "type": match of_type { SignalType::Integer => "Long", SignalType::Text => "String" } })
}

fn context_record(known: &Known) -> Value {
    let fields = context().iter().map(|(name, of_type, is_required)| {
        let field = match of_type {
            ContextType::Text => json!({ "type": "String" }),
            ContextType::Bool => json!({ "type": "Boolean" }),
            ContextType::Time => json!({ "type": "Extension", "name": "datetime" }),
            ContextType::Address => json!({ "type": "Extension", "name": "ipaddr" }),
            ContextType::User => json!({ "type": "Entity", "name": USER }),
            ContextType::Headers => {
                record(known.headers.iter().map(|name| (name.clone(), json!({ "type": "String" }), false)))
            }
            ContextType::Lists => json!({ "type": "Set", "element": { "type": "String" } }),
            // Tokens are not verified yet, so no claim is known by name.
            ContextType::Claims => record([]),
        };
        ((*name).to_owned(), field, *is_required)
    });
    record(fields)
}

fn actions(context: &Value) -> Map<String, Value> {
    let applies = json!({
        "principalTypes": [SERVICE, ANONYMOUS],
        "resourceTypes": [SERVICE],
        "context": context,
    });
    let methods = METHODS.iter().map(|(method, group)| {
        let action = json!({ "memberOf": [{ "type": ACTION, "id": group }], "appliesTo": applies });
        ((*method).to_owned(), action)
    });
    let groups = METHODS.iter().map(|(_, group)| ((*group).to_owned(), json!({})));
    groups.chain(methods).collect()
}
