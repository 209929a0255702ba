//! Whatever is written in a policy directory, the answer is policies or diagnostics, never a panic.

use proptest::prelude::*;
use proptest::sample::select;
use tollgate_policies::{Mode, SourceFile, Sources, compile};

use crate::support::{ALL, enforcer, get, said, signals, sources, try_compile};

const WORDS: &[&str] = &[
    "permit",
    "forbid",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ";",
    ",",
    ".",
    "@",
    "\"",
    "\\",
    "//",
    "\n",
    "principal",
    "action",
    "resource",
    "context",
    "when",
    "unless",
    "==",
    "&&",
    "||",
    "!",
    "has",
    "in",
    "is",
    "like",
    "if",
    "then",
    "else",
    "Service",
    "::",
    "\"a/b\"",
    "?principal",
    "é",
    "signals",
    "p99_ms",
    "9223372036854775808",
    "-",
    "limit",
    "@id(\"x\")",
    "@limit(\"1/s\")",
    "user",
    "headers",
    "ip(\"::1\")",
    "datetime(\"x\")",
    "\u{0}",
];

fn words() -> impl Strategy<Value = String> {
    proptest::collection::vec(select(WORDS), 0..60).prop_map(|words| words.join(" "))
}

fn check(sources: &Sources) {
    match compile(sources, &signals(), &Mode::default()) {
        Ok(compiled) => drop(compiled.to_proto()),
        Err(problems) => {
            assert!(problems.has_errors());
            let lines = |file: &str| {
                sources.files().find(|source| source.path == file).map(|source| source.text.lines().count())
            };
            for problem in &problems.0 {
                assert!(problem.line <= lines(&problem.file).unwrap_or(0).max(1) + 1, "{problem}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 20_000 }))]

    #[test]
    fn any_text_as_policies(access in any::<String>(), shaping in any::<String>()) {
        check(&sources(&access, &shaping));
    }

    #[test]
    fn any_words_as_policies(access in words(), shaping in words()) {
        check(&sources(&access, &shaping));
    }

    #[test]
    fn any_words_as_condition(condition in words()) {
        check(&sources(&format!("permit (principal, action, resource) when {{ {condition} }};"), ""));
    }

    #[test]
    fn any_annotation(
        name in select(&["id", "mode", "limit", "burst", "by", "queue", "priority", "concurrency", "cost", "offline", "x"][..]),
        value in prop_oneof![any::<String>(), "[0-9]{0,25}[/.]?[a-z]{0,3}", "(principal|context\\.[a-z_\\[\\]\"]{0,12}|, ){0,5}"],
    ) {
        let value = value.escape_default();
        check(&sources(ALL, &format!("@limit(\"1/s\") @{name}(\"{value}\") permit (principal, action, resource);")));
        check(&sources(ALL, &format!("@{name}(\"{value}\") permit (principal, action, resource);")));
    }

    #[test]
    fn any_text_as_entities(text in prop_oneof![any::<String>(), "[\\[\\]{}\",:a0 ]{0,60}"]) {
        let mut sources = sources(ALL, "");
        sources.entities = Some(SourceFile { path: "entities.json".to_owned(), text });
        check(&sources);
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let condition = |condition: String| {
        let problems = try_compile(&format!("permit (principal, action, resource) when {{ {condition} }};"), "");
        problems.err().map(|problems| problems.0[0].code)
    };
    let deep = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    let long = |length: usize| vec!["context.is_mtls"; length].join(" && ");
    assert_eq!(condition(deep(35)), None);
    assert_eq!(condition(deep(10_000)), Some("TG0109"));
    assert_eq!(condition(deep(200_000)), Some("TG0109"));
    assert_eq!(condition(long(140)), None);
    assert_eq!(condition(long(20_000)), Some("TG0109"));
    assert_eq!(condition(format!("context{}", ".a".repeat(100_000))), Some("TG0109"));
    assert_eq!(condition("!".repeat(100_000)), Some("TG0109"));
    assert_eq!(condition("if true then false else ".repeat(50_000)), Some("TG0109"));
    assert_eq!(condition(format!("context.path == \"{}\"", "x".repeat(500_000))), None);
    assert_eq!(condition(format!("[{}\"a\"].contains(context.path)", "\"a\", ".repeat(50_000))), None);
}

#[test]
fn the_longest_policy_is_evaluated() {
    let condition = vec!["context.path == \"/\""; 145].join(" && ");
    let text = format!("@id(\"long\") permit (principal, action, resource) when {{ {condition} }};");
    assert_eq!(said(&enforcer(&text, ""), &get("a/b")), "allow permitted [long] []");
    let nested = format!("{}context.path == \"/\"{}", "!(!(".repeat(18), "))".repeat(18));
    let text = format!("@id(\"deep\") permit (principal, action, resource) when {{ {nested} }};");
    assert_eq!(said(&enforcer(&text, ""), &get("a/b")), "allow permitted [deep] []");
}
