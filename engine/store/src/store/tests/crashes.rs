//! Lets every single operation on files fail, or be the last one before the power goes, and counts rows afterwards.

use proptest::prelude::*;

use super::*;
use crate::compaction::CompactionLimits;
use crate::disk::failing::{FailingDisk, Fault};
use crate::objects::Remote;
use crate::objects::failing::FailingStore;

/// How many cases of random failures are tried: `TOLLGATE_STORE_CASES`, thousands before a release.
pub(super) fn cases(otherwise: u32) -> u32 {
    std::env::var("TOLLGATE_STORE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(otherwise)
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    /// Two reporters send their next batches.
    Append,
    /// They send all again that was not acknowledged.
    Resend,
    Seal,
    Compact,
}

/// What a reporter knows: batches up to `sent` were sent, those up to `acknowledged` are kept for certain.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sender {
    pub(super) sent: i64,
    pub(super) acknowledged: i64,
}

/// What happens, and which operations on files fail.
pub(super) struct Plan<'a> {
    pub(super) script: &'a [Action],
    pub(super) faults: &'a [(u64, Fault)],
}

pub(super) struct World {
    dir: tempfile::TempDir,
    disk: FailingDisk,
    /// Where sealed files go, if not to the disk.
    pub(super) objects: Option<FailingStore>,
    pub(super) senders: [Sender; 2],
}

impl World {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("graves")).unwrap();
        let disk = FailingDisk::new(&dir.path().join("graves"), seed);
        Self { dir, disk, objects: None, senders: Default::default() }
    }

    pub(super) fn remote(seed: u64) -> Self {
        Self { objects: Some(FailingStore::new(seed)), ..Self::new(seed) }
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

    pub(super) async fn open(&self) -> Option<Arc<Store>> {
        let mut options = options(&self.dir.path().join("data"));
        options.disk = Arc::new(self.disk.clone());
        options.remote = self.objects.clone().map(|objects| Remote {
            store: Arc::new(objects),
            bucket: "failing".to_owned(),
            endpoint: None,
            prefix: "telemetry".into(),
        });
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

    pub(super) async fn act(&mut self, store: &Arc<Store>, action: Action) {
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
    pub(super) fn check(&self, store: &Store) {
        // Reading from an object store blocks.
        let (ids, counted) = tokio::task::block_in_place(|| contents(store));
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

    pub(super) async fn crash(&self, store: Arc<Store>) {
        self.disk.crash();
        let _ = store.close().await;
        drop(store);
        self.disk.restart();
    }

    /// Runs a script; then the power goes, whatever happened.
    pub(super) async fn run(&mut self, Plan { script, faults }: Plan<'_>) {
        for (operation, fault) in faults {
            self.disk.fail_at(*operation, *fault);
        }
        let Some(store) = self.open().await else { return self.disk.restart() };
        for action in script {
            self.act(&store, *action).await;
            if self.disk.is_down() {
                break;
            }
            // With an object store that fails, files can be counted only when it is back.
            if self.objects.is_none() {
                self.check(&store);
            }
        }
        self.crash(store).await;
    }

    /// Everything is as it was written, and nothing else is in the object store.
    pub(super) async fn check_objects(&self) {
        let store = self.open().await.unwrap();
        let verified = store.sealed().verify(|_| {}).await.unwrap();
        assert_eq!(verified.faults, []);
        let listed: usize = store.sealed().files().iter().map(Vec::len).sum();
        store.close().await.unwrap();
        let keys = self.objects.as_ref().unwrap().keys().await;
        assert_eq!(keys.len(), listed, "{keys:?}");
    }

    /// Opens, checks, and lets the reporters send what they have no acknowledgement for: then all is there.
    pub(super) async fn settle(&mut self) {
        let store = self.open().await.unwrap();
        self.check(&store);
        self.act(&store, Action::Resend).await;
        assert!(self.senders.iter().all(|sender| sender.acknowledged == sender.sent));
        self.check(&store);
        store.close().await.unwrap();
    }
}

/// Runs a script with some faults. Returns how many operations that was.
async fn survives(script: &[Action], seed: u64, faults: &[(u64, Fault)]) -> u64 {
    let mut world = World::new(seed);
    world.run(Plan { script, faults }).await;
    let operations = world.disk.operations();
    world.settle().await;
    world.settle().await;
    operations
}

pub(super) const SCRIPT: [Action; 10] = {
    use Action::{Append, Compact, Seal};
    [Append, Append, Seal, Append, Seal, Compact, Append, Seal, Compact, Append]
};

pub(super) fn run<T>(work: impl Future<Output = T>) -> T {
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

pub(super) fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::Append),
        1 => Just(Action::Resend),
        3 => Just(Action::Seal),
        1 => Just(Action::Compact),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(24)))]
    #[test]
    fn rows_survive_any_failures_before_a_crash(
        seed in any::<u64>(),
        script in prop::collection::vec(action(), 1..14),
        faults in prop::collection::vec((0_u64..200, prop_oneof![3 => Just(Fault::Error), 1 => Just(Fault::Crash)]), 0..6),
    ) {
        run(survives(&script, seed, &faults));
    }
}
