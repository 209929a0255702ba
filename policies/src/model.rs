//! The Cedar model: entity types, actions, context, and the schema that follows from them, signals and entities.

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
