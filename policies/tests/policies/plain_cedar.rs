//! The answer of an enforcer is that of plain Cedar on all policies and entities, but for a `forbid` that fails, which
//! denies.

use std::net::IpAddr;

use cedar_policy::{
    Authorizer, Context, Decision, Effect, Entities, EntityUid, Policy, PolicyId, PolicySet, Request, Schema,
};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use tollgate_api::v1;
use tollgate_policies::{Clock, Compiled, Enforcer, Facts};

use crate::support::{ENTITIES, get, on_no_list, signal, try_compile, whole};

const PRINCIPALS: &[&str] = &[
    "principal",
    "principal == Service::\"customers/free\"",
    "principal in Group::\"free\"",
    "principal in Group::\"customers\"",
    "principal in Group::\"batch\"",
    "principal is Service",
    "principal is Anonymous",
    "principal is Service in Namespace::\"jobs\"",
    "principal in Service::\"shop/search\"",
];
const ACTIONS: &[&str] = &[
    "action",
    "action == Action::\"GET\"",
    "action in Action::\"read\"",
    "action in [Action::\"GET\", Action::\"write\"]",
    "action == Action::\"OTHER\"",
];
const RESOURCES: &[&str] = &[
    "resource",
    "resource == Service::\"shop/search\"",
    "resource in Namespace::\"shop\"",
    "resource is Service",
    "resource is Service in Group::\"batch\"",
    "resource in Group::\"free\"",
];
const CONDITIONS: &[&str] = &[
    "",
    "when { context.path == \"/\" }",
    "unless { context.path like \"/a*\" }",
    "when { context has user }",
    "when { context has user && context.user in Group::\"staff\" }",
    "when { principal has weight && principal.weight > 1 }",
    "when { resource.signals has p99_ms && resource.signals.p99_ms > 100 }",
    "when { principal == resource }",
    "when { resource has owner && resource.owner has age && resource.owner.age == 40 }",
    "when { context.headers has \"x-a\" && context.headers[\"x-a\"] == \"1\" }",
    "when { principal has weight && 9223372036854775806 + principal.weight > 0 }",
    "unless { context has source_address && context.source_address.isLoopback() }",
    "when { Service::\"shop/search\".signals has p99_ms && Service::\"shop/search\".signals.p99_ms > 100 }",
    "when { context.time > datetime(\"2000-01-01\") } unless { context.is_mtls }",
    "when { if context has route then context.route == \"/r\" else action in Action::\"read\" }",
    "when { [\"GET\", \"PUT\"].contains(context.method) }",
    "when { Service::\"customers/free\" in Group::\"customers\" }",
    "when { Action::\"PUT\" in Action::\"write\" && principal in [Group::\"batch\", Group::\"free\"] }",
];

#[derive(Debug, Clone)]
struct Asked {
    source: &'static str,
    destination: &'static str,
    method: &'static str,
    path: &'static str,
    route: &'static str,
    user: &'static str,
    address: Option<IpAddr>,
    is_mtls: bool,
    header: Option<&'static str>,
    p99_ms: Option<i64>,
}

fn policy() -> impl Strategy<Value = String> {
    let scope = (select(PRINCIPALS), select(ACTIONS), select(RESOURCES), select(CONDITIONS));
    (prop_oneof![2 => Just("permit"), 1 => Just("forbid")], scope).prop_map(
        |(effect, (principal, action, resource, condition))| {
            format!("{effect} ({principal}, {action}, {resource}) {condition};\n")
        },
    )
}

fn asked() -> impl Strategy<Value = Asked> {
    let names = (
        select(&["", "customers/free", "jobs/reindex", "shop/search", "un/listed", "odd"][..]),
        select(&["shop/search", "shop/cart", "jobs/queue", "un/listed"][..]),
        select(&["GET", "PUT", "BREW"][..]),
        select(&["/", "/a", "/b"][..]),
    );
    let rest = (
        select(&["", "/r", "/q"][..]),
        select(&["", "ann", "bob"][..]),
        select(&[None, Some("127.0.0.1"), Some("10.0.0.1")][..]),
        any::<bool>(),
        select(&[None, Some("1"), Some("2")][..]),
        select(&[None, Some(50), Some(200)][..]),
    );
    (names, rest).prop_map(|((source, destination, method, path), (route, user, address, is_mtls, header, p99_ms))| {
        Asked {
            source,
            destination,
            method,
            path,
            route,
            user,
            is_mtls,
            header,
            p99_ms,
            address: address.map(|address| address.parse().unwrap()),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 40 } else { 3_000 }))]

    #[test]
    fn answers_as_plain_cedar_does(
        texts in proptest::collection::vec(policy(), 0..12), asked in proptest::collection::vec(asked(), 1..12),
    ) {
        let compiled = try_compile(&texts.concat(), "").unwrap();
        let enforcer = Enforcer::new(Clock::paused(1_800_000_000_000_000));
        enforcer.apply(&whole(compiled.to_proto())).unwrap();
        let schema = Schema::from_json_str(&compiled.schema_json).unwrap();
        // Each request twice: what a thread has remembered must not change the answer.
        for (version, asked) in asked.iter().chain(&asked).enumerate() {
            let signals: Vec<_> = asked.p99_ms.iter().map(|p99_ms| ("p99_ms", *p99_ms)).collect();
            let changed = vec![signal("shop/search", &signals)];
            enforcer.apply(&v1::Snapshot { version: version as u64 + 2, signals: changed, ..v1::Snapshot::default() }).unwrap();
            let header = asked.header.map(|value| ("x-a".into(), value.to_owned()));
            let facts = Facts {
                source: asked.source, method: asked.method, path: asked.path, route: asked.route, user: asked.user,
                source_address: asked.address, is_mtls: asked.is_mtls, headers: header.as_slice(), ..get(asked.destination)
            };
            let verdict = enforcer.decide(&facts);
            let ours = format!("{} [{}]", verdict.decision, verdict.policies.join(","));
            prop_assert_eq!(ours, plain(&compiled, &schema, asked), "{:?}\n{}", asked, texts.concat());
        }
    }
}

