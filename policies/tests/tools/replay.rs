use std::collections::BTreeSet;

use tollgate_policies::tools::{Combination, Judge, Kind, Recorded, Replay, RequestFacts, columns, replay};

use crate::support::{compiled, json, judge};

const OLD: &str = "@id(\"free\") permit (principal in Group::\"free\", action, resource in Namespace::\"shop\");\n\
    @id(\"jobs\") permit (principal in Group::\"batch\", action, resource);\n\
    @id(\"no-admin\") forbid (principal, action, resource) when { context.path like \"/admin/*\" };";

fn combination(source: &str, destination: &str, method: &str, path: &str, requests: u64) -> Combination {
    Combination {
        facts: RequestFacts {
            source: source.to_owned(),
            destination: destination.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            ..RequestFacts::default()
        },
        requests,
        decision: "allow".to_owned(),
        reason: "permitted".to_owned(),
        samples: vec![format!("{source}-{path}")],
        time_us: None,
    }
}

fn traffic() -> Vec<Combination> {
    let denied =
        |combination| Combination { decision: "deny".to_owned(), reason: "no_permit".to_owned(), ..combination };
    vec![
        combination("customers/free", "shop/search", "GET", "/", 900),
        combination("customers/free", "shop/cart", "POST", "/items", 50),
        combination("jobs/reindex", "shop/search", "GET", "/", 40),
        denied(combination("customers/paying", "shop/search", "GET", "/", 7)),
        Combination { reason: "bad_request".to_owned(), ..denied(combination("", "shop/search", "BREW", "/", 1)) },
    ]
}

fn replayed(old: Option<&Judge>, access: &str, shaping: &str) -> Replay {
    replay(old, &judge(access, shaping), traffic(), |_| {})
}

#[test]
fn finds_what_would_be_decided_otherwise() {
    let new = "@id(\"free\") permit (principal in Group::\"customers\", action in Action::\"read\", resource in Namespace::\"shop\");\n\
        @id(\"batch\") permit (principal in Group::\"batch\", action, resource);\n\
        @id(\"no-admin\") forbid (principal, action, resource) when { context.path like \"/admin/*\" };";
    let shaping = "@id(\"slow\") @limit(\"5/s\") permit (principal in Group::\"batch\", action, resource);";
    insta::assert_snapshot!(json(&replayed(Some(&judge(OLD, "")), new, shaping)));
}

#[test]
fn is_compared_with_what_was_recorded_where_there_is_no_other() {
    let replay =
        replayed(None, "@id(\"x\") permit (principal in Group::\"free\", action == Action::\"GET\", resource);", "");
    let totals = replay.totals;
    assert_eq!((totals.newly_denied, totals.unchanged, totals.skipped, totals.requests), (90, 907, 1, 998));
}

#[test]
fn nothing_changes_by_the_same_policies() {
    let replay = replayed(Some(&judge(OLD, "")), OLD, "");
    assert_eq!((replay.findings.len(), replay.totals.unchanged), (0, 997));
}

#[test]
fn guesses_nothing_that_was_not_recorded() {
    let access = format!(
        "{OLD}\n@id(\"slow\") forbid (principal in Group::\"batch\", action, resource) when {{ resource.signals has p99_ms && resource.signals.p99_ms > 5 }};\n\
         @id(\"tenant\") forbid (principal in Group::\"free\", action == Action::\"POST\", resource) when {{ context.headers has \"x-a\" && context.headers[\"x-a\"] == \"1\" }};"
    );
    let old = judge(OLD, "");
    let new = Judge::new(&compiled(&access, "")).unwrap();
    let recorded = columns(&[&old, &new]).recorded(BTreeSet::new());
    assert_eq!(recorded, Recorded { headers: Some(BTreeSet::new()), signals: false, time: false, lists: false });
    let replay = replay(Some(&old), &new.with_recorded(recorded), traffic(), |_| {});
    let undecidable: Vec<_> = replay.findings.iter().filter(|finding| finding.kind == Kind::Undecidable).collect();
    let shown: Vec<_> = undecidable.iter().map(|finding| format!("{} {:?}", finding.source, finding.detail)).collect();
    assert_eq!(
        shown,
        ["customers/free [\"context.headers[\\\"x-a\\\"]\"]", "jobs/reindex [\"resource.signals.p99_ms\"]"]
    );
    assert_eq!(replay.totals.undecidable, 90);
}

#[test]
fn asks_sql_for_the_columns_that_policies_read() {
    let shaping = "@id(\"l\") @limit(\"5/s\") @by(\"context.source_address, context.headers[\\\"x-t\\\"]\") permit (principal, action, resource);";
    let columns = columns(&[&judge(OLD, shaping)]);
    insta::assert_snapshot!(columns.query(86_400, Some("destination = 'shop/search'"), true));
    assert!(!columns.columns.contains("user_agent"));
}

#[test]
fn reads_the_rows_of_that_query() {
    let row = serde_json::json!({ "source": null, "destination": "a/b", "method": "GET", "decision": "allow", "reason": "permitted",
        "labels.x-t": "1", "labels.x-u": null, "requests": 12, "sample_first": "r1", "sample_last": "r1", "time_us": 5_000_000 });
    let read = Combination::read(row.as_object().unwrap().clone()).unwrap();
    assert_eq!((read.requests, read.samples.len(), read.facts.labels.len(), read.time_us), (12, 1, 1, Some(5_000_000)));
}

#[test]
fn simulates_limits_where_times_are_known() {
    let old = judge(OLD, "@id(\"cap\") @limit(\"10/s\") permit (principal, action, resource);");
    let new = judge(
        OLD,
        "@id(\"cap\") @limit(\"4/s\") @burst(\"6\") @by(\"principal\") permit (principal, action, resource);",
    );
    let second = |second: i64, source: &str, requests| Combination {
        time_us: Some(second * 1_000_000 + 250_000),
        ..combination(source, "shop/search", "GET", "/", requests)
    };
    let traffic = [
        second(1, "customers/free", 12),
        second(1, "jobs/reindex", 12),
        second(2, "customers/free", 12),
        second(9, "customers/free", 12),
    ];
    let replay = replay(Some(&old), &new, traffic, |_| {});
    let [limit] = &replay.limits[..] else { panic!("{:?}", replay.limits) };
    // New: 6 + 4, 6 + 4, 0 + 4 and 6 + 4 tokens. Old: 10 + 10 for the first two together, then 10, then 20.
    assert_eq!((limit.requests, limit.refused, limit.refused_before), (48, 2 + 2 + 8 + 2, Some(4 + 2)));
    assert_eq!(replay.totals.newly_limited, 48);
}

/// One decision for each combination, whatever the number of requests.
#[test]
fn many_combinations_take_little_time() {
    let number = if cfg!(debug_assertions) { 2_000 } else { 100_000 };
    let access = format!("{OLD}\n@id(\"x\") forbid (principal, action, resource) when {{ context.path == \"/7\" }};");
    let (old, new) = (judge(OLD, ""), judge(&access, ""));
    let combinations = (0..number)
        .map(|n| combination("customers/free", ["shop/search", "shop/cart"][n % 2], "GET", &format!("/{n}"), 100));
    let started = std::time::Instant::now();
    let replay = replay(Some(&old), &new, combinations, |_| {});
    eprintln!("{number} combinations in {:?}", started.elapsed());
    assert_eq!(replay.totals.newly_denied, 100);
}
