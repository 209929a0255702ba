//! Entities, policies and requests, all of a small world so that they meet often.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_api::v1;
use tollgate_policies::Facts;

use super::random::Random;

const GROUPS: usize = 6;
pub(crate) const SERVICES: &[&str] = &["a/one", "a/two", "b/one", "b/two", "c/one", "c/only-named"];
/// Callers that nothing is written about.
pub(crate) const UNLISTED: &[&str] = &["d/unknown", "odd"];
pub(crate) const USERS: &[&str] = &["ann", "bob", "cat"];
const NAMESPACES: &[&str] = &["a", "b", "c"];
const PATHS: &[&str] = &["/", "/a", "/a/b", "/admin", "/a*", ""];
const METHODS: &[&str] = &["GET", "HEAD", "POST", "DELETE", "BREW"];

/// What `entities.json` holds, and the signals.
pub(crate) struct Population {
    pub(crate) entities: Vec<Value>,
    pub(crate) signals: Vec<(&'static str, Option<i64>)>,
}

impl Population {
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut entities = Vec::new();
        for group in 0..GROUPS {
            // Only in groups of lower numbers, so that none is in itself.
            let parents: Vec<_> = (0..group).filter(|_| random.one_in(3)).map(group_uid).collect();
            entities.push(json!({ "uid": group_uid(group), "parents": parents }));
        }
        // The first service has every attribute, so that policies may read them whatever the others have.
        for (index, id) in SERVICES[..SERVICES.len() - 1].iter().enumerate() {
            let attributes = service(random, index == 0);
            entities.push(json!({ "uid": uid("Service", id), "attrs": attributes, "parents": parents(random) }));
        }
        for (index, id) in USERS[..2].iter().enumerate() {
            let attributes =
                if index == 0 || random.one_in(2) { json!({ "age": random.below(80) }) } else { json!({}) };
            entities.push(json!({ "uid": uid("User", id), "attrs": attributes, "parents": parents(random) }));
        }
        for id in &NAMESPACES[..2] {
            entities.push(json!({ "uid": uid("Namespace", id), "parents": parents(random) }));
        }
        let mut population = Self { entities, signals: Vec::new() };
        population.change_signals(random);
        population
    }

    pub(crate) fn change_signals(&mut self, random: &mut Random) {
        let signal = |id: &&'static str| (*id, (!random.one_in(3)).then(|| random.below(4) as i64 * 50));
        self.signals = SERVICES.iter().map(signal).collect();
    }

    pub(crate) fn json(&self) -> String {
        Value::Array(self.entities.clone()).to_string()
    }

    pub(crate) fn signals(&self) -> Vec<v1::EntitySignals> {
        let entity = |(id, p99_ms): &(&'static str, Option<i64>)| {
            let signals: Vec<_> = p99_ms.iter().map(|p99_ms| ("p99_ms", *p99_ms)).collect();
            crate::support::signal(id, &signals)
        };
        self.signals.iter().map(entity).collect()
    }
}

fn uid(of_type: &str, id: &str) -> Value {
    json!({ "type": of_type, "id": id })
}

fn group_uid(group: usize) -> Value {
    uid("Group", &format!("g{group}"))
}

fn parents(random: &mut Random) -> Vec<Value> {
    (0..GROUPS).filter(|_| random.one_in(4)).map(group_uid).collect()
}

