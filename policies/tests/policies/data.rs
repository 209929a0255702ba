//! Policies on data: what they permit, and what is wrong with one.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_policies::{Asked, DataPolicies, Mode, Person, SourceFile, Sources, compile};

use crate::support::sources;

const BASE: &str = "permit (principal, action, resource);";

fn with_data(text: &str) -> Sources {
    let file = SourceFile { path: "data/teams.cedar".to_owned(), text: text.to_owned() };
    Sources { data: Some(vec![file]), ..sources(BASE, "") }
}

fn data(text: &str) -> Arc<DataPolicies> {
    let compiled = compile(&with_data(text), &[], &Mode::default());
    compiled.unwrap_or_else(|problems| panic!("{problems}")).data.unwrap()
}

fn problems(text: &str) -> String {
    compile(&with_data(text), &[], &Mode::default()).unwrap_err().to_string()
}

#[test]
fn what_no_policy_permits_is_denied() {
    let policies = data(
        r#"
        permit (principal == Person::"ann", action == Action::"readTable", resource == Table::"requests");
        permit (principal in Team::"shop", action == Action::"readColumn", resource in Table::"requests")
        unless { resource.name == "user" };
        permit (principal in Team::"shop", action == Action::"readService", resource in Namespace::"shop");
        permit (principal, action == Action::"readService", resource in Group::"free")
        when { resource has tier && resource.tier == "free" };
        permit (principal, action == Action::"report", resource) when { principal.name == resource.name };
        "#,
    );
    let shop = ["shop".into()];
    let (ann, bob) = (Person { name: "ann", teams: &shop }, Person { name: "bob", teams: &[] });
    let check =
        |person, asked, expected: bool| assert_eq!(policies.may(person, asked), expected, "{person:?} {asked:?}");
    check(ann, Asked::Table("requests"), true);
    check(ann, Asked::Table("traffic"), false);
    check(bob, Asked::Table("requests"), false);
    check(ann, Asked::Column("requests", "path"), true);
    check(ann, Asked::Column("requests", "user"), false);
    check(ann, Asked::Column("traffic", "path"), false);
    check(bob, Asked::Column("requests", "path"), false);
    check(ann, Asked::Service("shop/anything"), true);
    check(ann, Asked::Service("bank/ledger"), false);
    // What `entities.json` says of the service counts.
    check(bob, Asked::Service("customers/free"), true);
    check(bob, Asked::Service("shop/search"), false);
    check(bob, Asked::Report("bob"), true);
    check(bob, Asked::Report("ann"), false);
    assert!(!policies.reads_every_service(ann) && !policies.reads_every_service(bob));
    assert_eq!(policies.policies()[1].origin, "data/teams.cedar:3");
}

#[test]
fn every_service_is_what_a_policy_without_conditions_permits_and_none_forbids() {
    let every = |text: &str| data(text).reads_every_service(Person { name: "ann", teams: &["ops".into()] });
    assert!(every("permit (principal in Team::\"ops\", action in Action::\"read\", resource);"));
    assert!(every("permit (principal, action == Action::\"readService\", resource is Service);"));
    assert!(every(
        "permit (principal, action, resource);\nforbid (principal, action == Action::\"readColumn\", resource);"
    ));
    assert!(!every("permit (principal == Person::\"bob\", action, resource);"));
    assert!(!every("permit (principal, action == Action::\"readTable\", resource);"));
    assert!(!every("permit (principal, action in Action::\"read\", resource) when { principal.name == \"ann\" };"));
    assert!(!every(
        "permit (principal, action, resource);\nforbid (principal, action, resource == Service::\"bank/ledger\");"
    ));
    assert!(!every("permit (principal, action == Action::\"readService\", resource in Namespace::\"shop\");"));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, expected) in [
        ("permit (principal, action == Action::\"raedTable\", resource);", "error[TG0106]"),
        ("permit (principal is Persn, action, resource);", "error[TG0105]"),
        (
            "permit (principal, action == Action::\"readTable\", resource)\nwhen { resource.nam == \"x\" };",
            "data/teams.cedar:2:",
        ),
        (
            "permit (principal, action == Action::\"readService\", resource)\nwhen { resource.signals.p99_ms < 3 };",
            "error[TG0104]",
        ),
        ("permit (principal, action resource);", "error[TG0101]"),
        (
            "@mode(\"shadow\") permit (principal, action, resource);",
            "data/teams.cedar:1:1: error[TG1002]: `@mode` means nothing",
        ),
        (
            "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") permit (principal, action, resource);",
            "error[TG0204]",
        ),
    ] {
        let found = problems(text);
        assert!(found.contains(expected), "{expected}:\n{found}");
    }
    let tables = BTreeMap::from([("requests".to_owned(), vec!["user".to_owned()])]);
    let unknown = data("permit (principal, action == Action::\"readColumn\", resource == Column::\"requests.usr\");");
    let unknown = unknown.unknown_names(&tables);
    assert_eq!(
        unknown[0].to_string(),
        "data/teams.cedar:1:72: error[TG1001]: there is no column `requests.usr`; help: did you mean `requests.user`?"
    );
}

#[test]
fn a_policy_that_fails_to_evaluate_denies() {
    let text = "permit (principal, action, resource);\n\
                forbid (principal, action == Action::\"readService\", resource)\n\
                when { resource has weight && resource.weight * 9223372036854775807 == 0 };";
    let policies = data(text);
    let ann = Person { name: "ann", teams: &[] };
    assert!(!policies.may(ann, Asked::Service("shop/search")), "its weight is 3, and the product overflows");
    assert!(policies.may(ann, Asked::Service("shop/other")));
}

#[test]
fn the_mesh_sees_nothing_of_them() {
    let with = compile(&with_data("permit (principal, action, resource);"), &[], &Mode::default()).unwrap();
    let without = compile(&sources(BASE, ""), &[], &Mode::default()).unwrap();
    assert_eq!(with.to_proto(), without.to_proto());
    assert!(without.data.is_none());
    let empty = Sources { data: Some(Vec::new()), ..sources(BASE, "") };
    let closed = compile(&empty, &[], &Mode::default()).unwrap().data.unwrap();
    assert!(!closed.may(Person { name: "ann", teams: &[] }, Asked::Table("requests")));
}
