//! What policies see of lists.

use std::sync::Arc;

use tollgate_api::v1;
use tollgate_policies::{Clock, Compiled, Enforcer, Facts, Mode, Slices, SourceFile, Standpoint, compile};

use crate::support::{ALL, get, said, signals, sources, whole};

const DECLARED: &[(&str, &str)] = &[
    ("bad", "kind: cidr\nfile: bad.txt\n"),
    ("tenants", "kind: exact\nof: headers.x-tenant\nfile: tenants.txt\n"),
    ("paths", "kind: prefix\nof: path\nfile: paths.txt\n"),
];

fn try_compile(access: &str) -> Result<Compiled, tollgate_policies::Diagnostics> {
    let list =
        |(name, text): &(&str, &str)| SourceFile { path: format!("lists/{name}.yaml"), text: (*text).to_owned() };
    let lists = DECLARED.iter().map(list).collect();
    compile(&tollgate_policies::Sources { lists, ..sources(access, "") }, &signals(), &Mode::default())
}

fn list(name: &str, entries: &str) -> v1::List {
    let (kind, of) = match name {
        "bad" => ("cidr", "source_address"),
        "tenants" => ("exact", "headers.x-tenant"),
        _ => ("prefix", "path"),
    };
    let digest = format!("{name} {entries}");
    v1::List {
        name: name.to_owned(),
        digest,
        kind: kind.to_owned(),
        of: of.to_owned(),
        entries: entries.as_bytes().to_vec().into(),
        held: false,
    }
}

fn enforcer(access: &str, lists: Vec<v1::List>) -> Enforcer {
    let enforcer = Enforcer::new(Clock::paused(0));
    let policies = try_compile(access).unwrap_or_else(|problems| panic!("{problems}")).to_proto();
    enforcer.apply(&v1::Snapshot { lists, ..whole(policies) }).unwrap();
    enforcer
}

fn push(enforcer: &Enforcer, lists: Vec<v1::List>) -> Result<u64, tollgate_policies::ApplyError> {
    enforcer.apply(&v1::Snapshot { version: enforcer.version() + 1, lists, ..v1::Snapshot::default() })
}

#[test]
fn a_list_that_changes_changes_what_is_remembered() {
    let access = format!(
        "{ALL}\n@id(\"listed\") forbid (principal, action, resource) when {{ context.lists.contains(\"bad\") }};"
    );
    let enforcer = enforcer(&access, Vec::new());
    let from = |address: [u8; 4]| Facts { source_address: Some(address.into()), ..get("shop/search") };
    let is_denied = |address| said(&enforcer, &from(address)).starts_with("deny forbidden [listed]");
    assert!(!is_denied([10, 0, 0, 1]), "nothing is on a list that was never fetched");
    push(&enforcer, vec![list("bad", "10.0.0.0/8\n")]).unwrap();
    assert!(is_denied([10, 0, 0, 1]) && is_denied([10, 0, 0, 2]) && !is_denied([192, 0, 2, 1]));
    // Two answers for any number of addresses.
    let report = enforcer.cache_report();
    assert_eq!((report.hits, report.misses), (2, 2));
    push(&enforcer, vec![list("bad", "192.0.2.0/24\n")]).unwrap();
    assert!(!is_denied([10, 0, 0, 1]) && is_denied([192, 0, 2, 1]));
    let gone = v1::List { name: "bad".to_owned(), ..v1::List::default() };
    push(&enforcer, vec![gone]).unwrap();
    assert!(!is_denied([192, 0, 2, 1]));
    assert!(enforcer.refuses_early(&from([10, 0, 0, 1])).is_none(), "the caller's side cannot know");
}

