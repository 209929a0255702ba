//! What a decision costs beside plain Cedar on the same policies, in one run: CPU time, memory, and time to recompile.
//!
//! `cargo bench -p tollgate-policies`, with `-- 10 1000` for sets of these sizes only. Figures: `tests/bench/README.md`.

#[path = "decide/mesh.rs"]
mod mesh;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityUid, Policy, PolicyId, PolicySet, Request, RestrictedExpression,
};
use tollgate_policies::{Clock, Compiled, Enforcer, Facts, PolicyKind, Slices, Standpoint};

use mesh::{Asked, service};
use tollgate_api::v1;

/// Counts the bytes in use.
struct Counting;

static LIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: every call is passed on as it came.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    println!(
        "| policies | cached | same lane, new path | nothing known | plain Cedar | plain / nothing known | memory | memory, one service | compile | one file changed | taken over |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let asked: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![10, 100, 1_000, 10_000] } else { asked };
    sizes.into_iter().try_for_each(row)
}

fn row(policies: usize) -> Result<(), Failure> {
    let mut sources = mesh::sources(policies);
    let start = Instant::now();
    let compiled = mesh::compiled(&sources)?;
    let compile_ms = start.elapsed().as_secs_f64() * 1e3;
    let plain_ns = plain(&compiled)?;
    let slices = Slices::new(&compiled, None)?;
    let (enforcer, memory) = loaded(slices.all().to_proto(), Enforcer::new(Clock::system()))?;
    let one = slices.cut(Some(&one_service())).to_proto();
    let (_, memory_one) = loaded(one, Enforcer::at(Clock::system(), one_service()))?;
    let (cached_ns, new_path_ns, cold_ns) = (cached(&enforcer), new_path(&enforcer), cold(&enforcer));
    if let Some(file) = sources.access.first_mut() {
        file.text.push_str(
            "@id(\"added\") permit (principal, action == Action::\"PUT\", resource == Service::\"ns0/svc0\");\n",
        );
    }
    let start = Instant::now();
    let changed = mesh::compiled(&sources)?;
    let changed_ms = start.elapsed().as_secs_f64() * 1e3;
    let start = Instant::now();
    let next = Slices::new(&changed, Some(&slices))?;
    let mut delta = mesh::snapshot(2, v1::Policies::default(), false);
    (delta.policies, delta.policies_delta) = (None, Some(next.delta(slices.all(), next.all()).as_ref().clone()));
    enforcer.apply(&delta)?;
    let taken_ms = start.elapsed().as_secs_f64() * 1e3;
    println!(
        "| {policies} | {cached_ns:.0} ns | {new_path_ns:.0} ns | {cold_ns:.0} ns | {plain_ns:.0} ns | {:.0} | {:.2} MB | {:.2} MB | {compile_ms:.0} ms | {changed_ms:.0} ms | {taken_ms:.1} ms |",
        plain_ns / cold_ns,
        memory as f64 / 1e6,
        memory_one as f64 / 1e6,
    );
    Ok(())
}

/// An enforcer with these policies, and the bytes that it takes.
fn loaded(policies: v1::Policies, enforcer: Enforcer) -> Result<(Enforcer, i64), Failure> {
    let snapshot = mesh::snapshot(1, policies, true);
    let before = LIVE.load(Ordering::Relaxed);
    enforcer.apply(&snapshot)?;
    Ok((enforcer, LIVE.load(Ordering::Relaxed) - before))
}

/// A proxy beside one service, which calls twenty others.
fn one_service() -> Standpoint {
    let calls = (1..=20).map(|number| service(number * 13)).collect();
    Standpoint { called: vec![service(7)], calling: vec![service(7)], calls }
}

/// The same few requests again and again.
fn cached(enforcer: &Enforcer) -> f64 {
    let asked = mesh::requests(64);
    asked.iter().for_each(|asked| drop(enforcer.decide(&facts(asked))));
    per_request(1_000_000, |number| drop(black_box(enforcer.decide(&facts(&asked[number % asked.len()])))))
}

/// Callers, services and methods that are known, with paths that are not.
fn new_path(enforcer: &Enforcer) -> f64 {
    let mut asked = mesh::requests(64);
    per_request(100_000, |number| {
        let asked = &mut asked[number % 64];
        asked.path.clear();
        asked.path.push_str("/v1/items/n");
        asked.path.push_str(itoa(number as u64, &mut [0; 20]));
        drop(black_box(enforcer.decide(&facts(asked))));
    })
}

