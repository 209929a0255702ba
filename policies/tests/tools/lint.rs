use insta::assert_snapshot;
use tollgate_policies::tools::lint;
use tollgate_policies::{Mode, Sources, compile};

use crate::support::{compiled, signals, sources, starter};

fn warnings(access: &str, shaping: &str) -> String {
    let sources = sources(access, shaping);
    let compiled = compile(&sources, &signals(), &Mode::default()).unwrap_or_else(|problems| panic!("{problems}"));
    lint(&sources, &compiled).to_string()
}

#[test]
fn the_starter_policies_are_clean() {
    assert_eq!(lint(&Sources::starter(), &starter()).to_string(), "");
}

#[test]
fn finds_duplicates_and_what_is_covered() {
    assert_snapshot!(warnings(
        "@id(\"all-reads\") permit (principal, action in Action::\"read\", resource in Namespace::\"shop\");\n\
         @id(\"again\")\n  permit (principal, action in Action::\"read\", resource in Namespace::\"shop\");\n\
         @id(\"narrower\") permit (principal in Group::\"free\", action == Action::\"GET\", resource == Service::\"shop/search\") when { context.path == \"/\" };\n\
         @id(\"no\") forbid (principal in Group::\"customers\", action, resource == Service::\"shop/cart\");\n\
         @id(\"never\") permit (principal == Service::\"customers/free\", action in Action::\"write\", resource == Service::\"shop/cart\") when { context.is_mtls };\n\
         @id(\"some\") permit (principal in Group::\"batch\", action in Action::\"write\", resource == Service::\"shop/cart\");\n\
         @id(\"no-2\") forbid (principal == Service::\"customers/free\", action, resource == Service::\"shop/cart\") when { context.is_mtls };\n\
         @id(\"swapped\") forbid (principal, action, resource) when { context.path == \"/a\" && context.is_mtls };\n\
         @id(\"swapped-2\") forbid (principal, action, resource) when { context.is_mtls } unless { !(context.path == \"/a\") };\n\
         @id(\"observed\") @mode(\"shadow\") forbid (principal, action, resource);",
        "",
    ));
}

#[test]
fn finds_conditions_that_are_constant() {
    assert_snapshot!(warnings(
        "@id(\"a\") permit (principal, action, resource) when { 1 == 1 } unless { context.path != context.path };\n\
         @id(\"b\") forbid (principal, action, resource == Service::\"shop/cart\") when { context.path == \"/a\" && context.path == \"/b\" };\n\
         @id(\"c\") forbid (principal, action, resource == Service::\"shop/cart\") when { context.is_mtls } unless { context.is_mtls };\n\
         @id(\"d\") forbid (principal, action, resource == Service::\"shop/cart\") when { false };",
        "",
    ));
}

#[test]
fn finds_entities_that_nothing_mentions() {
    assert_snapshot!(warnings(
        "@id(\"a\") permit (principal == Service::\"customers/fre\", action, resource in Namespace::\"shpo\");\n\
         @id(\"b\") permit (principal is Service in Namespace::\"jobs\", action, resource == Service::\"shop/search\");",
        "",
    ));
}

#[test]
fn finds_limits_that_never_bind() {
    assert_snapshot!(warnings(
        "@id(\"a\") permit (principal, action, resource);",
        "@id(\"wide\") @limit(\"10/s\") permit (principal, action, resource in Namespace::\"shop\");\n\
         @id(\"narrow\") @limit(\"100/s\") @by(\"principal\") permit (principal, action, resource == Service::\"shop/cart\");\n\
         @id(\"tight\") @limit(\"5/s\") permit (principal, action, resource == Service::\"shop/cart\");\n\
         @id(\"same\") @limit(\"300/m\") @burst(\"5\") permit (principal, action, resource == Service::\"shop/cart\");\n\
         @id(\"per-path\") @limit(\"20/s\") @by(\"context.path\") permit (principal, action, resource in Group::\"batch\");\n\
         @id(\"per-caller\") @limit(\"10/s\") @by(\"principal\") permit (principal, action, resource in Group::\"batch\");",
    ));
}

/// Ten thousand policies are looked at in pairs only where one can cover the other.
#[test]
fn many_policies_take_little_time() {
    let policies = if cfg!(debug_assertions) { 600 } else { 10_000 };
    let policy = |number: usize| {
        let service = number % 500;
        format!(
            "@id(\"p{number}\") permit (principal == Service::\"a/b\", action, resource == Service::\"shop/s{service}\") when {{ context.path == \"/{number}\" }};\n"
        )
    };
    let text: String = (0..policies).map(policy).collect();
    let started = std::time::Instant::now();
    let compiled = compiled(&text, "");
    let since = started.elapsed();
    let started = std::time::Instant::now();
    let warnings = lint(&sources(&text, ""), &compiled);
    eprintln!("compiled in {since:?}, linted in {:?}", started.elapsed());
    assert!(warnings.0.iter().all(|warning| warning.code == "TG0604"));
}
