//! Simulates a fleet that follows the contract, on clocks that drift and a network that delays, breaks and reorders, with
//! processes and engines that crash, and checks at every step that no bucket is enforced at more than its limit.
//!
//! `TOLLGATE_SEEDS` sets how many seeds, `TOLLGATE_SEED` picks a single one.

mod chance;
mod fleet;
mod process;
mod world;

use fleet::Fleet;
use world::World;

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u64>().ok());
    match number("TOLLGATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TOLLGATE_SEEDS").unwrap_or(default),
    }
}

#[test]
fn limits_hold_whatever_is_lost_late_or_restarted() {
    let mut given = 0;
    for seed in seeds(2000) {
        let mut world = World::new(seed);
        world.run();
        given += world.leases_given;
    }
    assert!(given > 0, "the simulation gave no lease at all");
}

#[test]
fn a_single_busy_reporter_gets_nearly_all() {
    let mut fleet = Fleet::new(10, 100_000_000);
    fleet.run(2_000);
    fleet.wanted[3] = 200_000_000;
    fleet.run(1_000);
    assert!(fleet.enforced(3) >= 95_000_000, "{}", fleet.enforced(3));
    assert!(fleet.total_enforced() <= 100_000_000);
}

#[test]
fn a_fleet_grows_without_a_dip_and_shrinks_again() {
    let mut fleet = Fleet::new(1, 100_000_000);
    fleet.wanted[0] = 90_000_000;
    fleet.run(1_000);
    assert_eq!(fleet.enforced(0), 100_000_000);
    fleet.lowest[0] = u64::MAX;
    fleet.add();
    fleet.run(1_000);
    assert!(fleet.lowest[0] >= 90_000_000, "{}", fleet.lowest[0]);
    assert_eq!(fleet.enforced(1), 5_000_000);
    fleet.lowest[0] = u64::MAX;
    fleet.leave(1);
    fleet.run(1_000);
    assert!(fleet.lowest[0] >= 90_000_000, "{}", fleet.lowest[0]);
    assert_eq!(fleet.enforced(0), 100_000_000);
}

#[test]
fn equal_demands_share_equally() {
    let mut fleet = Fleet::new(10, 100_000_000);
    fleet.wanted.fill(50_000_000);
    fleet.run(3_000);
    for reporter in 0..10 {
        let enforced = fleet.enforced(reporter);
        assert!((9_300_000..=10_100_000).contains(&enforced), "{reporter}: {enforced}");
    }
}

#[test]
fn shifting_skew_costs_little() {
    let mut fleet = Fleet::new(10, 100_000_000);
    fleet.run(1_000);
    fleet.served.fill(0);
    let (rounds, round_ms) = (20, 5_000);
    for round in 0..rounds {
        fleet.wanted.fill(1_000_000);
        fleet.wanted[round % 10] = 150_000_000;
        fleet.run(round_ms);
    }
    let served: u64 = fleet.served.iter().sum();
    let possible = 100_000_000 * rounds as u64 * round_ms / 1000;
    let shortfall = 100.0 * (1.0 - served as f64 / possible as f64);
    println!("shifting skew, 10 reporters, the busy one changes each {round_ms} ms: shortfall {shortfall:.2} %");
    assert!(shortfall < 10.0, "{shortfall}");
}