/// Callers, services and methods that were never seen together.
fn cold(enforcer: &Enforcer) -> f64 {
    let asked = mesh::requests(100_064);
    per_request(100_000, |number| drop(black_box(enforcer.decide(&facts(&asked[64 + number])))))
}

/// Access and shaping by Cedar's own authorizer. Requests and entities are there already, which favours it.
fn plain(compiled: &Compiled) -> Result<f64, Failure> {
    let mut sets = [PolicySet::new(), PolicySet::new()];
    for (number, policy) in compiled.policies.iter().enumerate() {
        let set = &mut sets[usize::from(policy.kind == PolicyKind::Shaping)];
        set.add(Policy::parse(Some(PolicyId::new(number.to_string())), &policy.text)?)?;
    }
    let entities = entities(compiled)?;
    let asked = mesh::requests(256);
    let requests = asked.iter().map(request).collect::<Result<Vec<_>, _>>()?;
    let authorizer = Authorizer::new();
    let count = (2_000_000 / compiled.policies.len().max(1)).clamp(100, 20_000);
    Ok(per_request(count, |number| {
        let request = &requests[number % requests.len()];
        for set in &sets {
            drop(black_box(authorizer.is_authorized(request, set, &entities)));
        }
    }))
}

fn entities(compiled: &Compiled) -> Result<Entities, Failure> {
    let written: Vec<serde_json::Value> = serde_json::from_str(&compiled.entities_json)?;
    let mut entities = Vec::new();
    for (index, written) in written.into_iter().enumerate() {
        let signals = RestrictedExpression::new_record([
            ("p99_ms".to_owned(), RestrictedExpression::new_long(20 + index as i64)),
            ("error_pct".to_owned(), RestrictedExpression::new_long(1)),
        ])?;
        let (_, mut attributes, mut parents) = Entity::from_json_value(written, None)?.into_inner();
        attributes.insert("signals".to_owned(), signals);
        parents.insert(uid("Namespace", service(index).split('/').next().unwrap_or_default())?);
        entities.push(Entity::new(uid("Service", &service(index))?, attributes, parents)?);
    }
    for (method, group) in [("GET", "read"), ("HEAD", "read"), ("POST", "write"), ("PUT", "write"), ("DELETE", "write")]
    {
        entities.push(Entity::new_no_attrs(uid("Action", method)?, [uid("Action", group)?].into()));
    }
    Ok(Entities::from_entities(entities, None)?)
}

fn request(asked: &Asked) -> Result<Request, Failure> {
    let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
    let context = Context::from_pairs([
        ("method".to_owned(), text(asked.method)),
        ("path".to_owned(), text(&asked.path)),
        ("is_mtls".to_owned(), RestrictedExpression::new_bool(true)),
        ("source_address".to_owned(), RestrictedExpression::new_ip("10.3.0.9")),
    ])?;
    let (source, destination) = (uid("Service", &asked.source)?, uid("Service", &asked.destination)?);
    Ok(Request::new(source, uid("Action", asked.method)?, destination, context, None)?)
}

fn uid(of_type: &str, id: &str) -> Result<EntityUid, Failure> {
    Ok(EntityUid::from_type_name_and_id(of_type.parse()?, id.parse()?))
}

fn facts(asked: &Asked) -> Facts<'_> {
    Facts {
        source: &asked.source,
        destination: &asked.destination,
        method: asked.method,
        path: &asked.path,
        host: "svc",
        source_address: Some([10, 3, 0, 9].into()),
        is_mtls: true,
        headers: &asked.headers,
        ..Facts::default()
    }
}

/// CPU time of one of `count` calls: the machine may be busy with other things.
fn per_request(count: usize, mut call: impl FnMut(usize)) -> f64 {
    // Without optimisation, figures say little, and should at least not take long.
    let count = if cfg!(debug_assertions) { count / 20 + 1 } else { count };
    let start = cpu_ns();
    (0..count).for_each(&mut call);
    (cpu_ns() - start) as f64 / count as f64
}

/// CPU time of this thread.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0)
}

/// A number without an allocation.
fn itoa(mut number: u64, room: &mut [u8; 20]) -> &str {
    let mut at = room.len();
    loop {
        at -= 1;
        room[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return std::str::from_utf8(&room[at..]).unwrap_or_default();
        }
    }
}
