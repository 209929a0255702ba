//! Random entities, policies and requests: an enforcer says the same as plain Cedar on all policies and entities, whatever it
//! remembers and whatever has changed in between.
//!
//! Each seed is one world with its policies and requests. `TOLLGATE_POLICY_CASES` sets how many decisions are compared, of
//! which `TOLLGATE_POLICY_SEED` is the first seed; a failure names its own.

mod generate;
mod plain;
mod policies;
mod random;

use tollgate_api::v1;
use tollgate_policies::{Clock, Compiled, Enforcer, Mode, Slices, SourceFile, Sources, Standpoint, compile};

use self::generate::{Asked, Population};
use self::plain::Plain;
use self::policies::{Statement, links, policies, text};
use self::random::Random;
use crate::support::{signals, whole};

const REQUESTS_PER_WORLD: usize = 200;
/// 2026-06-01T12:00:00Z, around which the policies' times lie.
const NOW_US: i64 = 1_780_315_200_000_000;

fn cases() -> usize {
    let default = if cfg!(debug_assertions) { 2_000 } else { 50_000 };
    number("TOLLGATE_POLICY_CASES").map_or(default, |cases| cases as usize)
}

fn seeds() -> impl Iterator<Item = u64> {
    let first = number("TOLLGATE_POLICY_SEED").unwrap_or(1);
    first..first + (cases() / REQUESTS_PER_WORLD).max(1) as u64
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn compiled(statements: &[Statement], population: &Population) -> Compiled {
    let access = text(statements);
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
    let sources = Sources {
        access: vec![file("access/base.cedar", &access)],
        links: Some(file("links.json", &links(statements))),
        entities: Some(file("entities.json", &population.json())),
        ..Sources::default()
    };
    compile(&sources, &signals(), &Mode::default()).unwrap_or_else(|problems| panic!("{problems}\n{access}"))
}

#[test]
fn random_policies_are_decided_as_plain_cedar_decides() {
    for seed in seeds() {
        let mut random = Random::new(seed);
        let population = Population::new(&mut random);
        let statements = policies(&mut random, 30);
        let compiled = compiled(&statements, &population);
        let texts = format!("{}\n{}", text(&statements), links(&statements));
        let enforcer = Enforcer::new(Clock::paused(NOW_US));
        enforcer.apply(&whole(compiled.to_proto())).unwrap();
        enforcer.apply(&signals_of(2, &population)).unwrap();
        let partial = Enforcer::at(Clock::paused(NOW_US), standpoint());
        let slices = Slices::new(&compiled, None).unwrap();
        partial.apply(&whole(slices.cut(Some(&standpoint())).to_proto())).unwrap();
        partial.apply(&signals_of(2, &population)).unwrap();
        let plain = Plain::new(&compiled, &statements, &population);
        let asked: Vec<_> = (0..REQUESTS_PER_WORLD / 2).map(|_| Asked::new(&mut random)).collect();
        // Twice each: what was remembered must be what was said.
        for asked in asked.iter().chain(&asked) {
            let ours = plain::said(&enforcer.decide(&asked.facts()));
            assert_eq!(ours, plain.decide(asked), "seed {seed}: {asked:?}\n{texts}\n{}", population.json());
            alike(&partial, &enforcer, asked, &format!("seed {seed}: {asked:?}\n{texts}"));
        }
    }
}

/// Where a proxy stands it says what one says that holds everything.
fn alike(partial: &Enforcer, all: &Enforcer, asked: &Asked, about: &str) {
    if standpoint().called.iter().any(|service| service == asked.destination) {
        assert_eq!(plain::said(&partial.decide(&asked.facts())), plain::said(&all.decide(&asked.facts())), "{about}");
    }
    let early = |enforcer: &Enforcer| enforcer.refuses_early(&asked.facts()).map(|early| plain::said(&early));
    if standpoint().calling.iter().any(|service| service == asked.source) {
        assert_eq!(early(partial), early(all), "{about}");
    }
}

/// One policy without slots and with an id of its own, so that it is the same wherever it stands.
fn named(random: &mut Random) -> Statement {
    loop {
        let policy = policies(random, 1).pop().filter(|statement| statement.links.is_none());
        if let Some(policy) = policy {
            return Statement { text: format!("@id(\"p{}\") {}", random.below(usize::MAX), policy.text), links: None };
        }
    }
}

/// A proxy that gets its slice, and from then on deltas, holds what one holds that gets all of it each time.
#[test]
fn slices_and_their_deltas_change_no_answer() {
    for seed in seeds().take(seeds().count().div_ceil(2)) {
        let mut random = Random::new(seed);
        let mut population = Population::new(&mut random);
        let mut statements: Vec<_> = (0..20).map(|_| named(&mut random)).collect();
        let now = compiled(&statements, &population);
        let mut slices = Slices::new(&now, None).unwrap();
        let mut held = slices.cut(Some(&standpoint()));
        let partial = Enforcer::at(Clock::paused(NOW_US), standpoint());
        partial.apply(&whole(held.to_proto())).unwrap();
        partial.apply(&signals_of(2, &population)).unwrap();
        for version in 3..8 {
            for _ in 0..random.below(4) {
                match random.below(4) {
                    0 => drop(statements.remove(random.below(statements.len()))),
                    1 => statements.insert(random.below(statements.len() + 1), named(&mut random)),
                    2 => statements.rotate_left(1),
                    _ => statements[0] = named(&mut random),
                }
            }
            if random.one_in(3) {
                population = Population::new(&mut random);
            }
            let now = compiled(&statements, &population);
            let next = Slices::new(&now, Some(&slices)).unwrap();
            let slice = next.cut(Some(&standpoint()));
            let policies_delta = Some(v1::PoliciesDelta::clone(&next.delta(&held, &slice)));
            partial.apply(&v1::Snapshot { version, policies_delta, ..signals_of(version, &population) }).unwrap();
            assert_eq!(partial.policies_digest(), slice.digest());
            let all = Enforcer::new(Clock::paused(NOW_US));
            all.apply(&whole(now.to_proto())).unwrap();
            all.apply(&signals_of(2, &population)).unwrap();
            for _ in 0..20 {
                let asked = Asked::new(&mut random);
                alike(
                    &partial,
                    &all,
                    &asked,
                    &format!("seed {seed}, version {version}: {asked:?}\n{}", text(&statements)),
                );
            }
            (slices, held) = (next, slice);
        }
    }
}

/// A proxy in front of two services, through which a third calls all.
fn standpoint() -> Standpoint {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Standpoint { called: names(&["a/one", "b/two"]), calling: names(&["b/one"]), calls: names(generate::SERVICES) }
}

/// An enforcer that has lived through changes says what a new one says.
#[test]
fn what_is_remembered_changes_no_answer() {
    for seed in seeds().take(seeds().count().div_ceil(2)) {
        let mut random = Random::new(seed);
        let mut population = Population::new(&mut random);
        let mut statements = policies(&mut random, 12);
        let mut now = compiled(&statements, &population);
        let lived = Enforcer::new(Clock::paused(NOW_US));
        lived.apply(&whole(now.to_proto())).unwrap();
        lived.apply(&signals_of(2, &population)).unwrap();
        let asked: Vec<_> = (0..6).map(|_| Asked::new(&mut random)).collect();
        for version in 3..13 {
            match random.below(4) {
                0 => {
                    population.change_signals(&mut random);
                    lived.apply(&signals_of(version, &population)).unwrap();
                }
                1 => {
                    statements = policies(&mut random, 12);
                    now = compiled(&statements, &population);
                    lived.apply(&delta(version, &now)).unwrap();
                }
                2 => {
                    population = Population::new(&mut random);
                    now = compiled(&statements, &population);
                    lived.apply(&delta(version, &now)).unwrap();
                    lived.apply(&signals_of(version, &population)).unwrap();
                }
                _ => lived.clock().advance(std::time::Duration::from_secs(random.below(100_000) as u64)),
            }
            let fresh = Enforcer::new(Clock::paused(lived.clock().wall_us()));
            fresh.apply(&whole(now.to_proto())).unwrap();
            fresh.apply(&signals_of(2, &population)).unwrap();
            for asked in &asked {
                let texts = format!("{}\n{}", text(&statements), links(&statements));
                let (lived, fresh) = (lived.decide(&asked.facts()), fresh.decide(&asked.facts()));
                assert_eq!(plain::said(&lived), plain::said(&fresh), "seed {seed}: {asked:?}\n{texts}");
                assert_eq!(*lived.failed, *fresh.failed, "seed {seed}: {asked:?}\n{texts}");
            }
        }
    }
}

fn delta(version: u64, compiled: &Compiled) -> v1::Snapshot {
    v1::Snapshot { version, policies: Some(compiled.to_proto()), ..v1::Snapshot::default() }
}

fn signals_of(version: u64, population: &Population) -> v1::Snapshot {
    v1::Snapshot { version, signals: population.signals(), ..v1::Snapshot::default() }
}
