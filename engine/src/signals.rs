//! Signals: facts about services, users and namespaces, computed by SQL over recent requests.
//!
//! Each file is one query with a rhythm. Its first column names the entity, each further one is a signal. What cannot be
//! computed is absent, so that a policy can ask with `has`.

mod header;
mod history;
mod plan;
mod run;
mod schedule;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::logical_expr::LogicalPlan;
use tollgate_api::v1;
use tollgate_policies::{SignalSchema, SignalType};

pub(crate) use self::history::SignalHistory;
pub(crate) use self::plan::plan_all;
pub use self::schedule::FileStatus;
pub(crate) use self::schedule::Scheduler;

/// One file, planned.
#[derive(Debug)]
pub(crate) struct SignalFile {
    /// Relative to the policy directory.
    pub(crate) path: String,
    pub(crate) entity_type: String,
    pub(crate) every: Duration,
    pub(crate) signals: Vec<(Arc<str>, SignalType)>,
    plan: LogicalPlan,
}

impl SignalFile {
    /// What the policies may read of it.
    pub(crate) fn schema(&self) -> SignalSchema {
        let signals = self.signals.iter().map(|(name, kind)| (name.to_string(), *kind)).collect();
        SignalSchema { entity_type: self.entity_type.clone(), signals }
    }
}

/// Type and id of an entity.
pub(crate) type EntityKey = (Arc<str>, Arc<str>);

/// Value of a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Integer(i64),
    Text(Arc<str>),
}

impl Value {
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Integer(integer) => (*integer).into(),
            Self::Text(text) => (&**text).into(),
        }
    }
}

/// The signals of one entity, by name.
pub(crate) type Values = BTreeMap<Arc<str>, Value>;

/// All signals at one moment. Entities without signals are not in it.
pub(crate) type SignalState = BTreeMap<EntityKey, Arc<Values>>;

/// The signals of one entity as reporters get them; none when it has none any more.
pub(crate) fn to_proto((entity_type, entity_id): &EntityKey, values: Option<&Values>) -> v1::EntitySignals {
    let to_proto = |(name, value): (&Arc<str>, &Value)| v1::Signal {
        name: name.to_string(),
        value: Some(match value {
            Value::Integer(integer) => v1::signal::Value::Integer(*integer),
            Value::Text(text) => v1::signal::Value::Text(text.to_string()),
        }),
    };
    v1::EntitySignals {
        entity_type: entity_type.to_string(),
        entity_id: entity_id.to_string(),
        signals: values.into_iter().flatten().map(to_proto).collect(),
    }
}
