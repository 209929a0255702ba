//! The tools judge as the enforcer does.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use tollgate_api::v1;
use tollgate_policies::tools::{Judge, Judgement, Recorded, RequestFacts, Time};
use tollgate_policies::{Clock, Enforcer, Facts, Mode, compile};

use crate::support::{judge, signals, sources};

const PRINCIPALS: &[&str] = &[
    "principal",
    "principal == Service::\"customers/free\"",
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
    "action == Action::\"read\"",
    "action in Action::\"read\"",
    "action in [Action::\"GET\", Action::\"write\"]",
    "action == Action::\"OTHER\"",
];
const RESOURCES: &[&str] = &[
    "resource",
    "resource == Service::\"shop/search\"",
    "resource in Namespace::\"shop\"",
    "resource is Service in Group::\"batch\"",
];
const CONDITIONS: &[&str] = &[
    "",
    "when { context.path == \"/\" } // a comment",
    "unless { context.path like \"/a*\" }",
    "when { context has user && context.user in Group::\"staff\" }",
    "when { principal has weight && principal.weight > 1 }",
    "when { resource.signals has p99_ms && resource.signals.p99_ms > 100 // last\n }",
    "when { resource has owner && resource.owner has age && resource.owner.age == 40 }",
    "when { context.headers has \"x-a\" && context.headers[\"x-a\"] == \"1\" }",
    "when { principal has weight && 9223372036854775806 + principal.weight > 0 }",
    "unless { context has source_address && context.source_address.isLoopback() }",
    "when { Service::\"shop/search\".signals has p99_ms && Service::\"shop/search\".signals.p99_ms > 100 }",
    "when { context.time > datetime(\"2000-01-01\") } unless { context.is_mtls }",
    "when { if context has route then context.route == \"/r\" else action in Action::\"read\" }",
    "when { [\"GET\", \"PUT\"].contains(context.method) || \"a\\\"\\\\\\u{1F600}\" == context.path }",
    "when { Action::\"PUT\" in Action::\"write\" && principal in [Group::\"batch\", Group::\"free\"] }",
    "when { !(context.path like \"*\\**\") && {\"a\": {\"b c\": 1}}.a has \"b c\" && context has user.signals.p99_ms }",
];

fn policy(name: &'static str) -> impl Strategy<Value = String> {
    let scope = (select(PRINCIPALS), select(ACTIONS), select(RESOURCES), select(CONDITIONS));
    let effect = prop_oneof![2 => Just("permit"), 1 => Just("forbid"), 1 => Just("@mode(\"shadow\") forbid")];
    (effect, scope).prop_map(move |(effect, (principal, action, resource, condition))| {
        let effect = if name == "limit" { "@limit(\"5/s\") permit" } else { effect };
        format!("{effect} ({principal}, {action}, {resource}) {condition};\n")
    })
}

fn request() -> impl Strategy<Value = RequestFacts> {
    let names = (
        select(&["", "customers/free", "jobs/reindex", "shop/search", "un/listed"][..]),
        select(&["shop/search", "shop/cart", "jobs/queue", "un/listed"][..]),
        select(&["GET", "PUT", "BREW"][..]),
        select(&["/", "/a", "/b*"][..]),
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
        let signals = p99_ms.map(|p99_ms| {
            let signals = serde_json::json!({ "p99_ms": p99_ms }).as_object().unwrap().clone();
            [("shop/search".to_owned(), signals)].into()
        });
        RequestFacts {
            source: source.to_owned(),
            destination: destination.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            route: route.to_owned(),
            user: user.to_owned(),
            is_mtls,
            source_address: address.map(|address| address.parse::<IpAddr>().unwrap()),
            labels: header.map(|value| ("x-a".to_owned(), value.to_owned())).into_iter().collect(),
            time: Some(Time::from_us(1_700_000_000_000_000)),
            signals,
            ..RequestFacts::default()
        }
    })
}

