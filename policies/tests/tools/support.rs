//! Small directories of policies.

use tollgate_policies::tools::Judge;
use tollgate_policies::{Compiled, Mode, SignalSchema, SignalType, SourceFile, Sources, compile};

pub(crate) const ENTITIES: &str = r#"[
  { "uid": { "type": "Service", "id": "shop/search" }, "attrs": { "weight": 3, "owner": { "__entity": { "type": "User", "id": "ann" } } } },
  { "uid": { "type": "Service", "id": "shop/cart" } },
  { "uid": { "type": "Service", "id": "customers/free" }, "attrs": { "weight": 2 }, "parents": [{ "type": "Group", "id": "free" }] },
  { "uid": { "type": "Service", "id": "customers/paying" }, "parents": [{ "type": "Group", "id": "customers" }] },
  { "uid": { "type": "User", "id": "ann" }, "attrs": { "age": 40 }, "parents": [{ "type": "Group", "id": "staff" }] },
  { "uid": { "type": "Namespace", "id": "jobs" }, "parents": [{ "type": "Group", "id": "batch" }] },
  { "uid": { "type": "Group", "id": "free" }, "parents": [{ "type": "Group", "id": "customers" }] }
]"#;

pub(crate) fn signals() -> Vec<SignalSchema> {
    let names = ["p99_ms", "error_pct", "requests_per_s", "p50_ms"];
    let signals = names.map(|name| (name.to_owned(), SignalType::Integer)).to_vec();
    vec![SignalSchema { entity_type: "Service".to_owned(), signals }]
}

pub(crate) fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

pub(crate) fn sources(access: &str, shaping: &str) -> Sources {
    Sources {
        access: vec![file("access/base.cedar", access)],
        shaping: vec![file("shaping/limits.cedar", shaping)],
        entities: Some(file("entities.json", ENTITIES)),
        ..Sources::default()
    }
}

pub(crate) fn compiled(access: &str, shaping: &str) -> Compiled {
    compile(&sources(access, shaping), &signals(), &Mode::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

pub(crate) fn judge(access: &str, shaping: &str) -> Judge {
    Judge::new(&compiled(access, shaping)).unwrap()
}

pub(crate) fn starter() -> Compiled {
    compile(&Sources::starter(), &signals(), &Mode::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

pub(crate) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap()
}
