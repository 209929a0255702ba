//! What is remembered, for how long, and what says so.

use tollgate_api::v1;
use tollgate_policies::{Enforcer, Facts, Slices, Standpoint};

use crate::support::{ALL, compiled, enforcer, get, pass, said, signal, whole};

fn counts(enforcer: &Enforcer) -> (u64, u64, u64) {
    let report = enforcer.cache_report();
    (report.hits, report.misses, report.timed)
}

fn signals(enforcer: &Enforcer, signals: &[(&str, i64)]) {
    let version = enforcer.version() + 1;
    let signals = vec![signal("shop/search", signals)];
    enforcer.apply(&v1::Snapshot { version, signals, ..v1::Snapshot::default() }).unwrap();
}

#[test]
fn attributes_that_no_policy_reads_make_no_difference() {
    let enforcer = enforcer("permit (principal, action, resource) when { context.path like \"/a*\" };", "");
    for host in ["a", "b", "c"] {
        drop(enforcer.decide(&Facts { host, path: "/a", ..get("shop/search") }));
    }
    assert_eq!(counts(&enforcer), (2, 1, 0));
    drop(enforcer.decide(&Facts { path: "/b", ..get("shop/search") }));
    assert_eq!(counts(&enforcer), (2, 2, 0));
}

#[test]
fn policies_of_other_services_make_no_difference() {
    let access = "permit (principal, action, resource == Service::\"shop/search\");\n\
                  permit (principal, action, resource == Service::\"shop/cart\") when { context.path == \"/\" };";
    let enforcer = enforcer(access, "");
    for path in ["/", "/b", "/c"] {
        drop(enforcer.decide(&Facts { path, ..get("shop/search") }));
    }
    assert_eq!(counts(&enforcer), (3, 0, 0));
}

#[test]
fn only_signals_that_are_read_end_what_is_remembered() {
    let access =
        "permit (principal, action, resource) when { resource.signals has p99_ms && resource.signals.p99_ms < 100 };";
    let enforcer = enforcer(access, "");
    signals(&enforcer, &[("p99_ms", 50), ("error_pct", 1)]);
    assert!(said(&enforcer, &get("shop/search")).starts_with("allow"));
    signals(&enforcer, &[("p99_ms", 50), ("error_pct", 2)]);
    assert!(said(&enforcer, &get("shop/search")).starts_with("allow"));
    assert_eq!(counts(&enforcer), (1, 1, 0));
    signals(&enforcer, &[("p99_ms", 500), ("error_pct", 2)]);
    assert!(said(&enforcer, &get("shop/search")).starts_with("deny"));
    assert_eq!(counts(&enforcer), (1, 2, 0));
}

#[test]
fn what_reads_the_time_is_asked_each_time() {
    let access = "@id(\"night\") permit (principal, action, resource) when { context.time < datetime(\"1970-01-01T00:00:01Z\") };";
    let enforcer = enforcer(access, "");
    assert!(said(&enforcer, &get("shop/search")).starts_with("allow"));
    pass(&enforcer, 1_000);
    assert!(said(&enforcer, &get("shop/search")).starts_with("deny"));
    assert_eq!(counts(&enforcer), (0, 0, 2));
}

#[test]
fn policies_that_fail_are_named_and_counted() {
    let fails = "when { principal has weight && principal.weight + 9223372036854775807 > 0 };";
    let access = format!("@id(\"broken\") forbid (principal, action, resource) {fails}\n{ALL}");
    let shaping = format!("@id(\"limit\") @priority(\"batch\") permit (principal, action, resource) {fails}");
    let enforcer = enforcer(&access, &shaping);
    let verdict = enforcer.decide(&get("shop/search"));
    assert_eq!(verdict.failed.join(","), "broken,limit");
    assert_eq!(verdict.reason.to_string(), "forbid_error");
    drop(enforcer.decide(&get("shop/search")));
    assert_eq!(enforcer.failures(), [("broken".into(), 2), ("limit".into(), 2)]);
}

#[test]
fn the_attribute_that_ruins_the_cache_is_named() {
    let enforcer =
        enforcer("permit (principal, action, resource) when { context.path like \"/a*\" && !context.is_mtls };", "");
    for number in 0..500 {
        drop(enforcer.decide(&Facts { path: &format!("/a/{number}"), ..get("shop/search") }));
    }
    assert_eq!(enforcer.cache_report().ruined_by(), Some("context.path"));
}

#[test]
fn an_enforcer_of_one_service_answers_for_no_other() {
    let compiled = compiled(ALL, "");
    let standpoint = Standpoint {
        called: vec!["shop/search".to_owned()],
        calling: vec!["shop/search".to_owned()],
        calls: vec!["shop/cart".to_owned()],
    };
    let enforcer = Enforcer::at(tollgate_policies::Clock::paused(0), standpoint);
    enforcer.apply(&whole(compiled.to_proto())).unwrap();
    assert_eq!(said(&enforcer, &get("shop/search")), "allow permitted [all] []");
    assert_eq!(said(&enforcer, &get("shop/cart")), "deny no_permit [] []");
    assert!(enforcer.refuses_early(&get("shop/payments")).is_none());
}

