//! Sealed files in an object store that fails at random, above a disk that does, and a machine that stops: every acknowledged row is there once.

use proptest::prelude::*;

use super::crashes::{Action, Plan, SCRIPT, World, action, cases, run};
use crate::disk::failing::Fault;

/// How many calls of the object store fail while a script runs.
const PERCENT: u8 = 20;

/// Runs a script while the object store fails, and the disk as planned; then the power goes. Returns how many calls failed.
async fn survives(script: &[Action], seed: u64, percent: u8, faults: &[(u64, Fault)]) -> u64 {
    let mut world = World::remote(seed);
    let objects = world.objects.clone().unwrap();
    objects.fail(percent);
    world.run(Plan { script, faults }).await;
    let failed = objects.failed();
    objects.fail(0);
    world.settle().await;
    world.settle().await;
    world.check_objects().await;
    failed
}

#[test]
fn rows_survive_an_object_store_that_fails_now_and_then() {
    run(async {
        let mut failed = 0;
        for seed in 0..u64::from(cases(12)) {
            failed += survives(&SCRIPT, seed, PERCENT, &[]).await;
        }
        assert!(failed >= u64::from(cases(12)), "{failed} calls failed");
    });
}

#[test]
fn rows_are_acknowledged_while_the_object_store_is_away() {
    run(async {
        let mut world = World::remote(1);
        let objects = world.objects.clone().unwrap();
        let store = world.open().await.unwrap();
        world.act(&store, Action::Append).await;
        world.act(&store, Action::Seal).await;
        objects.fail(100);
        for _ in 0..3 {
            world.act(&store, Action::Append).await;
            world.act(&store, Action::Seal).await;
            world.act(&store, Action::Compact).await;
        }
        assert!(world.senders.iter().all(|sender| (sender.sent, sender.acknowledged) == (4, 4)), "{:?}", world.senders);
        assert!(matches!(store.disk(), crate::DiskState::Behind { reason } if reason.contains("injected failure")));
        // A start without it takes in the log.
        world.crash(store).await;
        let store = world.open().await.unwrap();
        world.act(&store, Action::Append).await;
        assert!(world.senders.iter().all(|sender| sender.acknowledged == 5), "{:?}", world.senders);
        objects.fail(0);
        world.act(&store, Action::Seal).await;
        assert_eq!(store.disk(), crate::DiskState::Good);
        world.check(&store);
        store.close().await.unwrap();
        drop(store);
        world.settle().await;
        world.check_objects().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(12)))]
    #[test]
    fn rows_survive_any_failures_of_disk_and_object_store(
        seed in any::<u64>(),
        percent in 1_u8..60,
        script in prop::collection::vec(action(), 1..14),
        faults in prop::collection::vec((0_u64..120, prop_oneof![3 => Just(Fault::Error), 1 => Just(Fault::Crash)]), 0..4),
    ) {
        run(survives(&script, seed, percent, &faults));
    }
}
