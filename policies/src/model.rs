//! The Cedar model: entity types, actions, context, and the schema that follows from them, signals and entities.

mod schema;
mod types;

pub(crate) use schema::{ContextType, Known, context, schema, shape};
pub(crate) use types::{AttributeType, merge, record};

/// Entity types.
pub(crate) const SERVICE: &str = "Service";
pub(crate) const NAMESPACE: &str = "Namespace";
pub(crate) const USER: &str = "User";
pub(crate) const GROUP: &str = "Group";
pub(crate) const ANONYMOUS: &str = "Anonymous";
pub(crate) const ACTION: &str = "Action";

/// Id of the one entity of type `Anonymous`.
pub(crate) const ANONYMOUS_ID: &str = "caller";
/// Name of the attribute that holds an entity's signals.
pub(crate) const SIGNALS: &str = "signals";
/// Name of the attribute of `context` that holds the lists that a request is on.
pub(crate) const LISTS: &str = "lists";
/// Stands among policy ids for there being no policy that permits.
pub(crate) const NO_PERMIT: &str = "no_permit";
/// Action of a method that is none of [`METHODS`].
pub(crate) const OTHER: &str = "OTHER";

/// Methods with the group of actions that they are in. The last stands for all that are not named.
pub(crate) const METHODS: &[(&str, &str)] = &[
    ("GET", "read"),
    ("HEAD", "read"),
    ("OPTIONS", "read"),
    ("TRACE", "read"),
    ("POST", "write"),
    ("PUT", "write"),
    ("PATCH", "write"),
    ("DELETE", "write"),
    ("CONNECT", "write"),
    (OTHER, "write"),
];

/// Types of entity that `entities.json` may hold, with the types that they may be in.
pub(crate) const ENTITY_TYPES: &[(&str, &[&str])] =
    &[(SERVICE, &[NAMESPACE, GROUP]), (NAMESPACE, &[GROUP]), (USER, &[GROUP]), (GROUP, &[GROUP]), (ANONYMOUS, &[])];

/// Types of entity that have signals. An anonymous caller has none, but may be asked.
pub(crate) const WITH_SIGNALS: &[&str] = &[SERVICE, NAMESPACE, USER, ANONYMOUS];

/// Type of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalType {
    /// A Cedar `Long`.
    Integer,
    /// A Cedar `String`.
    Text,
}

/// The signals that one SQL file computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalSchema {
    /// `Service`, `User` or `Namespace`.
    pub entity_type: String,
    /// Name and type of each signal.
    pub signals: Vec<(String, SignalType)>,
}

/// Names of the attributes of `context`.
pub(crate) fn context_names() -> Vec<&'static str> {
    context().iter().map(|(name, ..)| *name).collect()
}

/// The namespace of a service: what stands before the `/` of its id.
pub(crate) fn namespace(service: &str) -> &str {
    service.split_once('/').map_or("", |(namespace, _)| namespace)
}

/// The action that a method asks for, as a place in [`METHODS`].
pub(crate) fn action(method: &str) -> usize {
    METHODS.iter().position(|(name, _)| *name == method).unwrap_or(METHODS.len() - 1)
}

/// A header's name as policies write it: a token of RFC 9110 in lower case.
pub(crate) fn is_header_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}