#[test]
fn sets_of_names_and_all_of_them() {
    let access = "@id(\"any\") permit (principal, action, resource) when { context.lists.containsAny([\"tenants\", \"paths\"]) };\n\
                  @id(\"both\") permit (principal, action, resource) when { context.lists.containsAll([\"tenants\", \"paths\"]) };\n\
                  @id(\"none\") permit (principal, action, resource) when { context.lists.isEmpty() };";
    let enforcer = enforcer(access, vec![list("tenants", "acme\n"), list("paths", "/admin\n"), list("bad", "::1\n")]);
    assert_eq!(enforcer.headers().join(","), "x-tenant", "what is looked up in a list is asked of the request");
    let acme = [(Arc::from("x-tenant"), "acme".to_owned())];
    let ask = |path, headers| said(&enforcer, &Facts { path, headers, ..get("shop/search") });
    assert_eq!(ask("/", &[]), "allow permitted [none] []");
    assert_eq!(ask("/", &acme), "allow permitted [any] []");
    assert_eq!(ask("/admin/x", &[]), "allow permitted [any] []");
    assert_eq!(ask("/admin/x", &acme), "allow permitted [any,both] []");
    let local = Facts { source_address: Some([0, 0, 0, 0, 0, 0, 0, 1].into()), ..get("shop/search") };
    assert_eq!(said(&enforcer, &local), "deny no_permit [] []", "on a list that no policy names");
}

#[test]
fn lists_travel_with_the_slices_that_read_them() {
    let access = "permit (principal, action, resource == Service::\"shop/search\") when { context.lists.contains(\"bad\") };\n\
                  permit (principal, action, resource == Service::\"shop/cart\") when { context.lists.contains(\"paths\") };\n\
                  permit (principal, action, resource == Service::\"shop/all\") when { context.lists == [\"bad\"] };";
    let slices = Slices::new(&try_compile(access).unwrap(), None).unwrap();
    let lists = |service: &str| {
        let standpoint = Standpoint { called: vec![service.to_owned()], ..Standpoint::default() };
        slices.cut(Some(&standpoint)).lists().join(",")
    };
    assert_eq!([lists("shop/search"), lists("shop/cart"), lists("shop/none")], ["bad", "paths", ""]);
    assert_eq!(lists("shop/all"), "bad,paths,tenants");
}

#[test]
fn a_whole_snapshot_keeps_what_it_says_is_held() {
    let access = "permit (principal, action, resource) when { context.lists.contains(\"paths\") };";
    let enforcer = enforcer(access, vec![list("paths", "/a\n"), list("bad", "::1\n")]);
    let policies = try_compile(access).unwrap().to_proto();
    let held = |digest: &str| v1::List {
        name: "paths".to_owned(),
        digest: digest.to_owned(),
        held: true,
        ..v1::List::default()
    };
    let whole = |digest: &str| v1::Snapshot { version: 9, lists: vec![held(digest)], ..whole(policies.clone()) };
    let error = enforcer.apply(&whole("another")).unwrap_err().to_string();
    assert_eq!(error, "snapshot 9: list `paths`: another one is held");
    enforcer.apply(&whole("paths /a\n")).unwrap();
    let held: Vec<_> = enforcer.held_lists().into_iter().map(|list| list.name).collect();
    assert_eq!(held, ["paths"]);
    assert!(said(&enforcer, &Facts { path: "/a/b", ..get("shop/search") }).starts_with("allow"));
    assert!(
        push(&enforcer, vec![list("bad", "not an address")]).unwrap_err().to_string().contains("list `bad`: line 1")
    );
}

#[test]
fn names_are_checked_and_lists_that_nothing_reads_said() {
    let of_list =
        |name: &str| format!("permit (principal, action, resource) when {{ context.lists.contains(\"{name}\") }};");
    let problems = try_compile(&of_list("pahts")).unwrap_err();
    let unknown = problems.0.iter().find(|problem| problem.code == "TG0804").unwrap();
    assert_eq!(unknown.message, "unknown list `pahts`");
    assert_eq!((unknown.line, unknown.help.as_deref()), (1, Some("did you mean `paths`?")));
    let warnings = try_compile(&of_list("paths")).unwrap().warnings;
    let unread: Vec<_> = warnings.0.iter().map(|warning| (warning.code, warning.file.as_str())).collect();
    assert_eq!(unread, [("TG0803", "lists/bad.yaml"), ("TG0803", "lists/tenants.yaml")]);
    // What was found right before is looked at again when the list is declared no more.
    let without = compile(&sources(&of_list("paths"), ""), &signals(), &Mode::default()).unwrap_err();
    assert!(without.0.iter().any(|problem| problem.code == "TG0804"), "{without}");
}
