//! A mesh of 500 services and a directory of policies for it, as large as is asked for.

use std::fmt::Write as _;
use std::sync::Arc;

use tollgate_api::v1;
use tollgate_policies::{Compiled, Diagnostics, Mode, SignalSchema, SignalType, SourceFile, Sources, compile};

pub(crate) const SERVICES: usize = 500;
const NAMESPACES: usize = 20;
const TEAMS: usize = 25;

pub(crate) fn service(index: usize) -> String {
    format!("ns{}/svc{index}", index % NAMESPACES)
}

/// One file for each service that has policies, and as many policies altogether.
pub(crate) fn sources(policies: usize) -> Sources {
    let mut access = vec![String::new(); SERVICES];
    let mut shaping = vec![String::new(); SERVICES];
    for number in 0..policies {
        let index = number % SERVICES;
        let text = policy(number);
        let files = if text.contains("@limit") || text.contains("@priority") { &mut shaping } else { &mut access };
        files[index].push_str(&text);
    }
    let files = |kind: &str, texts: Vec<String>| {
        let named = texts.into_iter().enumerate().filter(|(_, text)| !text.is_empty());
        named.map(|(index, text)| SourceFile { path: format!("{kind}/svc{index:03}.cedar"), text }).collect()
    };
    Sources {
        access: files("access", access),
        shaping: files("shaping", shaping),
        entities: Some(SourceFile { path: "entities.json".to_owned(), text: entities() }),
        ..Sources::default()
    }
}

fn policy(number: usize) -> String {
    let target = service(number % SERVICES);
    let (caller, team, namespace) = (service(number * 7 % SERVICES), number % TEAMS, number % NAMESPACES);
    let round = number / SERVICES;
    let mut text = String::new();
    let head = format!("@id(\"p{number}\") ");
    // Writing to a text cannot fail.
    let _ = match (number + round) % 10 {
        0 | 1 => writeln!(
            text,
            "{head}permit (principal == Service::\"{caller}\", action in Action::\"read\", resource == Service::\"{target}\");"
        ),
        2 => writeln!(
            text,
            "{head}permit (principal in Group::\"team{team}\", action in Action::\"write\", resource == Service::\"{target}\")\n\
             when {{ context.path like \"/v{round}/items/*\" && context.is_mtls }};"
        ),
        3 => writeln!(
            text,
            "{head}permit (principal in Namespace::\"ns{namespace}\", action in Action::\"read\", resource == Service::\"{target}\")\n\
             when {{ resource.signals has p99_ms && resource.signals.p99_ms < 500 }};"
        ),
        4 => writeln!(
            text,
            "{head}forbid (principal, action, resource == Service::\"{target}\")\n\
             when {{ context.path like \"/admin/{round}/*\" }} unless {{ principal in Group::\"team1\" }};"
        ),
        5 => writeln!(
            text,
            "{head}permit (principal, action in [Action::\"GET\", Action::\"HEAD\"], resource == Service::\"{target}\")\n\
             when {{ context has source_address && context.source_address.isInRange(ip(\"10.{team}.0.0/16\")) }};"
        ),
        6 => writeln!(
            text,
            "{head}permit (principal is Service in Group::\"team{team}\", action, resource == Service::\"{target}\")\n\
             when {{ principal has tier && resource has tier && principal.tier <= resource.tier }};"
        ),
        7 => writeln!(
            text,
            "{head}permit (principal is Service, action == Action::\"POST\", resource == Service::\"{target}\")\n\
             when {{ [\"/login\", \"/logout\", \"/r{round}\"].contains(context.path) }};"
        ),
        8 => writeln!(
            text,
            "{head}@limit(\"100000000/s\") @by(\"principal\")\npermit (principal, action in Action::\"read\", resource == Service::\"{target}\");"
        ),
        _ => writeln!(
            text,
            "{head}@priority(\"high\")\npermit (principal in Group::\"team{team}\", action, resource == Service::\"{target}\")\n\
             when {{ context.method == \"GET\" }};"
        ),
    };
    text
}

fn entities() -> String {
    let service = |index: usize| {
        format!(
            "{{ \"uid\": {{ \"type\": \"Service\", \"id\": \"{}\" }}, \"attrs\": {{ \"tier\": {}, \"team\": \"team{}\" }}, \
             \"parents\": [{{ \"type\": \"Group\", \"id\": \"team{}\" }}] }}",
            service(index),
            index % 4,
            index % TEAMS,
            index % TEAMS
        )
    };
    format!("[{}]", (0..SERVICES).map(service).collect::<Vec<_>>().join(",\n"))
}

pub(crate) fn compiled(sources: &Sources) -> Result<Compiled, Diagnostics> {
    let signals = vec![("p99_ms".to_owned(), SignalType::Integer), ("error_pct".to_owned(), SignalType::Integer)];
    compile(sources, &[SignalSchema { entity_type: "Service".to_owned(), signals }], &Mode::default())
}

/// A snapshot in which every service has signals.
pub(crate) fn snapshot(version: u64, policies: v1::Policies, is_whole: bool) -> v1::Snapshot {
    let signal =
        |name: &str, value| v1::Signal { name: name.to_owned(), value: Some(v1::signal::Value::Integer(value)) };
    let signals = (0..SERVICES).map(|index| v1::EntitySignals {
        entity_type: "Service".to_owned(),
        entity_id: service(index),
        signals: vec![signal("p99_ms", 20 + index as i64), signal("error_pct", 1)],
    });
    let scopes = (0..SERVICES).map(service).chain(["*".to_owned()]);
    v1::Snapshot {
        version,
        whole: is_whole,
        policies: Some(policies),
        signals: if is_whole { signals.collect() } else { Vec::new() },
        safe_shares: scopes.map(|scope| v1::SafeShare { scope, parts_per_million: 1_000_000 }).collect(),
        ..v1::Snapshot::default()
    }
}

/// One request; a path of its own where it is to be like no other.
pub(crate) struct Asked {
    pub(crate) source: String,
    pub(crate) destination: String,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(Arc<str>, String)>,
}

/// Requests whose caller, called service and method together are all different.
pub(crate) fn requests(count: usize) -> Vec<Asked> {
    let methods = ["GET", "POST", "PUT", "DELETE", "HEAD"];
    let request = |number: usize| Asked {
        source: service(number * 31 % SERVICES),
        destination: service((number * 7 + number / SERVICES) % SERVICES),
        method: methods[number / 11 % methods.len()],
        path: format!("/v{}/items/{number}", number % 20),
        headers: Vec::new(),
    };
    (0..count).map(request).collect()
}
