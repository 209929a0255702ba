//! Bad input is bounded, refused or passed over, and always said.

use std::fs;

use tollgate_policies::tools::{Judge, RequestFacts, explain, format, lint};
use tollgate_policies::{Mode, Sources, compile};

use crate::support::{signals, sources};

fn codes(dir: &std::path::Path) -> Vec<&'static str> {
    Sources::read(dir).unwrap_err().0.iter().map(|problem| problem.code).collect()
}

#[test]
fn files_and_directories_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    Sources::starter().write(dir.path()).unwrap();
    assert!(Sources::read(dir.path()).is_ok());
    let policy = "permit (principal, action, resource);\n";
    fs::write(dir.path().join("access/large.cedar"), policy.repeat((1 << 20) / policy.len() + 1)).unwrap();
    assert_eq!(codes(dir.path()), ["TG0002"]);
    fs::remove_file(dir.path().join("access/large.cedar")).unwrap();

    let entity = |number: usize| format!(r#"{{"uid":{{"type":"Service","id":"a/b{number}"}}}}"#);
    let entities: Vec<_> = (0..1_000_000).map(entity).collect();
    fs::write(dir.path().join("entities.json"), format!("[{}]", entities.join(","))).unwrap();
    assert!(codes(dir.path()).contains(&"TG0002"), "a million entities are refused, not read");
}

/// The schema for editors is no part of what is read, so that writing it is no change of the policies.
#[test]
fn the_schema_for_editors_is_written_once_and_not_read() {
    let dir = tempfile::tempdir().unwrap();
    Sources::starter().write(dir.path()).unwrap();
    let sources = Sources::read(dir.path()).unwrap();
    let compiled = compile(&sources, &signals(), &Mode::default()).unwrap();
    assert!(Sources::write_schema(dir.path(), &compiled.schema_json).unwrap());
    assert!(!Sources::write_schema(dir.path(), &compiled.schema_json).unwrap());
    let text = fs::read_to_string(dir.path().join("access/schema.cedarschema.json")).unwrap();
    assert!(text.contains("p99_ms"));
    assert_eq!(Sources::read(dir.path()).unwrap(), sources);
}

#[test]
fn a_directory_that_vanishes_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let gone = dir.path().join("policies");
    assert_eq!(codes(&gone), ["TG0001"]);
    fs::write(&gone, "a file").unwrap();
    assert_eq!(codes(&gone), ["TG0001"]);
}

/// A file that is being written is refused at whatever byte it was cut: nothing half-written is ever in force, but for
/// cuts between policies, which leave whole policies.
#[test]
fn files_cut_at_any_byte_are_policies_or_refused() {
    let whole = Sources::starter();
    let text = &whole.access[0].text;
    let step = if cfg!(debug_assertions) { 23 } else { 1 };
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)).step_by(step) {
        let mut cut = whole.clone();
        cut.access[0].text.truncate(end);
        if let Ok(compiled) = compile(&cut, &signals(), &Mode::default()) {
            assert!(compiled.policies.iter().all(|policy| policy.text.ends_with(';')), "cut at {end}");
            let _ = lint(&cut, &compiled);
        }
        let _ = format("a.cedar", &text[..end]);
    }
    let mut cut = whole.clone();
    for end in (1..whole.entities.as_ref().unwrap().text.trim_end().len()).step_by(step) {
        cut.entities = whole.entities.clone();
        cut.entities.as_mut().unwrap().text.truncate(end);
        assert!(compile(&cut, &signals(), &Mode::default()).is_err(), "entities cut at {end}");
    }
}

/// The deepest and longest policies that are taken can be linted, formatted and explained too.
#[test]
fn what_is_taken_can_be_worked_on() {
    let deep = format!("{}context.path == \"/\"{}", "!(!(".repeat(18), "))".repeat(18));
    let long = vec!["context.path == \"/\""; 145].join(" && ");
    for condition in [deep, long] {
        let text = format!("@id(\"p\") permit (principal, action, resource) when {{ {condition} }};");
        let sources = sources(&text, "");
        let compiled = compile(&sources, &signals(), &Mode::default()).unwrap();
        assert_eq!(lint(&sources, &compiled).to_string(), "");
        assert!(format("a.cedar", &text).is_ok());
        let facts = RequestFacts { destination: "a/b".to_owned(), path: "/".to_owned(), ..RequestFacts::default() };
        assert!(explain(&Judge::new(&compiled).unwrap(), &facts, None).unwrap().is_allowed());
    }
}
