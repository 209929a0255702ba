//! Types of attributes, inferred from the values in `entities.json`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A Cedar type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AttributeType {
    /// Of the elements of a set that is empty everywhere.
    Unknown,
    Long,
    Bool,
    Text,
    Entity(String),
    Extension(&'static str),
    Set(Box<AttributeType>),
    Record(BTreeMap<String, AttributeType>),
}

impl AttributeType {
    /// Type of a value in Cedar's JSON, or what is wrong with it.
    pub(crate) fn of(value: &Value) -> Result<Self, String> {
        match value {
            Value::Null => Err("Cedar has no null: leave the attribute out".to_owned()),
            Value::Bool(_) => Ok(Self::Bool),
            Value::Number(number) if number.is_i64() => Ok(Self::Long),
            Value::Number(number) => Err(format!("`{number}` is not a 64-bit integer, the only numbers of Cedar")),
            Value::String(_) => Ok(Self::Text),
            Value::Array(items) => {
                let items = items.iter().map(Self::of).collect::<Result<Vec<_>, _>>()?;
                let item = items.into_iter().try_fold(Self::Unknown, |all, item| merge(&all, &item));
                Ok(Self::Set(Box::new(item?)))
            }
            Value::Object(fields) => Self::of_object(fields),
        }
    }

    fn of_object(fields: &Map<String, Value>) -> Result<Self, String> {
        if let Some(entity) = fields.get("__entity") {
            let name = entity.get("type").and_then(Value::as_str);
            return name
                .map(|name| Self::Entity(name.to_owned()))
                .ok_or_else(|| "`__entity` without a type".to_owned());
        }
        if let Some(extension) = fields.get("__extn") {
            let known = [("ip", "ipaddr"), ("decimal", "decimal"), ("datetime", "datetime"), ("duration", "duration")];
            let name = extension.get("fn").and_then(Value::as_str).unwrap_or_default();
            let found = known.iter().find(|(function, _)| *function == name);
            return found
                .map(|(_, extension)| Self::Extension(extension))
                .ok_or_else(|| format!("unknown extension function `{name}`: use ip, decimal, datetime or duration"));
        }
        let fields = fields.iter().map(|(name, value)| Ok((name.clone(), Self::of(value)?)));
        Ok(Self::Record(fields.collect::<Result<_, String>>()?))
    }

    /// As the JSON form of a Cedar schema has it. Fields of records are optional, as attributes of entities are.
    pub(crate) fn to_schema(&self) -> Value {
        match self {
            Self::Long => json!({ "type": "Long" }),
            Self::Bool => json!({ "type": "Boolean" }),
            // A set that is empty everywhere has to be of something.
            Self::Text | Self::Unknown => json!({ "type": "String" }),
            Self::Entity(name) => json!({ "type": "Entity", "name": name }),
            Self::Extension(name) => json!({ "type": "Extension", "name": name }),
            Self::Set(item) => json!({ "type": "Set", "element": item.to_schema() }),
            Self::Record(fields) => record(fields.iter().map(|(name, field)| (name.clone(), field.to_schema(), false))),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Unknown => "anything".to_owned(),
            Self::Long => "an integer".to_owned(),
            Self::Bool => "a boolean".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::Entity(name) => format!("an entity of type {name}"),
            Self::Extension(name) => format!("of type {name}"),
            Self::Set(_) => "a set".to_owned(),
            Self::Record(_) => "a record".to_owned(),
        }
    }
}

/// The one type that both are, or why there is none.
pub(crate) fn merge(a: &AttributeType, b: &AttributeType) -> Result<AttributeType, String> {
    match (a, b) {
        (AttributeType::Unknown, other) | (other, AttributeType::Unknown) => Ok(other.clone()),
        (AttributeType::Set(a), AttributeType::Set(b)) => Ok(AttributeType::Set(Box::new(merge(a, b)?))),
        (AttributeType::Record(a), AttributeType::Record(b)) => {
            let mut fields = a.clone();
            for (name, field) in b {
                let merged = fields.get(name).map_or_else(|| Ok(field.clone()), |other| merge(other, field))?;
                fields.insert(name.clone(), merged);
            }
            Ok(AttributeType::Record(fields))
        }
        _ if a == b => Ok(a.clone()),
        _ => Err(format!("{} in one place and {} in another", a.name(), b.name())),
    }
}

/// A record type of name, type and whether it is always there.
pub(crate) fn record(fields: impl IntoIterator<Item = (String, Value, bool)>) -> Value {
    let fields = fields.into_iter().map(|(name, mut field, is_required)| {
        field["required"] = Value::Bool(is_required);
        (name, field)
    });
    json!({ "type": "Record", "attributes": fields.collect::<Map<_, _>>() })
}
