//! Checks `entities.json` and infers the types of its attributes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use cedar_policy::entities_errors::EntitiesError;
use cedar_policy::{Entities, Entity, Schema};
use serde_json::{Map, Value};

use crate::diagnostics::{Diagnostic, Diagnostics, nearest};
use crate::model::{ACTION, AttributeType, ENTITY_TYPES, SERVICE, SIGNALS, WITH_SIGNALS, merge};
use crate::sources::SourceFile;
use crate::text;

/// What was read of `entities.json`.
#[derive(Debug, Default)]
pub(crate) struct EntityFile {
    /// Each entity with the place of its text.
    pub(crate) entities: Vec<(Value, Range<usize>)>,
    /// Places of those that were found wrong.
    wrong: BTreeSet<usize>,
    /// Attributes by entity type.
    pub(crate) attributes: BTreeMap<String, BTreeMap<String, AttributeType>>,
    /// Ids of the groups that are mentioned, as an entity or as a parent.
    pub(crate) groups: BTreeSet<String>,
}

/// Reads the file as far as no schema is needed for it.
pub(crate) fn read(file: &SourceFile, problems: &mut Diagnostics) -> EntityFile {
    let items = match serde_json::from_str::<Value>(&file.text) {
        Ok(Value::Array(items)) => items,
        Ok(_) => {
            let message = "expected a list of entities, `[{ \"uid\": { \"type\": .., \"id\": .. }, .. }]`";
            problems.0.push(Diagnostic::error("TG0301", &file.path, message).at((1, 1)));
            return EntityFile::default();
        }
        Err(error) => {
            let place = (error.line().max(1), error.column().max(1));
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
            problems.0.push(Diagnostic::error("TG0301", &file.path, message).at(place));
            return EntityFile::default();
        }
    };
    let mut entities = EntityFile::default();
    let mut seen = BTreeSet::new();
    for (item, range) in items.into_iter().zip(elements(&file.text)) {
        for (code, message, help) in entities.add(&item, &mut seen) {
            entities.wrong.insert(range.start);
            let (start, end) = (text::place(&file.text, range.start), text::place(&file.text, range.end));
            problems.0.push(Diagnostic { help, ..Diagnostic::error(code, &file.path, message).at(start).until(end) });
        }
        entities.entities.push((item, range));
    }
    entities
}

/// Checks every entity against the schema, and all of them together.
pub(crate) fn check(entities: &EntityFile, file: &SourceFile, schema: &Schema, problems: &mut Diagnostics) {
    let before = problems.0.len();
    for (item, range) in entities.entities.iter().filter(|(_, range)| !entities.wrong.contains(&range.start)) {
        if let Err(error) = Entity::from_json_value(with_signals(item.clone()), Some(schema)) {
            let (start, end) = (text::place(&file.text, range.start), text::place(&file.text, range.end));
            problems.0.push(Diagnostic::error("TG0303", &file.path, causes(&error)).at(start).until(end));
        }
    }
    if problems.0.len() == before
        && entities.wrong.is_empty()
        && let Err(error) = Entities::from_json_value(all_with_signals(entities.values()), Some(schema))
    {
        let message = match error {
            // Cedar names any one of those in the circle.
            EntitiesError::TransitiveClosureError(_) => "a group is in itself, by way of its parents".to_owned(),
            error => causes(&error),
        };
        problems.0.push(Diagnostic::error("TG0303", &file.path, message));
    }
}

/// Entities with the empty `signals` that the schema demands of their type.
pub(crate) fn all_with_signals(entities: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(entities.into_iter().map(with_signals).collect())
}

impl EntityFile {
    pub(crate) fn values(&self) -> impl Iterator<Item = Value> {
        self.entities.iter().map(|(item, _)| item.clone())
    }

