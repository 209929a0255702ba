use tollgate_api::v1;
use tollgate_attributes::{Decision, Reason};
use tollgate_policies::{Clock, Enforcer, Facts, Mode, compile};

use crate::support::{ALL, compiled, enforcer, get, pass, said, signal, signals, sources, whole};

#[test]
fn denies_all_before_the_first_snapshot() {
    let enforcer = Enforcer::new(Clock::paused(0));
    assert_eq!(said(&enforcer, &get("shop/search")), "deny no_snapshot [] []");
    assert_eq!((enforcer.version(), enforcer.refuses_early(&get("shop/search")).is_none()), (0, true));
}

#[test]
fn a_permit_grants_a_forbid_refuses_and_nothing_denies() {
    let enforcer = enforcer(
        r#"@id("reads") permit (principal in Group::"customers", action in Action::"read", resource in Namespace::"shop");
           @id("free") permit (principal in Group::"free", action, resource) when { context.path like "/free/*" };
           @id("no-admin") forbid (principal, action, resource) when { context.path like "*admin*" };"#,
        "",
    );
    let free = get("shop/search");
    assert_eq!(said(&enforcer, &free), "allow permitted [reads] []");
    assert_eq!(said(&enforcer, &Facts { path: "/free/x", ..free }), "allow permitted [reads,free] []");
    assert_eq!(said(&enforcer, &Facts { path: "/free/admin", ..free }), "deny forbidden [no-admin] []");
    assert_eq!(said(&enforcer, &Facts { method: "POST", ..free }), "deny no_permit [] []");
    assert_eq!(said(&enforcer, &Facts { method: "BREW", ..free }), "deny no_permit [] []");
    assert_eq!(said(&enforcer, &Facts { source: "", ..free }), "deny no_permit [] []");
    assert_eq!(said(&enforcer, &Facts { source: "a/b", ..free }), "deny no_permit [] []");
    assert_eq!(said(&enforcer, &get("unheard/of")), "deny no_permit [] []");
}

#[test]
fn reads_every_attribute_of_the_context() {
    let check = |condition: &str, facts: Facts<'_>, expected: bool| {
        let enforcer = enforcer(&format!("permit (principal, action, resource) when {{ {condition} }};"), "");
        let is_allowed = enforcer.decide(&facts).decision == Decision::Allow;
        assert_eq!(is_allowed, expected, "{condition}");
    };
    let facts = get("shop/search");
    let headers = [("x-tenant".into(), "acme".to_owned())];
    check("context.method == \"GET\" && context.host == \"shop\"", facts, true);
    check("context has route && context.route == \"/{id}\"", Facts { route: "/{id}", ..facts }, true);
    check("context has route", facts, false);
    check("context.scheme == \"https\"", Facts { scheme: "https", ..facts }, true);
    check("context.protocol == \"http/2\"", Facts { protocol: "http/2", ..facts }, true);
    check("context.user_agent like \"curl/*\"", Facts { user_agent: "curl/8", ..facts }, true);
    check("context.user_agent like \"curl/*\"", facts, false);
    check("context.is_mtls", Facts { is_mtls: true, ..facts }, true);
    let in_ten = "context has source_address && context.source_address.isInRange(ip(\"10.0.0.0/8\"))";
    check(in_ten, Facts { source_address: "10.1.2.3".parse().ok(), ..facts }, true);
    check(in_ten, Facts { source_address: "::ffff:10.1.2.3".parse().ok(), ..facts }, true);
    check(in_ten, Facts { source_address: "11.1.2.3".parse().ok(), ..facts }, false);
    check(in_ten, facts, false);
    check("context.time < datetime(\"1970-01-01T00:00:01Z\")", facts, true);
    check(
        "context.headers has \"x-tenant\" && context.headers[\"x-tenant\"] == \"acme\"",
        Facts { headers: &headers, ..facts },
        true,
    );
    check("context.headers has \"x-tenant\"", facts, false);
    let grown = "context has user && context.user has age && context.user.age > 17";
    check(grown, Facts { user: "ann", ..facts }, true);
    check(grown, Facts { user: "bob", ..facts }, false);
    check("context has user && context.user in Group::\"staff\"", Facts { user: "ann", ..facts }, true);
    check("principal has tier && principal.tier == \"free\"", facts, true);
    check("principal has tier && principal.tier == \"free\"", Facts { source: "", ..facts }, false);
    check("resource has owner && resource.owner in Group::\"staff\"", facts, true);
    check("User::\"ann\" has age && User::\"ann\".age == 40", facts, true);
    check("principal in Group::\"batch\"", Facts { source: "jobs/unlisted", ..facts }, true);
    check("Action::\"GET\" in Action::\"read\" && action in Action::\"read\"", facts, true);
    check("context has claims", facts, false);
}