fn service(random: &mut Random, is_whole: bool) -> Value {
    let extension = |function: &str, argument: &str| json!({ "__extn": { "fn": function, "arg": argument } });
    let tags: Vec<_> = ["x", "y", "z"].into_iter().filter(|_| is_whole || random.one_in(2)).collect();
    let all = [
        ("weight", json!(random.below(4))),
        ("huge", json!(i64::MAX - random.below(2) as i64)),
        ("tier", json!(random.pick(&["free", "paid"]))),
        ("is_public", json!(random.one_in(2))),
        ("tags", json!(tags)),
        ("price", extension("decimal", random.pick(&["0.5", "1.25", "2.0"]))),
        ("since", extension("datetime", random.pick(&["2026-05-01", "2026-06-01T10:00:00Z", "2027-01-01"]))),
        ("age", extension("duration", random.pick(&["1d", "2h", "0ms"]))),
        ("net", extension("ip", random.pick(&["10.0.0.0/8", "127.0.0.0/8", "::1"]))),
        ("owner", json!({ "__entity": uid("User", random.pick(USERS)) })),
        ("meta", json!({ "level": random.below(3), "name": random.pick(&["m", "n"]) })),
    ];
    let kept = all.into_iter().filter(|_| is_whole || !random.one_in(3));
    Value::Object(kept.map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Policies with every operator.
pub(crate) fn policies(random: &mut Random, most: usize) -> String {
    (0..random.below(most + 1)).map(|_| policy(random)).collect()
}

fn policy(random: &mut Random) -> String {
    let effect = if random.one_in(3) { "forbid" } else { "permit" };
    let principal = entity(random, "principal");
    let resource = entity(random, "resource");
    let action = random.pick(&[
        "action",
        "action",
        "action == Action::\"GET\"",
        "action in Action::\"read\"",
        "action in [Action::\"POST\", Action::\"read\"]",
        "action in [Action::\"OTHER\"]",
    ]);
    let clauses: String = (0..random.below(3)).map(|_| clause(random)).collect();
    format!("{effect} ({principal}, {action}, {resource}){clauses};\n")
}

fn entity(random: &mut Random, name: &str) -> String {
    match random.below(8) {
        0..=2 => name.to_owned(),
        3 => format!("{name} == Service::\"{}\"", random.pick(SERVICES)),
        4 => format!("{name} in Group::\"g{}\"", random.below(GROUPS)),
        5 => format!("{name} in Namespace::\"{}\"", random.pick(NAMESPACES)),
        6 => format!("{name} is Service in Group::\"g{}\"", random.below(GROUPS)),
        _ => format!("{name} is Service"),
    }
}

fn clause(random: &mut Random) -> String {
    let keyword = if random.one_in(4) { "unless" } else { "when" };
    format!("\n  {keyword} {{ {} }}", condition(random, 2))
}

fn condition(random: &mut Random, depth: usize) -> String {
    if depth == 0 || random.one_in(3) {
        return leaf(random);
    }
    let (a, b) = (condition(random, depth - 1), condition(random, depth - 1));
    match random.below(5) {
        0 => format!("({a} && {b})"),
        1 => format!("({a} || {b})"),
        2 => format!("!({a})"),
        3 => format!("(if {a} then {b} else {})", leaf(random)),
        _ => a,
    }
}

fn leaf(random: &mut Random) -> String {
    let who = random.pick(&["principal", "resource"]);
    let of = |name: &str, rest: String| format!("({who} has {name} && {who}.{name}{rest})");
    let compare = random.pick(&["<", "<=", ">", ">=", "==", "!="]);
    let (group, number) = (random.below(GROUPS), random.below(4));
    match random.below(34) {
        0 => format!("context.path == \"{}\"", random.pick(&["/", "/a", "/admin"])),
        1 => format!("context.path like \"{}\"", random.pick(&["/a*", "*b", "/*/*", "/a\\*"])),
        2 => format!("context has route && context.route {} \"/r\"", random.pick(&["==", "!="])),
        3 => "context.is_mtls".to_owned(),
        4 => format!(
            "[\"GET\", \"BREW\"].contains(context.method) && action {} Action::\"GET\"",
            random.pick(&["==", "!="])
        ),
        5 => format!("{who} in Group::\"g{group}\""),
        6 => format!("{who} in [Group::\"g{group}\", Group::\"g{number}\"]"),
        7 => format!("{who} is Service in Namespace::\"{}\"", random.pick(NAMESPACES)),
        8 => "principal == resource".to_owned(),
        9 => of("weight", format!(" {compare} {number}")),
        10 => of("weight", format!(" * 2 - {number} {compare} {number}")),
        // Overflows for some services, so that the policy fails.
        11 => format!("({who} has huge && {who} has weight && {who}.huge + {who}.weight > {number})"),
        12 => of("tier", format!(" {} \"free\"", random.pick(&["==", "!="]))),
        13 => of("tags", format!(".contains(\"{}\")", random.pick(&["x", "y", "q"]))),
        14 => of("tags", ".containsAll([\"x\", \"y\"])".to_owned()),
        15 => of("tags", ".containsAny([\"z\", \"q\"])".to_owned()),
        16 => of("tags", ".isEmpty()".to_owned()),
        17 => of("price", format!(".{}(decimal(\"1.25\"))", random.pick(&["lessThan", "greaterThanOrEqual"]))),
        18 => of("since", format!(" {} datetime(\"2026-06-01\")", random.pick(&["<", ">=", "=="]))),
        19 => of("since", format!(".offset(duration(\"{number}d\")).toDate() < datetime(\"2026-06-02\")")),
        20 => of("since", ".toTime() > duration(\"9h\")".to_owned()),
        21 => of("age", format!(" {} duration(\"90m\")", random.pick(&["<", ">="]))),
        22 => format!("({who} has net && context has source_address && context.source_address.isInRange({who}.net))"),
        23 => format!(
            "(context has source_address && context.source_address.{}())",
            random.pick(&["isLoopback", "isIpv4", "isMulticast"])
        ),
        24 => of("owner", format!(" == User::\"{}\"", random.pick(USERS))),
        25 => of("owner", format!(" in Group::\"g{group}\"")),
        26 => format!("({who} has owner && {who}.owner has age && {who}.owner.age {compare} 40)"),
        27 => format!("({who} has meta && {who}.meta has level && {who}.meta.level {compare} {number})"),
        28 => format!("(context has user && context.user in Group::\"g{group}\")"),
        29 => format!("(context has user && context.user has age && context.user.age {compare} 40)"),
        30 => "(context.headers has \"x-a\" && context.headers[\"x-a\"] == \"1\")".to_owned(),
        31 => format!("({who}.signals has p99_ms && {who}.signals.p99_ms {compare} {})", number * 50),
        32 => format!("Service::\"{}\".signals has p99_ms", random.pick(&SERVICES[..5])),
        _ => format!(
            "context.time {} datetime(\"2026-06-0{}T12:00:00Z\")",
            random.pick(&["<", ">="]),
            1 + random.below(3)
        ),
    }
}

/// One request.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) source: &'static str,
    pub(crate) destination: &'static str,
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) route: &'static str,
    pub(crate) user: &'static str,
    pub(crate) address: Option<IpAddr>,
    pub(crate) is_mtls: bool,
    pub(crate) headers: Vec<(Arc<str>, String)>,
}

impl Asked {
    pub(crate) fn new(random: &mut Random) -> Self {
        let sources: Vec<&str> = SERVICES.iter().chain(UNLISTED).copied().chain([""]).collect();
        let address = random.pick(&[None, Some("127.0.0.1"), Some("10.1.2.3"), Some("::1"), Some("::ffff:10.0.0.1")]);
        let header = random.pick(&[None, Some("1"), Some("2")]);
        Self {
            source: random.pick(&sources),
            destination: random.pick(SERVICES),
            method: random.pick(METHODS),
            path: random.pick(PATHS),
            route: random.pick(&["", "/r", "/q"]),
            user: random.pick(&["", "ann", "bob", "cat", "unknown"]),
            address: address.map(|address| address.parse().unwrap()),
            is_mtls: random.one_in(2),
            headers: header.map(|value| ("x-a".into(), value.to_owned())).into_iter().collect(),
        }
    }

    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            source: self.source,
            destination: self.destination,
            method: self.method,
            path: self.path,
            host: "host",
            route: self.route,
            user: self.user,
            source_address: self.address,
            is_mtls: self.is_mtls,
            headers: &self.headers,
            ..Facts::default()
        }
    }
}
