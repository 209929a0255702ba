//! Entities and requests, all of a small world so that they meet often.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_api::v1;
use tollgate_policies::Facts;

use super::random::Random;

pub(crate) const GROUPS: usize = 6;
pub(crate) const SERVICES: &[&str] = &["a/one", "a/two", "b/one", "b/two", "c/one", "c/only-named"];
/// Callers that nothing is written about.
pub(crate) const UNLISTED: &[&str] = &["d/unknown", "odd"];
pub(crate) const USERS: &[&str] = &["ann", "bob", "cat"];
pub(crate) const NAMESPACES: &[&str] = &["a", "b", "c"];
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
