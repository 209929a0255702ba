//! A decision that is remembered allocates nothing. A binary of its own, for the sake of its allocator.

#![allow(clippy::unwrap_used, clippy::panic, reason = "everything here is a test or serves one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use tollgate_api::v1;
use tollgate_attributes::Decision;
use tollgate_policies::{Clock, Enforcer, Facts, Mode, SignalSchema, SignalType, SourceFile, Sources, compile};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on as it came.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ACCESS: &str = r#"
    permit (principal in Group::"free", action in Action::"read", resource == Service::"shop/search");
    permit (principal, action, resource) when { context.path like "/a*" };
    permit (principal, action, resource) when { context.headers has "x-a" && context.headers["x-a"] == "1" };
    permit (principal, action, resource) when { resource.signals has p99_ms && resource.signals.p99_ms < 100 };
    permit (principal is Service, action, resource) when { context has user && context.user in Group::"staff" };
    permit (principal, action, resource) when { context has source_address && context.source_address.isLoopback() };
    forbid (principal, action == Action::"DELETE", resource) when { context.path like "/a*" };
    @mode("shadow") forbid (principal, action, resource) when { context.path == "/a" };
"#;
const SHAPING: &str = r#"
    @limit("1000000/s") @by("principal, context.path, context.source_address") @cost("principal.weight") @queue("10ms")
    permit (principal, action, resource);
    @limit("1000000/m") @by("context.headers[\"x-a\"]") permit (principal, action, resource) when { context.path like "/a*" };
    @concurrency("100") @priority("high") permit (principal, action, resource == Service::"shop/search");
"#;
const ENTITIES: &str = r#"[
    { "uid": { "type": "Service", "id": "shop/cart" }, "attrs": { "weight": 2 }, "parents": [{ "type": "Group", "id": "free" }] },
    { "uid": { "type": "User", "id": "ann" }, "parents": [{ "type": "Group", "id": "staff" }] }
]"#;

fn enforcer() -> Enforcer {
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
    let sources = Sources {
        access: vec![file("access/base.cedar", ACCESS)],
        shaping: vec![file("shaping/limits.cedar", SHAPING)],
        entities: Some(file("entities.json", ENTITIES)),
        ..Sources::default()
    };
    let signals = vec![("p99_ms".to_owned(), SignalType::Integer)];
    let signals = [SignalSchema { entity_type: "Service".to_owned(), signals }];
    let compiled = compile(&sources, &signals, &Mode::default()).unwrap_or_else(|problems| panic!("{problems}"));
    let p99_ms = v1::Signal { name: "p99_ms".to_owned(), value: Some(v1::signal::Value::Integer(5)) };
    let enforcer = Enforcer::new(Clock::system());
    let applied = enforcer.apply(&v1::Snapshot {
        version: 1,
        whole: true,
        policies: Some(compiled.to_proto()),
        signals: vec![v1::EntitySignals {
            entity_type: "Service".to_owned(),
            entity_id: "shop/search".to_owned(),
            signals: vec![p99_ms],
        }],
        safe_shares: ["*", "shop/search"]
            .map(|scope| v1::SafeShare { scope: scope.to_owned(), parts_per_million: 1_000_000 })
            .to_vec(),
        ..v1::Snapshot::default()
    });
    applied.unwrap();
    enforcer
}

#[test]
fn a_remembered_decision_allocates_nothing() {
    let enforcer = enforcer();
    let headers = [(Arc::from("x-a"), "1".to_owned())];
    let facts = |method: &'static str, path: &'static str| Facts {
        source: "shop/cart",
        destination: "shop/search",
        method,
        path,
        user: "ann",
        source_address: Some([127, 0, 0, 1].into()),
        headers: &headers,
        ..Facts::default()
    };
    let asked = [("GET", "/a"), ("GET", "/b"), ("DELETE", "/a")].map(|(method, path)| facts(method, path));
    for facts in asked.iter().chain(&asked) {
        drop((enforcer.decide(facts), enforcer.look(facts), enforcer.refuses_early(facts)));
    }
    assert_eq!(enforcer.decide(&asked[0]).policies.len(), 6);
    assert_eq!(enforcer.decide(&asked[2]).decision, Decision::Deny);
    let before = ALLOCATIONS.get();
    for _ in 0..1_000 {
        for facts in &asked {
            drop((enforcer.decide(facts), enforcer.look(facts), enforcer.refuses_early(facts)));
        }
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}