#[test]
fn names_the_headers_that_policies_read() {
    let enforcer = enforcer(
        "permit (principal, action, resource) when { context.headers has \"x-b\" };",
        "@limit(\"1/s\") @by(\"context.headers[\\\"x-a\\\"], context.route\") permit (principal, action, resource);",
    );
    assert_eq!(enforcer.headers().join(","), "x-a,x-b");
    let expected =
        ["principal", "action", "resource", "context.headers[\"x-b\"]", "context.headers[\"x-a\"]", "context.route"];
    assert_eq!(enforcer.depends_on(), expected);
}

#[test]
fn a_forbid_that_fails_denies_and_a_permit_that_fails_does_not_grant() {
    let fails = "when { context.path == \"/\" && 9223372036854775807 + principal.weight > 0 }";
    let guarded = fails.replace("&& 9", "&& principal has weight && 9");
    let enforcer_of = |effect: &str| {
        enforcer(&format!("{ALL} @id(\"broken\") {effect} (principal, action, resource) {guarded};"), "")
    };
    assert_eq!(said(&enforcer_of("forbid"), &get("shop/search")), "deny forbid_error [broken] []");
    assert_eq!(said(&enforcer_of("permit"), &get("shop/search")), "allow permitted [all] []");
    assert_eq!(said(&enforcer_of("@mode(\"shadow\") forbid"), &get("shop/search")), "allow permitted [all] [broken]");
}

#[test]
fn shadow_only_says() {
    let enforcer = enforcer(
        &format!(
            "{ALL} @id(\"later\") @mode(\"shadow\") forbid (principal, action, resource) when {{ context.path == \"/\" }};"
        ),
        "@id(\"cap\") @mode(\"shadow\") @limit(\"1/s\") permit (principal, action, resource);",
    );
    let facts = get("shop/search");
    assert_eq!(said(&enforcer, &facts), "allow permitted [all] [later]");
    assert_eq!(said(&enforcer, &facts), "allow permitted [all] [later,cap]");
    assert_eq!(said(&enforcer, &Facts { path: "/x", ..facts }), "allow permitted [all] [cap]");
    assert!(enforcer.decide(&facts).limit.is_none(), "callers are not told of limits in shadow mode");
}