/// What one policy reads of all headers does not hang on which other policies a proxy keeps.
#[test]
fn an_enforcer_of_one_service_sees_all_headers_that_any_policy_names() {
    let access = r#"permit (principal, action, resource);
        forbid (principal, action, resource == Service::"shop/search")
        when { (if context.is_mtls then context.headers else context.headers) has "x-b" };
        forbid (principal, action, resource == Service::"shop/cart") when { context.headers has "x-b" };"#;
    let shaping = r#"@limit("1/s") @by("context.headers[\"x-a\"]")
        permit (principal, action, resource == Service::"shop/cart");"#;
    let standpoint = Standpoint { called: vec!["shop/search".to_owned()], ..Standpoint::default() };
    let slices = Slices::new(&compiled(access, shaping), None).unwrap();
    let slice = slices.cut(Some(&standpoint));
    assert_eq!((slice.len(), slices.all().len()), (2, 4));
    let policies = slice.to_proto();
    let enforcer = Enforcer::at(tollgate_policies::Clock::paused(0), standpoint);
    let headers = [(std::sync::Arc::from("x-b"), "1".to_owned())];
    enforcer.apply(&whole(policies.clone())).unwrap();
    for version in 2..4 {
        assert_eq!(enforcer.headers().join(","), "x-a,x-b");
        assert!(said(&enforcer, &Facts { headers: &headers, ..get("shop/search") }).starts_with("deny forbidden"));
        assert!(said(&enforcer, &get("shop/search")).starts_with("allow"));
        let policies_delta = Some(v1::PoliciesDelta::clone(&slices.delta(&slice, &slice)));
        enforcer.apply(&v1::Snapshot { version, policies_delta, ..v1::Snapshot::default() }).unwrap();
    }
}

#[test]
fn a_change_of_other_policies_is_refused_whole() {
    let before = Slices::new(&compiled(ALL, ""), None).unwrap();
    let after = Slices::new(&compiled("@id(\"none\") forbid (principal, action, resource);", ""), None).unwrap();
    let enforcer = Enforcer::new(tollgate_policies::Clock::paused(0));
    let apply = |version, delta: v1::PoliciesDelta| {
        enforcer.apply(&v1::Snapshot { version, policies_delta: Some(delta), ..v1::Snapshot::default() })
    };
    enforcer.apply(&whole(before.all().to_proto())).unwrap();
    let delta = v1::PoliciesDelta::clone(&after.delta(before.all(), after.all()));
    let refused = |delta| apply(2, delta).unwrap_err().to_string();
    let other = v1::PoliciesDelta { from: "another".to_owned(), ..delta.clone() };
    assert_eq!(refused(other), "snapshot 2: a change of policies other than those in force");
    for (at, removed) in [(0, 2), (2, 0), (u32::MAX, u32::MAX)] {
        let access = vec![v1::Splice { at, removed, added: Vec::new() }];
        assert!(refused(v1::PoliciesDelta { access, ..delta.clone() }).contains("no policies"), "{at} {removed}");
    }
    let twice = vec![v1::Splice { at: 0, removed: 1, added: Vec::new() }; 2];
    assert!(refused(v1::PoliciesDelta { access: twice, ..delta.clone() }).contains("no policies 0 to 1"));
    assert!(said(&enforcer, &get("shop/search")).starts_with("allow"));
    apply(2, delta).unwrap();
    assert!(said(&enforcer, &get("shop/search")).starts_with("deny forbidden"));
}

/// An edit reaches those that it concerns, and to all others nothing has changed.
#[test]
fn a_slice_changes_only_by_what_can_matter_there() {
    let stand = |called: &str, calls: &[&str]| {
        let (called, calls) = (vec![called.to_owned()], calls.iter().map(ToString::to_string).collect());
        Standpoint { calling: called.clone(), called, calls }
    };
    let access = |search: &str, cart: &str| {
        format!(
            "permit (principal, action, resource == Service::\"shop/search\") when {{ {search} }};\n\
                 forbid (principal in Group::\"free\", action, resource == Service::\"shop/cart\") when {{ {cart} }};"
        )
    };
    let slices = |search: &str, cart: &str| Slices::new(&compiled(&access(search, cart), ""), None).unwrap();
    let changed = |now: &Slices, standpoint: &Standpoint| {
        let before = slices("true", "context.path == \"/\"");
        before.cut(Some(standpoint)).digest() != now.cut(Some(standpoint)).digest()
    };
    let search = slices("context.is_mtls", "context.path == \"/\"");
    assert!(changed(&search, &stand("shop/search", &[])) && changed(&search, &stand("odd/one", &["shop/search"])));
    assert!(!changed(&search, &stand("shop/cart", &[])) && !changed(&search, &stand("odd/one", &["shop/cart"])));
    // Of those that call, only the ones whose callers it names, and only where they know what the called side will say.
    let cart = slices("true", "context.path == \"/other\"");
    assert!(changed(&cart, &stand("shop/cart", &[])) && changed(&cart, &stand("customers/free", &["shop/cart"])));
    assert!(!changed(&cart, &stand("customers/paying", &["shop/cart"])) && !changed(&cart, &stand("shop/search", &[])));
    let unknown = slices("true", "context.is_mtls && context.headers has \"x-new\"");
    let left = unknown.cut(Some(&stand("customers/free", &["shop/cart"])));
    assert!(left.is_empty() && unknown.cut(Some(&stand("shop/cart", &[]))).len() == 1);
}
