use tollgate_api::v1;
use tollgate_policies::{ApplyError, Clock, Enforcer};

use crate::support::{ALL, allowed, compiled, enforcer, get, lease, said, signal, whole};

#[test]
fn a_delta_needs_something_to_change() {
    let enforcer = Enforcer::new(Clock::paused(0));
    let delta = |version| v1::Snapshot { version, ..v1::Snapshot::default() };
    assert_eq!(enforcer.apply(&delta(1)), Err(ApplyError::OutOfOrder { version: 1, current: 0 }));
    enforcer.apply(&v1::Snapshot { version: 5, ..whole(compiled(ALL, "").to_proto()) }).unwrap();
    assert_eq!(enforcer.apply(&delta(4)), Err(ApplyError::OutOfOrder { version: 4, current: 5 }));
    assert_eq!(enforcer.apply(&delta(6)), Ok(6));
    let restarted = v1::Snapshot { version: 2, ..whole(compiled(ALL, "").to_proto()) };
    assert_eq!(enforcer.apply(&restarted), Ok(2), "an engine that begins anew counts anew");
}

#[test]
fn what_cannot_be_read_changes_nothing() {
    let enforcer = enforcer(ALL, "");
    let mut broken = whole(compiled("forbid (principal, action, resource);", "").to_proto());
    broken.version = 2;
    let policies = broken.policies.as_mut().unwrap();
    policies.access[0].text.push_str(" permit");
    let error = enforcer.apply(&broken).unwrap_err().to_string();
    assert!(error.starts_with("snapshot 2: policy `base#1` (access/base.cedar:1): "), "{error}");
    broken.policies = None;
    assert!(enforcer.apply(&broken).is_err());
    assert_eq!((enforcer.version(), &*said(&enforcer, &get("a/b"))), (1, "allow permitted [all] []"));
}

#[test]
fn a_whole_snapshot_replaces_signals_and_leases() {
    let forbid = "@id(\"slow\") forbid (principal, action, resource) when { resource.signals has p99_ms };";
    let limit = "@id(\"cap\") @limit(\"10/s\") permit (principal, action, resource);";
    let enforcer = enforcer(&format!("{ALL} {forbid}"), limit);
    let delta = v1::Snapshot {
        version: 2,
        signals: vec![signal("shop/search", &[("p99_ms", 1)])],
        leases: vec![lease("cap", "", 10, 10, 60_000)],
        ..v1::Snapshot::default()
    };
    enforcer.apply(&delta).unwrap();
    assert_eq!((said(&enforcer, &get("shop/search")).as_str(), enforcer.held().len()), ("deny forbidden [slow] []", 1));
    let again = whole(compiled(&format!("{ALL} {forbid}"), limit).to_proto());
    enforcer.apply(&v1::Snapshot { version: 3, safe_shares: Vec::new(), ..again }).unwrap();
    assert_eq!((said(&enforcer, &get("shop/search")).as_str(), enforcer.held().len()), ("allow permitted [all] []", 0));
}

#[test]
fn policies_change_and_signals_stay() {
    let forbid = "@id(\"slow\") forbid (principal, action, resource) when { resource.signals has p99_ms };";
    let enforcer = enforcer(ALL, "");
    let signals = vec![signal("shop/search", &[("p99_ms", 1)])];
    enforcer.apply(&v1::Snapshot { version: 2, signals, ..v1::Snapshot::default() }).unwrap();
    let policies = Some(compiled(&format!("{ALL} {forbid}"), "").to_proto());
    enforcer.apply(&v1::Snapshot { version: 3, policies, ..v1::Snapshot::default() }).unwrap();
    assert_eq!(said(&enforcer, &get("shop/search")), "deny forbidden [slow] []");
}

#[test]
fn threads_see_a_change_at_once() {
    let enforcer = enforcer(ALL, "");
    std::thread::scope(|scope| {
        let spawn = |_| scope.spawn(|| allowed(&enforcer, &get("a/b"), 2_000));
        let threads: Vec<_> = (0..3).map(spawn).collect();
        for version in 2..30 {
            enforcer.apply(&v1::Snapshot { version, ..whole(compiled(ALL, "").to_proto()) }).unwrap();
        }
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 2_000));
    });
    let none = whole(compiled("permit (principal, action == Action::\"PUT\", resource);", "").to_proto());
    enforcer.apply(&v1::Snapshot { version: 40, ..none }).unwrap();
    assert_eq!(allowed(&enforcer, &get("a/b"), 1), 0);
}
