//! Lets every single operation on files fail, or be the last one before the power goes, and counts rows afterwards.

use proptest::prelude::*;

use super::*;
use crate::compaction::CompactionLimits;
use crate::disk::failing::{FailingDisk, Fault};

#[derive(Debug, Clone, Copy)]
enum Action {
    /// Two reporters send their next batches.
    Append,
    /// They send all again that was not acknowledged.
    Resend,
    Seal,
    Compact,
}

/// What a reporter knows: batches up to `sent` were sent, those up to `acknowledged` are kept for certain.
#[derive(Debug, Clone, Copy, Default)]
struct Sender {
    sent: i64,
    acknowledged: i64,
}

struct World {
    dir: tempfile::TempDir,
    disk: FailingDisk,
    senders: [Sender; 2],
}

impl World {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("graves")).unwrap();
        let disk = FailingDisk::new(&dir.path().join("graves"), seed);
        Self { dir, disk, senders: Default::default() }
    }

    /// Runs until done, or the power has gone.
    async fn while_up<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let down = async {
            while !self.disk.is_down() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = down => None,
        }
    }

    async fn open(&self) -> Option<Arc<Store>> {
        let mut options = options(&self.dir.path().join("data"));
        options.disk = Arc::new(self.disk.clone());
        options.compaction = CompactionLimits { open_files_max: 2, ..CompactionLimits::default() };
        let mut failures = 0;
        loop {
            let opened = self.while_up(open(options.clone())).await?;
            if self.disk.is_down() {
                return None;
            }
            match opened {
                Ok((store, recovery)) => {
                    assert!(recovery.aside.is_empty() && recovery.log.damaged.is_empty(), "{recovery:?}");
                    return Some(store);
                }
                // A failure that does not last: the engine is started again.
                Err(error) if failures == 10 => panic!("it cannot be opened: {error}"),
                Err(_) => failures += 1,
            }
        }
    }

    async fn act(&mut self, store: &Arc<Store>, action: Action) {
        match action {
            Action::Append | Action::Resend => {
                for reporter in 0..2 {
                    self.send(store, reporter, matches!(action, Action::Append)).await;
                }
            }
            Action::Seal => drop(self.while_up(store.seal_now()).await),
            Action::Compact => drop(self.while_up(store.look_after_files()).await),
        }
    }

    /// Sends what is not acknowledged, and perhaps a new batch, all at once.
    async fn send(&mut self, store: &Arc<Store>, reporter: usize, with_new: bool) {
        let mut sender = self.senders[reporter];
        sender.sent += i64::from(with_new);
        let mut tickets = Vec::new();
        for sequence in sender.acknowledged + 1..=sender.sent {
            let (record, rows) = batch(reporter as i64, sequence);
            if let Some(Ok(ticket)) = self.while_up(store.offer(record, rows)).await {
                tickets.push((sequence, ticket));
            }
        }
        for (sequence, ticket) in tickets {
            if let Some(Ok(_)) = self.while_up(ticket.kept()).await {
                sender.acknowledged = sequence;
            }
        }
        self.senders[reporter] = sender;
    }

    /// What is acknowledged is there once; what is not, once at most; nothing else is there.
    fn check(&self, store: &Store) {
        let (ids, counted) = contents(store);
        let mut expected = 0;
        for (reporter, sender) in self.senders.iter().enumerate() {
            for sequence in 1..=sender.sent {
                let counts: Vec<usize> =
                    super::ids(reporter as i64, sequence).map(|id| ids.get(&id).copied().unwrap_or_default()).collect();
                let at_least = usize::from(sequence <= sender.acknowledged);
                let is_right = counts == [1; 3] || (at_least == 0 && counts == [0; 3]);
                assert!(is_right, "reporter {reporter} sequence {sequence} of {sender:?}: {counts:?}");
                expected += counts.iter().sum::<usize>();
            }
        }
        assert_eq!(ids.values().sum::<usize>(), expected);
        assert_eq!(counted as usize, expected, "what is derived was counted for each row once");
    }

    async fn crash(&self, store: Arc<Store>) {
        self.disk.crash();
        let _ = store.close().await;
        drop(store);
        self.disk.restart();
    }

    /// Opens, checks, and lets the reporters send what they have no acknowledgement for: then all is there.
    async fn settle(&mut self) {
        let store = self.open().await.unwrap();
        self.check(&store);
        self.act(&store, Action::Resend).await;
        assert!(self.senders.iter().all(|sender| sender.acknowledged == sender.sent));
        self.check(&store);
        store.close().await.unwrap();
    }
}

/// Runs a script with one fault; then the power goes, whatever happened.
async fn survives(script: &[Action], seed: u64, faults: &[(u64, Fault)]) -> u64 {
    let mut world = World::new(seed);
    for (operation, fault) in faults {
        world.disk.fail_at(*operation, *fault);
    }
    if let Some(store) = world.open().await {
        for action in script {
            world.act(&store, *action).await;
            if world.disk.is_down() {
                break;
            }
            world.check(&store);
        }
        world.crash(store).await;
    } else {
        world.disk.restart();
    }
    let operations = world.disk.operations();
    world.settle().await;
    world.settle().await;
    operations
}

const SCRIPT: [Action; 10] = {
    use Action::{Append, Compact, Seal};
    [Append, Append, Seal, Append, Seal, Compact, Append, Seal, Compact, Append]
};

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work)
}

#[test]
fn every_operation_may_be_the_last_before_a_crash() {
    run(async {
        let operations = survives(&SCRIPT, 0, &[]).await;
        assert!(operations > 80, "{operations} operations");
        for operation in 0..operations {
            survives(&SCRIPT, operation, &[(operation, Fault::Crash)]).await;
        }
    });
}

#[test]
fn every_operation_may_fail() {
    run(async {
        let operations = survives(&SCRIPT, 0, &[]).await;
        for operation in 0..operations {
            survives(&SCRIPT, operation, &[(operation, Fault::Error)]).await;
        }
    });
}

#[test]
fn what_a_failed_start_has_left_is_synced_by_the_next() {
    // The manifest is renamed, and the sync of its directory fails.
    run(survives(&[Action::Append, Action::Seal], 1_574_976_394_349_872_066, &[(6, Fault::Error)]));
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::Append),
        1 => Just(Action::Resend),
        3 => Just(Action::Seal),
        1 => Just(Action::Compact),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn rows_survive_any_failures_before_a_crash(
        seed in any::<u64>(),
        script in prop::collection::vec(action(), 1..14),
        faults in prop::collection::vec((0_u64..200, prop_oneof![3 => Just(Fault::Error), 1 => Just(Fault::Crash)]), 0..6),
    ) {
        run(survives(&script, seed, &faults));
    }
}
