//! The tables `policies` and `entities`.

use std::sync::{Arc, LazyLock};

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use tollgate_policies::{Concurrency, Cost, CostAttribute, Effect, Offline, PolicyEntry, PolicyKind, Shaping};
use tollgate_rollups::PolicyUse;

use super::PolicyBook;
use crate::clock::WallTime;
use crate::columns;
use crate::kept::CountedUses;
use crate::sql::StateTable;

/// Microtokens in a token.
const MICROTOKENS: u64 = 1_000_000;

/// The policies in force, and how often requests named each.
pub(crate) struct PoliciesTable {
    pub(crate) book: Arc<PolicyBook>,
    pub(crate) uses: Arc<CountedUses>,
}

/// What `entities.json` holds.
pub(crate) struct EntitiesTable(pub(crate) Arc<PolicyBook>);

static POLICIES: LazyLock<SchemaRef> = LazyLock::new(|| {
    columns::schema(&[
        ("id", DataType::Utf8),
        ("kind", DataType::Utf8),
        ("effect", DataType::Utf8),
        ("mode", DataType::Utf8),
        ("origin", DataType::Utf8),
        ("template", DataType::Utf8),
        ("scope", DataType::Utf8),
        ("limit", DataType::Int64),
        ("window_s", DataType::Int64),
        ("burst", DataType::Int64),
        ("by", columns::texts_type()),
        ("queue_ms", DataType::Int64),
        ("priority", DataType::Utf8),
        ("concurrency", DataType::Utf8),
        ("cost", DataType::Utf8),
        ("offline", DataType::Utf8),
        ("text", DataType::Utf8),
        ("requests", DataType::Int64),
        ("shadow_requests", DataType::Int64),
        ("last_matched", columns::time_type()),
        ("counted_since", columns::time_type()),
    ])
});

impl StateTable for PoliciesTable {
    fn schema(&self) -> SchemaRef {
        POLICIES.clone()
    }

    fn rows(&self) -> Result<RecordBatch, ArrowError> {
        let loaded = self.book.loaded();
        let policies = loaded.as_ref().map(|loaded| loaded.compiled.policies.as_slice()).unwrap_or_default();
        let (uses, since) = self.uses.of(policies.iter().map(|policy| &*policy.id));
        let counted = |read: fn(&PolicyUse) -> u64| {
            columns::integers(uses.iter().map(|used| used.as_ref().map(read).and_then(|count| count.try_into().ok())))
        };
        let last = uses.iter().map(|used| used.and_then(|used| used.last_us).map(|us| WallTime { us }));
        RecordBatch::try_new(
            POLICIES.clone(),
            vec![
                texts(policies, |policy| Some(policy.id.to_string())),
                texts(policies, |policy| Some(kind(policy.kind).to_owned())),
                texts(policies, |policy| Some(effect(policy.effect).to_owned())),
                texts(policies, |policy| Some(if policy.shadow { "shadow" } else { "enforce" }.to_owned())),
                texts(policies, |policy| Some(policy.origin.clone())),
                texts(policies, |policy| policy.template.as_ref().map(ToString::to_string)),
                shaping_texts(policies, |shaping| Some(shaping.scope.to_string())),
                integers(policies, |shaping| shaping.limit.as_ref().map(|limit| limit.amount)),
                integers(policies, |shaping| shaping.limit.as_ref().map(|limit| limit.window_s)),
                integers(policies, |shaping| shaping.limit.as_ref().map(|limit| limit.burst / MICROTOKENS)),
                columns::lists(policies.iter().map(by)),
                integers(policies, |shaping| shaping.queue.map(|queue| queue.as_millis() as u64)),
                shaping_texts(policies, |shaping| shaping.priority.map(|priority| priority.to_string())),
                shaping_texts(policies, |shaping| shaping.concurrency.map(concurrency)),
                shaping_texts(policies, |shaping| Some(cost(&shaping.cost))),
                shaping_texts(policies, |shaping| shaping.limit.as_ref().map(|_| offline(shaping.offline).to_owned())),
                texts(policies, |policy| Some(policy.text.clone())),
                counted(|used| used.decided),
                counted(|used| used.shadow),
                columns::times(last),
                columns::times(uses.iter().map(|used| used.and(since))),
            ],
        )
    }
}