fn plain(compiled: &Compiled, schema: &Schema, asked: &Asked) -> String {
    let mut policies = PolicySet::new();
    for (index, policy) in compiled.policies.iter().enumerate() {
        policies.add(Policy::parse(Some(PolicyId::new(index.to_string())), &policy.text).unwrap()).unwrap();
    }
    let method = if asked.method == "BREW" { "OTHER" } else { asked.method };
    let principal = if asked.source.is_empty() { ("Anonymous", "caller") } else { ("Service", asked.source) };
    let uid = |(of_type, id): (&str, &str)| -> EntityUid { format!("{of_type}::\"{id}\"").parse().unwrap() };
    let action = uid(("Action", method));
    // The schema knows only headers that policies name.
    let is_header_known = compiled.schema_json.contains("x-a");
    let context =
        Context::from_json_value(on_no_list(context(asked, is_header_known)), Some((schema, &action))).unwrap();
    let request =
        Request::new(uid(principal), action, uid(("Service", asked.destination)), context, Some(schema)).unwrap();
    let entities = Entities::from_json_value(entities(asked), Some(schema)).unwrap();
    let response = Authorizer::new().is_authorized(&request, &policies, &entities);
    let mut decision = if response.decision() == Decision::Allow { "allow" } else { "deny" };
    let mut ids: Vec<usize> = response.diagnostics().reason().map(|id| id.to_string().parse().unwrap()).collect();
    let errors = response.diagnostics().errors().map(|error| match error {
        cedar_policy::AuthorizationError::PolicyEvaluationError(error) => error.policy_id().clone(),
    });
    let mut failed: Vec<usize> = errors
        .filter(|id| policies.policy(id).unwrap().effect() == Effect::Forbid)
        .map(|id| id.to_string().parse().unwrap())
        .collect();
    let is_forbidden = decision == "deny" && !ids.is_empty();
    if !failed.is_empty() && !is_forbidden {
        decision = "deny";
        std::mem::swap(&mut ids, &mut failed);
    }
    ids.sort_unstable();
    let ids: Vec<_> = ids.into_iter().map(|index| &*compiled.policies[index].id).collect();
    format!("{decision} [{}]", ids.join(","))
}

fn context(asked: &Asked, is_header_known: bool) -> Value {
    let mut context = json!({
        "method": asked.method, "path": asked.path, "host": "shop", "scheme": "", "protocol": "", "user_agent": "",
        "is_mtls": asked.is_mtls, "time": "2027-01-15T08:00:00Z", "headers": {},
    });
    if !asked.route.is_empty() {
        context["route"] = asked.route.into();
    }
    if !asked.user.is_empty() {
        context["user"] = json!({ "type": "User", "id": asked.user });
    }
    if let Some(address) = asked.address {
        context["source_address"] = address.to_string().into();
    }
    if let Some(value) = asked.header.filter(|_| is_header_known) {
        context["headers"]["x-a"] = value.into();
    }
    context
}

/// Everything that is written, and everything that exists without being written.
fn entities(asked: &Asked) -> Value {
    let Value::Array(mut entities) = serde_json::from_str(ENTITIES).unwrap() else { unreachable!() };
    let wanted = [
        ("Service", asked.source),
        ("Service", asked.destination),
        ("Service", "shop/search"),
        ("User", asked.user),
        ("Namespace", "shop"),
        ("Namespace", "un"),
        ("Namespace", "customers"),
        ("Anonymous", "caller"),
        ("Namespace", ""),
    ];
    for (of_type, id) in wanted {
        let uid = json!({ "type": of_type, "id": id });
        let is_named = !id.is_empty() || of_type == "Namespace";
        if is_named && !entities.iter().any(|entity| entity["uid"] == uid) {
            entities.push(json!({ "uid": uid }));
        }
    }
    for entity in &mut entities {
        let (of_type, id) = (entity["uid"]["type"].clone(), entity["uid"]["id"].as_str().unwrap().to_owned());
        let fields = entity.as_object_mut().unwrap();
        let parents = fields.entry("parents").or_insert(json!([])).as_array_mut().unwrap();
        if of_type == "Service" {
            let namespace = id.split_once('/').map_or("", |(namespace, _)| namespace);
            parents.push(json!({ "type": "Namespace", "id": namespace }));
        }
        let attributes = fields.entry("attrs").or_insert(json!({}));
        if of_type != "Group" {
            attributes["signals"] = match asked.p99_ms {
                Some(p99_ms) if id == "shop/search" => json!({ "p99_ms": p99_ms }),
                _ => json!({}),
            };
        }
    }
    Value::Array(entities)
}
