//! What `docs/policies.md` teaches is so.

use std::collections::BTreeSet;

use tollgate_policies::tools::{Judge, format, lint, run_cases};
use tollgate_policies::{Mode, SourceFile, Sources, compile};

use crate::support::{file, signals};

const PAGE: &str = include_str!("../../../docs/policies.md");

/// The examples of one kind, such as `cedar access`, one after the other.
fn examples(kind: &str) -> String {
    let fence = format!("```{kind}\n");
    let blocks = PAGE.split(&fence).skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_example_is_right() {
    let sources = Sources {
        access: vec![file("access/docs.cedar", &examples("cedar access"))],
        shaping: vec![file("shaping/docs.cedar", &examples("cedar shaping"))],
        entities: Some(file("entities.json", &examples("json entities"))),
        links: Some(file("links.json", &examples("json links"))),
        lists: vec![file("lists/bad-addresses.yaml", &examples("yaml lists"))],
        ..Sources::default()
    };
    let compiled = compile(&sources, &signals(), &Mode::default()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(compiled.warnings.to_string(), "");
    assert_eq!(lint(&sources, &compiled).to_string(), "");
    let tests = [file("tests/docs.yaml", &examples("yaml tests"))];
    let report =
        run_cases(&Judge::new(&compiled).unwrap(), &tests, true).unwrap_or_else(|problems| panic!("{problems}"));
    let failed: Vec<_> = report.cases.iter().filter(|case| !case.problems.is_empty()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let coverage = report.coverage.unwrap();
    // Of the four buckets only the one for free customers is not tried.
    assert!(coverage.policies_matched >= compiled.policies.len() - 2, "{coverage:#?}");
    for SourceFile { path, text } in sources.access.iter().chain(&sources.shaping) {
        format(path, text).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_starter_policies_pass_their_tests() {
    let sources = Sources::starter();
    let compiled = compile(&sources, &signals(), &Mode::default()).unwrap_or_else(|problems| panic!("{problems}"));
    let report = run_cases(&Judge::new(&compiled).unwrap(), &sources.tests, true)
        .unwrap_or_else(|problems| panic!("{problems}"));
    let failed: Vec<_> = report.cases.iter().filter(|case| !case.problems.is_empty()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let coverage = report.coverage.unwrap();
    assert_eq!(coverage.policies_matched, compiled.policies.len());
    assert_eq!(coverage.outcomes_seen, coverage.outcomes, "{coverage:#?}");
}

/// Every code that the sources can say is explained, and no other.
#[test]
fn every_code_is_explained() {
    let is_code = |text: &str| text.len() == 6 && text[2..].bytes().all(|byte| byte.is_ascii_digit());
    let codes = |text: &str| -> BTreeSet<String> {
        text.match_indices("TG")
            .filter_map(|(at, _)| text.get(at..at + 6))
            .filter(|code| is_code(code))
            .map(str::to_owned)
            .collect()
    };
    let explained = codes(PAGE.split("## Codes").nth(1).unwrap());
    let mut said = BTreeSet::new();
    for folder in ["src", "../engine/src"] {
        let mut open = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
                match entry.extension() {
                    None => open.push(entry),
                    Some(extension) if extension == "rs" => {
                        said.extend(codes(&std::fs::read_to_string(entry).unwrap()))
                    }
                    Some(_) => {}
                }
            }
        }
    }
    assert_eq!(explained, said);
}
