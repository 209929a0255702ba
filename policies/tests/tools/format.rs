use proptest::prelude::*;
use tollgate_policies::Sources;
use tollgate_policies::tools::format;

fn formatted(text: &str) -> String {
    format("access/base.cedar", text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn keeps_comments_annotations_and_paragraphs() {
    let text = "// head of the file\n\n\n\n   // about the first\n@id( \"a\" )@description(\"x; y\")  permit(principal,action,resource)   // behind\n\
                when{context.path==\"/\"// inside\n&&context.method==\"GET\"};\n// about the second\nforbid (principal, action, resource); // at the end\n\n// tail\n";
    insta::assert_snapshot!(formatted(text));
}

#[test]
fn leaves_alone_what_asks_for_it() {
    let text = "// @formatter:off\npermit(principal,action,resource);";
    assert_eq!(formatted(text), text);
    assert_eq!(formatted(""), "");
    assert_eq!(formatted("// only a comment"), "// only a comment\n");
}

#[test]
fn says_all_that_is_wrong_at_its_place() {
    let error =
        format("access/base.cedar", "permit (principal);\n\n  forbid (principal, action resource);").unwrap_err();
    insta::assert_snapshot!(error.to_string());
    let deep =
        format!("permit (principal, action, resource) when {{ {}true{} }};", "(".repeat(5_000), ")".repeat(5_000));
    assert!(format("a.cedar", &deep).unwrap_err().to_string().contains("TG0109"));
}

#[test]
fn the_starter_policies_are_formatted() {
    for file in Sources::starter().access.iter().chain(&Sources::starter().shaping) {
        assert_eq!(formatted(&file.text), file.text, "{}", file.path);
    }
}

const PARTS: &[&str] = &[
    "// note\n",
    "\n\n",
    "@id(\"a\")",
    "permit",
    "forbid",
    "(principal, action, resource)",
    "(principal in Group::\"g\",\n action, resource)",
    "when { true }",
    "when { // c\n context.path like \"a*\" }",
    "unless { [1, 2].contains(3) || // or\n !(1 < 2) }",
    ";",
    ";\n",
    "; // end\n",
    "é",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 20_000 }))]

    #[test]
    fn what_is_formatted_stays_as_it_is(parts in proptest::collection::vec(proptest::sample::select(PARTS), 0..24)) {
        if let Ok(once) = format("a.cedar", &parts.join(" ")) {
            prop_assert_eq!(format("a.cedar", &once).unwrap(), once);
        }
    }

    #[test]
    fn any_text_is_formatted_or_refused(text in any::<String>()) {
        let _ = format("a.cedar", &text);
    }
}
