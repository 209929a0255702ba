//! Small directories of policies, and enforcers that hold them.

use std::sync::Arc;
use std::time::Duration;

use tollgate_api::v1;
use tollgate_policies::{
    Clock, Compiled, Diagnostics, Enforcer, Facts, Mode, SignalSchema, SignalType, SourceFile, Sources, compile,
};

pub(crate) const ENTITIES: &str = r#"[
  { "uid": { "type": "Service", "id": "shop/search" }, "attrs": { "weight": 3, "owner": { "__entity": { "type": "User", "id": "ann" } } } },
  { "uid": { "type": "Service", "id": "customers/free" }, "attrs": { "tier": "free", "weight": 2 }, "parents": [{ "type": "Group", "id": "free" }] },
  { "uid": { "type": "User", "id": "ann" }, "attrs": { "age": 40 }, "parents": [{ "type": "Group", "id": "staff" }] },
  { "uid": { "type": "Namespace", "id": "jobs" }, "attrs": {}, "parents": [{ "type": "Group", "id": "batch" }] },
  { "uid": { "type": "Group", "id": "free" }, "parents": [{ "type": "Group", "id": "customers" }] }
]"#;

pub(crate) fn signals() -> Vec<SignalSchema> {
    let signals = [("p99_ms", SignalType::Integer), ("error_pct", SignalType::Integer), ("mood", SignalType::Text)];
    let signals = signals.map(|(name, of_type)| (name.to_owned(), of_type)).to_vec();
    vec![SignalSchema { entity_type: "Service".to_owned(), signals }]
}

pub(crate) fn sources(access: &str, shaping: &str) -> Sources {
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
    Sources {
        access: vec![file("access/base.cedar", access)],
        shaping: vec![file("shaping/limits.cedar", shaping)],
        entities: Some(file("entities.json", ENTITIES)),
        ..Sources::default()
    }
}

pub(crate) fn try_compile(access: &str, shaping: &str) -> Result<Compiled, Diagnostics> {
    compile(&sources(access, shaping), &signals(), &Mode::default())
}

pub(crate) fn compiled(access: &str, shaping: &str) -> Compiled {
    try_compile(access, shaping).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A first snapshot, in which this reporter is alone.
pub(crate) fn whole(policies: v1::Policies) -> v1::Snapshot {
    let scopes = ["*", "shop/search", "shop/storefront", "shop/payments"];
    let safe_shares = scopes.map(|scope| v1::SafeShare { scope: scope.to_owned(), parts_per_million: 1_000_000 });
    v1::Snapshot {
        version: 1,
        whole: true,
        policies: Some(policies),
        safe_shares: safe_shares.to_vec(),
        ..v1::Snapshot::default()
    }
}

pub(crate) fn enforcer(access: &str, shaping: &str) -> Enforcer {
    let enforcer = Enforcer::new(Clock::paused(0));
    enforcer.apply(&whole(compiled(access, shaping).to_proto())).unwrap();
    enforcer
}

pub(crate) const ALL: &str = "@id(\"all\") permit (principal, action, resource);";

/// A GET of `/` by the free customer.
pub(crate) fn get(destination: &'static str) -> Facts<'static> {
    Facts { source: "customers/free", destination, method: "GET", path: "/", host: "shop", ..Facts::default() }
}

/// One line: decision, reason, policies, what would have refused.
pub(crate) fn said(enforcer: &Enforcer, facts: &Facts<'_>) -> String {
    let verdict = enforcer.decide(facts);
    let list = |ids: &[Arc<str>]| ids.join(",");
    format!("{} {} [{}] [{}]", verdict.decision, verdict.reason, list(&verdict.policies), list(&verdict.shadow))
}

pub(crate) fn allowed(enforcer: &Enforcer, facts: &Facts<'_>, times: usize) -> usize {
    let is_allowed = |_: &usize| enforcer.decide(facts).decision == tollgate_attributes::Decision::Allow;
    (0..times).filter(is_allowed).count()
}

pub(crate) fn pass(enforcer: &Enforcer, ms: u64) {
    enforcer.clock().advance(Duration::from_millis(ms));
}

pub(crate) fn signal(entity: &str, signals: &[(&str, i64)]) -> v1::EntitySignals {
    let signals = signals
        .iter()
        .map(|(name, value)| v1::Signal { name: (*name).to_owned(), value: Some(v1::signal::Value::Integer(*value)) });
    v1::EntitySignals { entity_type: "Service".to_owned(), entity_id: entity.to_owned(), signals: signals.collect() }
}

pub(crate) fn lease(policy: &str, key: &str, rate: u64, burst: u64, ttl_ms: u64) -> v1::Lease {
    let bucket = Some(v1::Bucket { policy: policy.to_owned(), key: key.to_owned() });
    v1::Lease { bucket, rate: rate * 1_000_000, burst: burst * 1_000_000, ttl_ms }
}

/// The context of a request that is on no list.
pub(crate) fn on_no_list(mut context: serde_json::Value) -> serde_json::Value {
    context["lists"] = serde_json::Value::Array(Vec::new());
    context
}
