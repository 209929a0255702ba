//! What is remembered, for how long, and what says so.

use tollgate_api::v1;
use tollgate_policies::{Enforcer, Facts, Standpoint};

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
    let policies = compiled(access, shaping).to_proto();
    let standpoint = Standpoint { called: vec!["shop/search".to_owned()], ..Standpoint::default() };
    let enforcer = Enforcer::at(tollgate_policies::Clock::paused(0), standpoint);
    let headers = [(std::sync::Arc::from("x-b"), "1".to_owned())];
    enforcer.apply(&whole(policies.clone())).unwrap();
    for version in 2..4 {
        assert_eq!(enforcer.headers().join(","), "x-a,x-b");
        assert!(said(&enforcer, &Facts { headers: &headers, ..get("shop/search") }).starts_with("deny forbidden"));
        assert!(said(&enforcer, &get("shop/search")).starts_with("allow"));
        // Policies that were left out before are not read again.
        let policies = Some(policies.clone());
        enforcer.apply(&v1::Snapshot { version, policies, ..v1::Snapshot::default() }).unwrap();
    }
}
