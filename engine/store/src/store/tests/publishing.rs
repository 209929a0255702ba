use super::*;
use crate::DiskState;

/// Counts so many batches, and panics at the next one.
struct Fragile(Count, usize);

impl Derive for Fragile {
    fn add(&mut self, rows: &RecordBatch) {
        assert!(self.1 > 0, "a batch that cannot be counted");
        self.1 -= 1;
        self.0.add(rows);
    }

    fn snapshot(&self) -> Vec<(usize, RecordBatch)> {
        self.0.snapshot()
    }

    fn take(&mut self) -> Vec<(usize, RecordBatch)> {
        self.0.take()
    }

    fn reduce(&mut self, rows: RecordBatch) -> RecordBatch {
        rows
    }
}

async fn open_fragile(options: StoreOptions, batches: usize) -> Arc<Store> {
    let derive = Box::new(Fragile(Count::default(), batches));
    Store::open(options, tables(), derive, rederive).await.unwrap().0
}

fn assert_broken<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    let error = result.unwrap_err();
    assert!(matches!(&error, StoreError::Broken { reason } if reason == "a batch that cannot be counted"), "{error}");
}

#[tokio::test]
async fn a_panic_while_publishing_is_seen_by_all_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_fragile(options(dir.path()), 1).await;
    append(&store, 0, 1).await.unwrap();
    assert_eq!(store.status().disk(), DiskState::Good);
    assert_broken(append(&store, 0, 2).await);
    assert_broken(append(&store, 0, 2).await);
    assert_broken(append(&store, 1, 1).await);
    assert_broken(store.seal_now().await);
    let DiskState::Failing { reason } = store.status().disk() else { panic!("{:?}", store.status().disk()) };
    assert!(reason.ends_with("a batch that cannot be counted"), "{reason}");
    assert_eq!(store.disk(), store.status().disk());
    store.close().await.unwrap();
    drop(store);
    let store = open_local(dir.path()).await;
    assert_holds(&store, [(0, 1), (0, 2)].into_iter());
}

#[tokio::test]
async fn senders_that_wait_for_room_are_told_of_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.memory.hot_bytes = 1;
    let store = open_fragile(options, 0).await;
    let (first, rows) = batch(0, 1);
    let first = store.offer(first, rows).await.unwrap();
    let waiting = append(&store, 0, 2);
    assert_broken(waiting.await);
    assert_broken(first.kept().await);
}

#[tokio::test]
async fn what_is_in_memory_only_is_sealed_in_spite_of_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { durability: Durability::Memory, ..options(dir.path()) };
    let store = open_fragile(options.clone(), 1).await;
    append(&store, 0, 1).await.unwrap();
    assert_broken(append(&store, 0, 2).await);
    store.close().await.unwrap();
    drop(store);
    assert_holds(&open(options).await.unwrap().0, [(0, 1)].into_iter());
}