fn enforced(enforcer: &Enforcer, facts: &RequestFacts) -> String {
    let p99_ms = facts.signals.as_ref().and_then(|signals| signals["shop/search"]["p99_ms"].as_i64());
    let signals = p99_ms.map(|value| v1::EntitySignals {
        entity_type: "Service".to_owned(),
        entity_id: "shop/search".to_owned(),
        signals: vec![v1::Signal { name: "p99_ms".to_owned(), value: Some(v1::signal::Value::Integer(value)) }],
    });
    let snapshot = v1::Snapshot { version: 2, signals: signals.into_iter().collect(), ..v1::Snapshot::default() };
    enforcer.apply(&snapshot).unwrap();
    let headers: Vec<(Arc<str>, String)> =
        facts.labels.iter().map(|(name, value)| (Arc::from(name.as_str()), value.clone())).collect();
    let verdict = enforcer.look(&Facts {
        source: &facts.source,
        destination: &facts.destination,
        method: &facts.method,
        path: &facts.path,
        route: &facts.route,
        user: &facts.user,
        is_mtls: facts.is_mtls,
        source_address: facts.source_address,
        headers: &headers,
        ..Facts::default()
    });
    let reason =
        if verdict.policies.is_empty() && verdict.reason.as_str() == "rate" { "?" } else { verdict.reason.as_str() };
    format!("{} {reason} {:?} {:?}", verdict.decision, verdict.policies.to_vec(), verdict.shadow.to_vec())
}

fn judged(judgement: &Judgement) -> String {
    format!("{} {} {:?} {:?}", judgement.decision, judgement.reason, judgement.policies, judgement.shadow)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 24 } else { 3_000 }))]

    #[test]
    fn judges_as_the_enforcer_does(
        policies in proptest::collection::vec(policy("access"), 1..8),
        observe in any::<bool>(),
        requests in proptest::collection::vec(request(), 1..12),
    ) {
        let mode = Mode { observe, observed_services: Vec::new() };
        let compiled = compile(&sources(&policies.concat(), ""), &signals(), &mode);
        prop_assume!(compiled.is_ok());
        let compiled = compiled.unwrap();
        let judge = Judge::new(&compiled).unwrap();
        for facts in &requests {
            let enforcer = Enforcer::new(Clock::paused(1_700_000_000_000_000));
            let whole = v1::Snapshot { version: 1, whole: true, policies: Some(compiled.to_proto()), ..v1::Snapshot::default() };
            enforcer.apply(&whole).unwrap();
            prop_assert_eq!(judged(&judge.judge(facts).unwrap()), enforced(&enforcer, facts), "{:?}", facts);
        }
    }

    /// What is judged although something is not known is what would be judged if it were known.
    #[test]
    fn what_is_sure_without_an_attribute_is_so_with_it(
        policies in proptest::collection::vec(policy("access"), 1..8),
        limits in proptest::collection::vec(policy("limit"), 0..4),
        facts in request(),
    ) {
        let compiled = compile(&sources(&policies.concat(), &limits.concat()), &signals(), &Mode::default());
        prop_assume!(compiled.is_ok());
        let compiled = compiled.unwrap();
        let known = Judge::new(&compiled).unwrap().judge(&facts).unwrap();
        let recorded = Recorded { headers: Some(Default::default()), signals: false, time: false, lists: false };
        let judge = Judge::new(&compiled).unwrap().with_recorded(recorded);
        let unknown = judge.judge(&RequestFacts { signals: None, labels: Default::default(), ..facts }).unwrap();
        if unknown.unsure.is_empty() {
            prop_assert_eq!((unknown.decision, unknown.reason), (known.decision, known.reason));
            let is_among = |id: &Arc<str>| unknown.limits.contains(id) || unknown.unsure_limits.contains(id);
            prop_assert!(known.limits.iter().all(is_among), "{:?} {:?}", known, unknown);
            prop_assert!(unknown.limits.iter().all(|id| known.limits.contains(id)));
        }
    }
}

#[test]
fn says_what_it_does_not_know() {
    let judge = judge(
        "@id(\"a\") permit (principal, action, resource);\n\
         @id(\"b\") forbid (principal, action, resource == Service::\"shop/search\")\n\
         when { context.path == \"/x\" && resource.signals has p99_ms && resource.signals.p99_ms > 5 };",
        "",
    )
    .with_recorded(Recorded { headers: None, signals: false, time: true, lists: true });
    let facts = |destination: &str, path: &str| RequestFacts {
        destination: destination.to_owned(),
        path: path.to_owned(),
        method: "GET".to_owned(),
        ..RequestFacts::default()
    };
    let unsure = |destination, path| judge.judge(&facts(destination, path)).unwrap().unsure;
    assert_eq!(unsure("shop/search", "/x"), ["resource.signals.p99_ms"]);
    assert!(unsure("shop/search", "/y").is_empty(), "the path settles it");
    assert!(unsure("shop/cart", "/x").is_empty(), "it is about another service");
}
