use insta::assert_snapshot;
use tollgate_policies::tools::{Judge, run_cases, run_cedar_tests};

use crate::support::{compiled, file, json, judge, starter};

const YAML: &str = r#"
context: { host: shop, path: [/, /items] }
signals: { shop/search: { p99_ms: 10 } }
cases:
  - name: customers read
    principal: Group::"customers"
    action: read
    resource: [shop/search]
    expect: allow
    policies: [customers-search]

  - name: nobody else does
    principal: [anonymous, jobs/other]
    action: [GET, POST]
    resource: shop/search
    expect: deny
    reason: no_permit
    policies: []

  - name: batch yields
    principal: jobs/reindex
    action: GET
    resource: shop/search
    context: { path: / }
    signals: { shop/search: { p99_ms: 900 } }
    expect: deny
    reason: forbidden
    policies: [batch-yields]

  - name: batch waits
    principal: jobs/reindex
    action: GET
    resource: shop/search
    expect: allow
    limits: [batch-waits]
"#;

#[test]
fn expands_every_combination() {
    let report = run_cases(&Judge::new(&starter()).unwrap(), &[file("tests/shop.yaml", YAML)], true).unwrap();
    let failed: Vec<_> = report.cases.iter().filter(|case| !case.problems.is_empty()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(report.passed, 16 + 8 + 1 + 2);
    let coverage = report.coverage.unwrap();
    insta::assert_snapshot!(json(&coverage.policies.iter().find(|policy| &*policy.id == "batch-yields").unwrap()));
    assert_eq!((coverage.policies_matched, coverage.policies.len()), (4, 10));
}

#[test]
fn says_what_is_not_as_expected() {
    let yaml = "cases:\n  - { principal: customers/free, action: GET, resource: shop/search, expect: deny, limits: [l], policies: [] }\n  - { principal: customers/free, action: GET, resource: shop/cart, expect: allow }\n";
    let judge = judge(
        "@id(\"p\") permit (principal, action, resource == Service::\"shop/search\");",
        "@id(\"l\") @limit(\"1/s\") permit (principal, action, resource == Service::\"shop/cart\");",
    );
    let report = run_cases(&judge, &[file("tests/a.yaml", yaml)], false).unwrap();
    assert_eq!((report.passed, report.failed), (0, 2));
    insta::assert_snapshot!(json(&report.cases));
}

#[test]
fn refuses_what_it_cannot_read_at_its_place() {
    let judge = judge("@id(\"p\") permit (principal, action, resource);", "");
    let said = |yaml: &str| match run_cases(&judge, &[file("tests/a.yaml", yaml)], false) {
        Ok(report) => format!("{} passed", report.passed),
        Err(problems) => problems.to_string(),
    };
    let case = |rest: &str| {
        said(&format!("cases:\n  - {{ principal: a/b, action: GET, resource: c/d, expect: allow, {rest} }}\n"))
    };
    let all = [
        said("cases: ["),
        said("cases:\n  - principal: a/b\n    actoin: GET\n"),
        said("cases:\n\n  - { principal: ab, action: GET, resource: c/d, expect: allow }\n"),
        said("cases:\n  - { principal: Group::\"nobody\", action: GET, resource: c/d, expect: allow }\n"),
        said("cases:\n  - { principal: a/b, action: get, resource: c/d, expect: allow }\n"),
        said("cases:\n  - { principal: a/b, action: GET, resource: c/d, expect: limit }\n"),
        case("context: { pth: / }"),
        case("context: { source_address: here }"),
        case("context: { time: never }"),
        case("policies: [q]"),
        case("signals: { c/d: { p99ms: 5 } }"),
        case(&format!("context: {{ path: [{}] }}", vec!["/"; 20_000].join(","))),
        case(""),
    ];
    assert_snapshot!(all.join("\n---\n"));
}

#[test]
fn runs_the_tests_of_cedars_own_command_line() {
    let compiled = compiled(
        "@id(\"p\") permit (principal in Group::\"free\", action in Action::\"read\", resource) when { context.path == \"/\" };",
        "",
    );
    let entities = r#"[{ "uid": { "type": "Service", "id": "a/b" }, "attrs": {}, "parents": [{ "type": "Group", "id": "free" }] }]"#;
    let tests = format!(
        r#"[{{ "name": "yes", "request": {{ "principal": "Service::\"a/b\"", "action": "Action::\"GET\"", "resource": "Service::\"c/d\"", "context": {{ "path": "/" }} }},
              "entities": "entities.json", "decision": "allow", "reason": ["p"], "num_errors": 0 }},
            {{ "name": "no", "request": {{ "principal": "Service::\"x/y\"", "action": "Action::\"GET\"", "resource": "Service::\"c/d\"", "context": {{ "path": "/" }} }},
              "entities": {entities}, "decision": "deny", "reason": [], "num_errors": 0 }},
            {{ "name": "wrong", "request": {{ "principal": "Service::\"a/b\"", "action": "Action::\"GET\"", "resource": "Service::\"c/d\"" }},
              "entities": {entities}, "decision": "allow", "reason": ["q"], "num_errors": 0 }}]"#
    );
    let files = [file("tests/cedar.json", &tests), file("tests/entities.json", entities)];
    insta::assert_snapshot!(json(&run_cedar_tests(&compiled, &files).unwrap()));
    assert!(run_cedar_tests(&compiled, &[file("tests/x.json", "[{")]).is_err());
}