#[test]
fn observing_refuses_nothing() {
    let shaping = "@id(\"cap\") @limit(\"1/s\") @priority(\"batch\") permit (principal, action, resource);";
    let access = "@id(\"reads\") permit (principal, action in Action::\"read\", resource);
                  @id(\"never\") forbid (principal, action, resource) when { context.path == \"/never\" };";
    let mode = Mode { observe: false, observed_services: vec!["shop/search".to_owned()] };
    let enforcer = Enforcer::new(Clock::paused(0));
    enforcer.apply(&whole(compile(&sources(access, shaping), &signals(), &mode).unwrap().to_proto())).unwrap();
    let facts = get("shop/search");
    assert_eq!(said(&enforcer, &facts), "allow permitted [reads] []");
    assert_eq!(said(&enforcer, &facts), "allow observed [reads] [cap]");
    assert_eq!(said(&enforcer, &Facts { method: "PUT", ..facts }), "allow observed [] [no_permit]");
    assert_eq!(said(&enforcer, &Facts { path: "/never", ..facts }), "allow observed [] [never]");
    assert_eq!(said(&enforcer, &Facts { method: "PUT", ..get("shop/cart") }), "deny no_permit [] []");
    assert!(enforcer.refuses_early(&Facts { method: "PUT", ..facts }).is_none());
}

#[test]
fn signals_change_decisions_at_once() {
    let enforcer = enforcer(
        &format!(
            "{ALL} @id(\"slow\") forbid (principal, action, resource) when {{ resource.signals has p99_ms && resource.signals.p99_ms > 400 }};"
        ),
        "",
    );
    let mut version = 1;
    let mut push = |signals: v1::EntitySignals| {
        version += 1;
        enforcer.apply(&v1::Snapshot { version, signals: vec![signals], ..v1::Snapshot::default() }).unwrap();
        said(&enforcer, &get("shop/search"))
    };
    assert_eq!(push(signal("shop/search", &[("p99_ms", 401)])), "deny forbidden [slow] []");
    assert_eq!(push(signal("shop/other", &[("p99_ms", 1)])), "deny forbidden [slow] []");
    assert_eq!(push(signal("shop/search", &[("p99_ms", 400)])), "allow permitted [all] []");
    assert_eq!(push(signal("shop/search", &[("p99_ms", 500)])), "deny forbidden [slow] []");
    assert_eq!(push(signal("shop/search", &[("error_pct", 5)])), "allow permitted [all] []");
    assert_eq!(push(signal("shop/search", &[])), "allow permitted [all] []");
}

#[test]
fn refuses_early_only_what_is_sure() {
    let check = |access: &str, expected: Option<Reason>| {
        let verdict = enforcer(access, "").refuses_early(&get("shop/search"));
        assert_eq!(verdict.map(|verdict| verdict.reason), expected, "{access}");
    };
    let forbid = |condition: &str| format!("{ALL} forbid (principal, action, resource) when {{ {condition} }};");
    check(ALL, None);
    check("permit (principal, action == Action::\"PUT\", resource);", Some(Reason::NoPermit));
    check("permit (principal, action, resource) when { context.path == \"/x\" };", Some(Reason::NoPermit));
    check("permit (principal, action, resource) when { context.is_mtls };", None);
    check("permit (principal, action, resource) when { context has user };", None);
    check(&forbid("context.path == \"/\""), Some(Reason::Forbidden));
    check(&forbid("!context.is_mtls"), None);
    check(
        &forbid("!context.is_mtls")
            .replace(ALL, "permit (principal, action, resource) when { context.path == \"/\" };"),
        None,
    );
    check(&forbid("!(context has source_address)"), None);
    check(&forbid("!(context.headers has \"x-tenant\")"), Some(Reason::Forbidden));
    check(&forbid("!(context.headers has \"x-tenant\") && !(context.headers has via)"), None);
    check(&forbid("!((if context.path == \"/\" then context.headers else context.headers) has \"x-tenant\")"), None);
    for header in ["via", "host", "traceparent", "x-request-id", "x-forwarded-for", "x-forwarded-proto", "te"] {
        let condition = format!("context.headers has \"{header}\"");
        check(&forbid(&format!("!({condition})")), None);
        check(&format!("permit (principal, action, resource) when {{ {condition} }};"), None);
    }
}

#[test]
fn refuses_early_only_on_what_the_engine_said_lately() {
    let early = |access: &str, silent_ms| {
        let enforcer = enforcer(access, "");
        pass(&enforcer, 50_000);
        enforcer.heard();
        pass(&enforcer, silent_ms);
        enforcer.refuses_early(&get("shop/search")).map(|verdict| verdict.reason)
    };
    let forbid = |condition: &str| format!("{ALL} forbid (principal, action, resource) when {{ {condition} }};");
    let permit = |condition: &str| format!("permit (principal, action, resource) when {{ {condition} }};");
    let (slow, path) = ("!(resource.signals has p99_ms)", "context.path == \"/\"");
    let busy = "principal.signals has p99_ms && principal.signals.p99_ms > 5";
    for (access, reason, lasts_ms) in [
        (forbid(path), Reason::Forbidden, 10_000),
        (permit("context.path == \"/x\""), Reason::NoPermit, 10_000),
        (forbid(slow), Reason::Forbidden, 3_000),
        (permit(busy), Reason::NoPermit, 3_000),
    ] {
        assert_eq!(early(&access, lasts_ms), Some(reason), "{access}");
        assert_eq!(early(&access, lasts_ms + 1), None, "{access}");
    }
    let both = format!("{} forbid (principal, action, resource) when {{ {path} }};", permit(busy));
    assert_eq!(early(&both, 3_001), Some(Reason::Forbidden), "whatever signals are now");
}

#[test]
fn carries_the_version_that_decided() {
    let enforcer = enforcer(ALL, "");
    assert_eq!(enforcer.decide(&get("a/b")).snapshot, 1);
    enforcer.apply(&v1::Snapshot { version: 7, ..v1::Snapshot::default() }).unwrap();
    assert_eq!(enforcer.decide(&get("a/b")).snapshot, 7);
}

#[test]
fn starter_policies_do_what_the_demo_shows() {
    let starter = compile(&tollgate_policies::Sources::starter(), &signals(), &Mode::default()).unwrap();
    let enforcer = Enforcer::new(Clock::paused(0));
    enforcer.apply(&whole(starter.to_proto())).unwrap();
    let check = |source, destination, method, expected: &str| {
        let facts = Facts { source, destination, method, user_agent: "curl/8", ..Facts::default() };
        assert_eq!(said(&enforcer, &facts), expected, "{source} {method} {destination}");
    };
    check("customers/paying", "shop/storefront", "GET", "allow permitted [customers-shop] []");
    check("customers/free", "shop/storefront", "POST", "allow permitted [customers-shop] [pin-user-agents]");
    check("customers/free", "shop/search", "GET", "allow permitted [customers-search] []");
    check("jobs/reindex", "shop/search", "GET", "allow permitted [batch-reads-search] []");
    check("jobs/reindex", "shop/search", "PUT", "deny no_permit [] [pin-user-agents]");
    check("shop/storefront", "shop/catalog", "GET", "allow permitted [storefront-calls-catalog] []");
    check("shop/catalog", "shop/payments", "POST", "allow permitted [catalog-calls-payments] [pin-user-agents]");
    check("shop/storefront", "shop/payments", "GET", "deny no_permit [] []");
    check("unknown/intruder", "shop/payments", "GET", "deny no_permit [] []");
    check("", "shop/storefront", "GET", "deny no_permit [] []");
    let slow = v1::Snapshot {
        version: 2,
        signals: vec![signal("shop/search", &[("p99_ms", 450)])],
        ..v1::Snapshot::default()
    };
    enforcer.apply(&slow).unwrap();
    check("jobs/reindex", "shop/search", "GET", "deny forbidden [batch-yields] []");
    check("customers/free", "shop/search", "GET", "allow permitted [customers-search] []");
}

#[test]
fn proto_keeps_everything_that_decides() {
    let compiled = compiled(ALL, "@id(\"cap\") @limit(\"1/s\") permit (principal, action, resource);");
    let proto = compiled.to_proto();
    assert_eq!((proto.access.len(), proto.shaping.len()), (1, 1));
    assert_eq!(
        (&*proto.access[0].id, &*proto.access[0].text, &*proto.access[0].origin),
        ("all", ALL, "access/base.cedar:1")
    );
}
