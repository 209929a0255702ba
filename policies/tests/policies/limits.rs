use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tollgate_api::v1;
use tollgate_attributes::{Decision, Priority, Reason};
use tollgate_policies::{Clock, Enforcer, Facts};

use crate::support::{ALL, allowed, compiled, enforcer, get, lease, pass, said, whole};

fn limited(shaping: &str) -> Enforcer {
    enforcer(ALL, shaping)
}

#[test]
fn a_limit_lets_its_burst_and_its_rate_through() {
    let enforcer = limited("@id(\"cap\") @limit(\"10/s\") @burst(\"5\") permit (principal, action, resource);");
    assert_eq!(allowed(&enforcer, &get("a/b"), 20), 5);
    let verdict = enforcer.decide(&get("a/b"));
    assert_eq!((verdict.decision, verdict.reason, &*verdict.policies[0]), (Decision::Limit, Reason::Rate, "cap"));
    let limit = verdict.limit.unwrap();
    assert_eq!(
        (limit.quota, limit.window_s, limit.remaining, limit.retry_after),
        (10, 1, 0, Duration::from_millis(100))
    );
    pass(&enforcer, 200);
    assert_eq!(allowed(&enforcer, &get("a/b"), 20), 2);
}

#[test]
fn counts_by_what_it_is_told() {
    let enforcer = limited(
        "@limit(\"1/s\") @by(\"principal, context.headers[\\\"x-tenant\\\"], context.source_address\") permit (principal, action, resource);",
    );
    let tenant = |name: &str| [(Arc::from("x-tenant"), name.to_owned())];
    let (a, b, tricky) = (tenant("a"), tenant("b"), tenant("a|b"));
    let facts = get("a/b");
    let cases = [
        Facts { headers: &a, ..facts },
        Facts { headers: &b, ..facts },
        Facts { headers: &tricky, ..facts },
        Facts { headers: &a, source: "", ..facts },
        Facts { headers: &a, source_address: "10.0.0.1".parse().ok(), ..facts },
        facts,
    ];
    assert!(cases.iter().all(|facts| allowed(&enforcer, facts, 3) == 1));
}

