use parking_lot::Condvar;

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

    fn take(&mut self) -> Box<dyn Derived> {
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

/// Closed until it is opened once.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock() = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        self.1.wait_while(&mut self.0.lock(), |is_open| !*is_open);
    }
}

/// Counts, and makes rows of it only when it may.
struct Held(Count, Arc<Gate>);

struct HeldRows(Vec<(usize, RecordBatch)>, Arc<Gate>);

impl Derive for Held {
    fn add(&mut self, rows: &RecordBatch) {
        self.0.add(rows);
    }

    fn snapshot(&self) -> Vec<(usize, RecordBatch)> {
        self.0.snapshot()
    }

    fn take(&mut self) -> Box<dyn Derived> {
        let taken = self.snapshot();
        self.0 = Count::default();
        Box::new(HeldRows(taken, Arc::clone(&self.1)))
    }

    fn reduce(&mut self, rows: RecordBatch) -> RecordBatch {
        rows
    }
}

impl Derived for HeldRows {
    fn rows(&self) -> Result<Vec<(usize, RecordBatch)>, arrow::error::ArrowError> {
        self.1.pass();
        Ok(self.0.clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_published_while_a_seal_makes_rows_of_what_was_counted() {
    let (dir, gate) = (tempfile::tempdir().unwrap(), Arc::new(Gate::default()));
    let derive = Box::new(Held(Count::default(), Arc::clone(&gate)));
    let store = Store::open(options(dir.path()), tables(), derive, rederive).await.unwrap().0;
    append(&store, 0, 1).await.unwrap();
    let sealing = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.seal_now().await }
    });
    while store.core.books.lock().complete(&store.core.view).is_ok() {
        tokio::task::yield_now().await;
    }
    append(&store, 0, 2).await.unwrap();
    let looking = tokio::task::spawn_blocking({
        let store = Arc::clone(&store);
        move || contents(&store)
    });
    assert_eq!(store.stored_view().tables[0].hot.len(), 2, "what is durable is visible");
    gate.open();
    let (ids, counted) = looking.await.unwrap();
    assert_eq!((ids.len(), counted), (6, 6), "a query sees every row counted once");
    sealing.await.unwrap().unwrap();
    assert_holds(&store, [(0, 1), (0, 2)].into_iter());
    assert_eq!(store.view().tables[0].hot.len(), 1, "what came meanwhile is not sealed yet");
}