fn texts(policies: &[PolicyEntry], read: impl Fn(&PolicyEntry) -> Option<String>) -> ArrayRef {
    columns::texts(policies.iter().map(read))
}

fn shaping_texts(policies: &[PolicyEntry], read: impl Fn(&Shaping) -> Option<String>) -> ArrayRef {
    columns::texts(policies.iter().map(|policy| policy.shaping.as_ref().and_then(&read)))
}

fn integers(policies: &[PolicyEntry], read: impl Fn(&Shaping) -> Option<u64>) -> ArrayRef {
    let read = |policy: &PolicyEntry| policy.shaping.as_ref().and_then(&read).and_then(|value| value.try_into().ok());
    columns::integers(policies.iter().map(read))
}

fn by(policy: &PolicyEntry) -> Vec<String> {
    policy.shaping.iter().flat_map(|shaping| &shaping.by).map(ToString::to_string).collect()
}

const fn kind(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::Access => "access",
        PolicyKind::Shaping => "shaping",
    }
}

const fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Permit => "permit",
        Effect::Forbid => "forbid",
    }
}

fn concurrency(concurrency: Concurrency) -> String {
    match concurrency {
        Concurrency::Fixed(requests) => requests.to_string(),
        Concurrency::Adaptive => "adaptive".to_owned(),
    }
}

fn cost(cost: &Cost) -> String {
    match cost {
        Cost::Tokens(tokens) => tokens.to_string(),
        Cost::Attribute(CostAttribute::RequestBytes) => "request_bytes".to_owned(),
        Cost::Attribute(CostAttribute::Principal(name)) => format!("principal.{name}"),
        Cost::Attribute(CostAttribute::Resource(name)) => format!("resource.{name}"),
    }
}

const fn offline(offline: Offline) -> &'static str {
    match offline {
        Offline::Safe => "safe",
        Offline::Allow => "allow",
        Offline::Deny => "deny",
    }
}

static ENTITIES: LazyLock<SchemaRef> = LazyLock::new(|| {
    columns::schema(&[
        ("entity_type", DataType::Utf8),
        ("entity", DataType::Utf8),
        ("parents", columns::texts_type()),
        ("attributes", DataType::Utf8),
    ])
});

impl StateTable for EntitiesTable {
    fn schema(&self) -> SchemaRef {
        ENTITIES.clone()
    }

    fn rows(&self) -> Result<RecordBatch, ArrowError> {
        let loaded = self.0.loaded();
        let json = loaded.as_ref().map_or("[]", |loaded| loaded.compiled.entities_json.as_str());
        // It has passed Cedar's own parser, which is why what is missing here is left null and not an error.
        let entities: Vec<serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
        let uid = |key: &'static str| columns::texts(entities.iter().map(move |entity| entity["uid"][key].as_str()));
        let parents = |entity: &serde_json::Value| {
            let parents = entity["parents"].as_array().cloned().unwrap_or_default();
            parents.iter().map(name).collect::<Vec<_>>()
        };
        RecordBatch::try_new(
            ENTITIES.clone(),
            vec![
                uid("type"),
                uid("id"),
                columns::lists(entities.iter().map(parents)),
                columns::texts(entities.iter().map(|entity| Some(entity["attrs"].to_string()))),
            ],
        )
    }
}

/// `Group::"free"`.
fn name(uid: &serde_json::Value) -> String {
    format!("{}::{:?}", uid["type"].as_str().unwrap_or_default(), uid["id"].as_str().unwrap_or_default())
}