#[test]
fn all_buckets_give_or_none_does() {
    let enforcer = limited(
        "@id(\"wide\") @limit(\"10/h\") @burst(\"10\") permit (principal, action, resource);
         @id(\"narrow\") @limit(\"2/h\") @burst(\"2\") permit (principal, action == Action::\"PUT\", resource);",
    );
    let put = Facts { method: "PUT", ..get("a/b") };
    assert_eq!(allowed(&enforcer, &put, 6), 2);
    assert_eq!(said(&enforcer, &put), "limit rate [narrow] []");
    assert_eq!(allowed(&enforcer, &get("a/b"), 20), 8, "what was refused took nothing from the other bucket");
    assert_eq!(said(&enforcer, &put), "limit rate [wide,narrow] []");
}

#[test]
fn says_which_limit_is_tightest() {
    let enforcer = limited(
        "@id(\"wide\") @limit(\"100/s\") permit (principal, action, resource);
         @id(\"narrow\") @limit(\"10/s\") permit (principal, action, resource);",
    );
    let limit = enforcer.decide(&get("a/b")).limit.unwrap();
    assert_eq!((&*limit.policy, limit.quota, limit.remaining, limit.retry_after), ("narrow", 10, 9, Duration::ZERO));
}

#[test]
fn waits_for_a_token_instead_of_refusing() {
    let enforcer = limited("@limit(\"10/s\") @burst(\"1\") @queue(\"250ms\") permit (principal, action, resource);");
    let waits: Vec<_> =
        (0..4).map(|_| enforcer.decide(&get("a/b"))).map(|verdict| (verdict.decision, verdict.wait)).collect();
    let ms = Duration::from_millis;
    assert_eq!(
        waits,
        [
            (Decision::Allow, None),
            (Decision::Allow, Some(ms(100))),
            (Decision::Allow, Some(ms(200))),
            (Decision::Limit, None),
        ]
    );
}

#[test]
fn the_least_important_priority_holds() {
    let enforcer = limited(
        "@priority(\"high\") permit (principal, action, resource);
         @priority(\"batch\") permit (principal in Group::\"free\", action, resource);
         @priority(\"critical\") permit (principal, action, resource) when { context.path == \"/health\" };",
    );
    assert_eq!(enforcer.decide(&get("a/b")).priority, Priority::Batch);
    assert_eq!(enforcer.decide(&Facts { source: "a/c", ..get("a/b") }).priority, Priority::High);
    assert_eq!(limited("").decide(&get("a/b")).priority, Priority::Normal);
}

#[test]
fn sheds_what_exceeds_the_places() {
    let enforcer = limited("@id(\"two\") @concurrency(\"2\") @by(\"principal\") permit (principal, action, resource);");
    let (first, second) = (enforcer.decide(&get("a/b")), enforcer.decide(&get("a/b")));
    assert_eq!((first.decision, second.decision), (Decision::Allow, Decision::Allow));
    assert_eq!(said(&enforcer, &get("a/b")), "shed concurrency [two] []");
    assert_eq!(enforcer.look(&get("a/b")).decision, Decision::Shed);
    assert_eq!(enforcer.decide(&Facts { source: "", ..get("a/b") }).decision, Decision::Allow, "counted by caller");
    drop(first);
    assert_eq!(allowed(&enforcer, &get("a/b"), 3), 3, "each ends before the next begins");
}

#[test]
fn takes_what_a_request_costs() {
    let by_attribute =
        limited("@limit(\"6/h\") @burst(\"6\") @cost(\"principal.weight\") permit (principal, action, resource);");
    assert_eq!(allowed(&by_attribute, &get("a/b"), 9), 3, "the free customer weighs 2");
    let fixed = limited("@limit(\"6/h\") @burst(\"6\") @cost(\"3\") permit (principal, action, resource);");
    assert_eq!(allowed(&fixed, &get("a/b"), 9), 2);
    let by_size =
        limited("@limit(\"1000/h\") @burst(\"1000\") @cost(\"request_bytes\") permit (principal, action, resource);");
    let of_size = |bytes| Facts { request_bytes: Some(bytes), ..get("a/b") };
    assert_eq!(allowed(&by_size, &of_size(400), 9), 2);
    assert_eq!(allowed(&by_size, &of_size(200), 9), 1);
    pass(&by_size, 3_601_000);
    assert_eq!(allowed(&by_size, &of_size(u64::MAX), 9), 1, "the largest request empties the bucket");
    pass(&by_size, 3_601_000);
    assert_eq!(allowed(&by_size, &of_size(1_000), 9), 1, "and leaves no debt for longer");
}

#[test]
fn a_shaping_policy_that_fails_applies() {
    let enforcer = limited(
        "@id(\"cap\") @limit(\"1/h\") @burst(\"1\") permit (principal, action, resource)
         when { principal has weight && 9223372036854775807 + principal.weight > 0 };",
    );
    assert_eq!(allowed(&enforcer, &get("a/b"), 3), 1);
}

#[test]
fn looking_takes_nothing() {
    let enforcer = limited("@limit(\"1/h\") @burst(\"1\") permit (principal, action, resource);");
    assert!((0..5).all(|_| enforcer.look(&get("a/b")).decision == Decision::Allow));
    assert!(enforcer.take_demand().is_empty());
    assert_eq!(allowed(&enforcer, &get("a/b"), 3), 1);
    assert_eq!(enforcer.look(&get("a/b")).decision, Decision::Limit);
}

#[test]
fn a_denied_request_takes_no_token() {
    let enforcer = enforcer(
        "permit (principal, action in Action::\"read\", resource);",
        "@limit(\"1/h\") @burst(\"1\") permit (principal, action, resource);",
    );
    assert_eq!(enforcer.decide(&Facts { method: "PUT", ..get("a/b") }).decision, Decision::Deny);
    assert_eq!(allowed(&enforcer, &get("a/b"), 3), 1);
}

const CAP: &str = "@id(\"cap\") @limit(\"10/s\") @by(\"principal\")";

/// An enforcer whose only share of the limit is what leases give.
fn leased(annotations: &str) -> Enforcer {
    let enforcer = Enforcer::new(Clock::paused(0));
    let policies = compiled(ALL, &format!("{CAP} {annotations} permit (principal, action, resource);")).to_proto();
    enforcer.apply(&v1::Snapshot { safe_shares: Vec::new(), ..whole(policies) }).unwrap();
    enforcer
}

#[test]
fn spends_leases_until_they_end() {
    let enforcer = leased("");
    let facts = get("a/b");
    assert_eq!(allowed(&enforcer, &facts, 5), 1, "the first request of a caller passes");
    pass(&enforcer, 1_000);
    assert_eq!(allowed(&enforcer, &facts, 5), 0, "no share, no rate");
    let given = vec![lease("cap", "customers/free", 10, 10, 2_000)];
    let snapshot = v1::Snapshot { version: 2, echo_ms: 500, leases: given, ..v1::Snapshot::default() };
    enforcer.apply(&snapshot).unwrap();
    assert_eq!(allowed(&enforcer, &facts, 20), 9);
    let held = enforcer.held();
    assert_eq!((held.len(), held[0].ttl_ms), (1, 1_500), "counted from the echo");
    pass(&enforcer, 1_000);
    assert_eq!(allowed(&enforcer, &facts, 20), 10);
    pass(&enforcer, 600);
    assert!(enforcer.held().is_empty());
    assert_eq!(allowed(&enforcer, &facts, 20), 1, "produced before the end, and cut to one token");
    pass(&enforcer, 10_000);
    assert_eq!(allowed(&enforcer, &facts, 20), 0);
}

#[test]
fn a_lease_of_nothing_takes_it_away() {
    let enforcer = leased("");
    let push = |version, rate, burst| {
        let leases = vec![lease("cap", "customers/free", rate, burst, 60_000)];
        enforcer.apply(&v1::Snapshot { version, leases, ..v1::Snapshot::default() }).unwrap();
    };
    push(2, 10, 10);
    assert_eq!(allowed(&enforcer, &get("a/b"), 20), 10);
    push(3, 0, 0);
    pass(&enforcer, 1_000);
    assert_eq!((allowed(&enforcer, &get("a/b"), 20), enforcer.held().len()), (0, 0));
}

#[test]
fn tells_what_is_wanted_and_wakes_whoever_sends_it() {
    let enforcer = leased("");
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    enforcer.on_urgent_demand(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(allowed(&enforcer, &get("a/b"), 1), 1);
    assert_eq!(woken.load(Ordering::Relaxed), 1, "first wanted");
    assert_eq!(allowed(&enforcer, &get("a/b"), 5), 0);
    assert_eq!(woken.load(Ordering::Relaxed), 2, "ran dry, said once");
    pass(&enforcer, 50);
    let demand = enforcer.take_demand();
    let bucket = Some(v1::Bucket { policy: "cap".to_owned(), key: "customers/free".to_owned() });
    assert_eq!(demand, [v1::Demand { bucket, wanted: 6_000_000, interval_ms: 50 }]);
    assert!(enforcer.take_demand().is_empty());
    assert_eq!(allowed(&enforcer, &get("a/b"), 1), 0);
    assert_eq!(woken.load(Ordering::Relaxed), 3, "dry again after the demand was told");
}

#[test]
fn offline_says_what_holds_when_the_engine_is_silent() {
    for (offline, expected) in [("safe", 0), ("allow", 5), ("deny", 0)] {
        let enforcer = leased(&format!("@offline(\"{offline}\")"));
        assert_eq!(allowed(&enforcer, &get("a/b"), 5), 1, "{offline}: not yet");
        pass(&enforcer, 10_001);
        assert_eq!(allowed(&enforcer, &get("a/b"), 5), expected, "{offline}");
        assert_eq!(
            allowed(&enforcer, &Facts { source: "new/one", ..get("a/b") }, 1),
            usize::from(offline != "deny"),
            "{offline}"
        );
        enforcer.heard();
        assert_eq!(allowed(&enforcer, &Facts { source: "new/two", ..get("a/b") }, 5), 1, "{offline}: heard again");
    }
}

#[test]
fn buckets_outlive_a_change_of_policies() {
    let enforcer = Enforcer::new(Clock::paused(0));
    let mut version = 0;
    let mut push = |limit: &str, id: &str| {
        version += 1;
        let text = format!("@id(\"{id}\") @limit(\"{limit}\") @burst(\"10\") permit (principal, action, resource);");
        let policies = Some(compiled(ALL, &text).to_proto());
        let snapshot = v1::Snapshot { version, whole: version == 1, policies, ..v1::Snapshot::default() };
        let safe_shares = vec![v1::SafeShare { scope: "*".to_owned(), parts_per_million: 1_000_000 }];
        enforcer.apply(&v1::Snapshot { safe_shares, ..snapshot }).unwrap();
    };
    push("10/h", "cap");
    assert_eq!(allowed(&enforcer, &get("a/b"), 20), 10);
    push("20/s", "cap");
    assert_eq!(allowed(&enforcer, &get("a/b"), 20), 0, "a changed rate fills nothing");
    pass(&enforcer, 100);
    assert_eq!(allowed(&enforcer, &get("a/b"), 20), 2, "and applies at once");
    push("20/s", "another");
    assert_eq!(allowed(&enforcer, &get("a/b"), 20), 10, "another id is another bucket");
}

#[test]
fn a_flood_of_keys_stays_bounded() {
    let enforcer = leased("");
    for index in 0..120_000 {
        let source = format!("flood/{index}");
        let _ = enforcer.decide(&Facts { source: &source, ..get("a/b") });
    }
    assert!(enforcer.take_demand().len() <= 100_000);
}