    fn add(&mut self, item: &Value, seen: &mut BTreeSet<(String, String)>) -> Vec<Complaint> {
        let Some((entity_type, id)) = uid(item.get("uid")) else {
            return vec![("TG0302", "an entity needs a `uid` with `type` and `id`".to_owned(), None)];
        };
        let mut complaints = Vec::new();
        let Some((known_type, _)) = ENTITY_TYPES.iter().find(|(name, _)| *name == entity_type) else {
            let known = || ENTITY_TYPES.iter().map(|(name, _)| *name);
            let help = match nearest(entity_type, known()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known are {}", known().collect::<Vec<_>>().join(", ")),
            };
            return vec![("TG0105", format!("unknown entity type `{entity_type}`"), Some(help))];
        };
        if !seen.insert((entity_type.to_owned(), id.to_owned())) {
            complaints.push(("TG0304", format!("`{entity_type}::\"{id}\"` is there twice"), None));
        }
        if *known_type == SERVICE && !is_service_id(id) {
            let help = Some("write `namespace/name`".to_owned());
            complaints.push(("TG0305", format!("`{id}` is not the id of a service"), help));
        }
        if entity_type == "Group" {
            self.groups.insert(id.to_owned());
        }
        let parents = item.get("parents").and_then(Value::as_array).into_iter().flatten();
        let groups = parents.filter_map(|parent| uid(Some(parent))).filter(|(parent, _)| *parent == "Group");
        self.groups.extend(groups.map(|(_, id)| id.to_owned()));
        let attributes = item.get("attrs").and_then(Value::as_object).into_iter().flatten();
        for (name, value) in attributes {
            if let Err(message) = self.attribute(entity_type, name, value) {
                complaints.push((
                    "TG0306",
                    format!("attribute `{name}` of `{entity_type}::\"{id}\"`: {message}"),
                    None,
                ));
            }
        }
        complaints
    }

    fn attribute(&mut self, entity_type: &str, name: &str, value: &Value) -> Result<(), String> {
        if name == SIGNALS {
            return Err("signals are computed, and cannot be written here".to_owned());
        }
        let found = AttributeType::of(value)?;
        let attributes = self.attributes.entry(entity_type.to_owned()).or_default();
        let merged = merge(attributes.get(name).unwrap_or(&AttributeType::Unknown), &found)?;
        attributes.insert(name.to_owned(), merged);
        Ok(())
    }
}

/// Code, message and advice.
type Complaint = (&'static str, String, Option<String>);

/// Whether this is `namespace/name`.
pub(crate) fn is_service_id(id: &str) -> bool {
    id.split_once('/').is_some_and(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'))
}

fn uid(value: Option<&Value>) -> Option<(&str, &str)> {
    let uid = value?;
    let uid = uid.get("__entity").unwrap_or(uid);
    let of_type = uid.get("type")?.as_str()?;
    (of_type != ACTION).then_some((of_type, uid.get("id")?.as_str()?))
}

fn with_signals(mut entity: Value) -> Value {
    let has_signals = uid(entity.get("uid")).is_some_and(|(of_type, _)| WITH_SIGNALS.contains(&of_type));
    if let Some(fields) = entity.as_object_mut() {
        fields.entry("parents").or_insert_with(|| Value::Array(Vec::new()));
        let attributes = fields.entry("attrs").or_insert_with(|| Value::Object(Map::new()));
        if let Some(attributes) = attributes.as_object_mut().filter(|_| has_signals) {
            attributes.insert(SIGNALS.to_owned(), Value::Object(Map::new()));
        }
    }
    entity
}

/// An error with all of its causes: Cedar's own text says only the outermost.
fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<_> = chain.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

/// Byte ranges of the elements of a JSON list that is known to be well-formed.
pub(crate) fn elements(text: &str) -> Vec<Range<usize>> {
    let mut elements = Vec::new();
    let (mut depth, mut start) = (0_usize, None);
    for (token, range) in text::tokens(text) {
        match token {
            text::Token::Symbol('[' | '{') => depth += 1,
            text::Token::Symbol(']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        let is_separator = matches!(&text[range.clone()], "," | "]");
        match (depth, start) {
            (0 | 1, Some(from)) if is_separator => {
                elements.push(from..range.start);
                start = None;
            }
            (1.., None) if !(depth == 1 && (is_separator || &text[range.clone()] == "[")) => start = Some(range.start),
            _ => {}
        }
    }
    elements
}
