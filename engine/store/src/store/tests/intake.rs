use tokio_util::sync::CancellationToken;

use super::*;
use crate::disk::failing::FailingDisk;

#[tokio::test]
async fn a_batch_that_comes_again_is_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_local(dir.path()).await;
    assert_eq!(append(&store, 0, 1).await.unwrap(), Appended::New);
    assert_eq!(append(&store, 0, 1).await.unwrap(), Appended::Duplicate);
    store.close().await.unwrap();
    drop(store);
    let store = open_local(dir.path()).await;
    assert_eq!(append(&store, 0, 1).await.unwrap(), Appended::Duplicate, "after a restart");
    store.seal_now().await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = open_local(dir.path()).await;
    assert_eq!(append(&store, 0, 1).await.unwrap(), Appended::Duplicate, "after it was sealed");
    assert_eq!(store.mark("r0", 1), 1);
    assert_holds(&store, [(0, 1)].into_iter());
}

#[tokio::test]
async fn a_batch_on_two_connections_waits_for_the_first_one() {
    let dir = tempfile::tempdir().unwrap();
    let disk = failing(dir.path());
    let (store, _) = open(StoreOptions { disk: Arc::new(disk.clone()), ..options(dir.path()) }).await.unwrap();
    disk.set_full(true);
    let (record, rows) = batch(0, 1);
    let first = store.offer(record.clone(), rows.clone()).await.unwrap();
    let second = store.offer(record, rows).await.unwrap();
    let mut kept = Box::pin(second.kept());
    assert!(tokio::time::timeout(Duration::from_millis(30), &mut kept).await.is_err());
    assert_eq!(store.mark("r0", 1), 0);
    assert!(store.view().tables[0].hot.is_empty(), "what is not durable is not visible");
    disk.set_full(false);
    assert_eq!(kept.await.unwrap(), Appended::Duplicate);
    assert_eq!(first.kept().await.unwrap(), Appended::New);
    assert_holds(&store, [(0, 1)].into_iter());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_connections_of_one_reporter_keep_each_batch_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_local(dir.path()).await;
    let connection = |from: i64| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut new = 0;
            for sequence in from..=60 {
                new += usize::from(append(&store, 0, sequence).await.unwrap() == Appended::New);
            }
            new
        })
    };
    // Each begins with what it believes to be the oldest that was not acknowledged.
    let connections = [1, 1, 1, 1].map(connection);
    let mut new = 0;
    for connection in connections {
        new += connection.await.unwrap();
    }
    assert_eq!(new, 60);
    assert_holds(&store, (1..=60).map(|sequence| (0, sequence)));
}

#[tokio::test]
async fn a_sender_that_goes_away_has_its_rows_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_local(dir.path()).await;
    let (record, rows) = batch(0, 1);
    drop(store.offer(record, rows).await.unwrap());
    assert_eq!(append(&store, 0, 1).await.unwrap(), Appended::Duplicate);
    assert_holds(&store, [(0, 1)].into_iter());
}

#[tokio::test]
async fn a_refused_batch_moves_the_mark_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_local(dir.path()).await;
    append(&store, 0, 1).await.unwrap();
    let (record, rows) = empty(0, 2);
    store.append(record, rows).await.unwrap();
    assert_eq!(store.mark("r0", 1), 2);
    store.close().await.unwrap();
    drop(store);
    let store = open_local(dir.path()).await;
    assert_eq!(append(&store, 0, 2).await.unwrap(), Appended::Duplicate);
    assert_holds(&store, [(0, 1)].into_iter());
}

#[tokio::test]
async fn bad_batches_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_local(dir.path()).await;
    let (record, rows) = batch(0, 1);
    let other = super::rows("rows", std::iter::once((0, 1)));
    assert!(matches!(store.append(record.clone(), other).await, Err(StoreError::Rows { .. })));
    let large = Record { payload: vec![0; (32 << 20) + 1].into(), ..record.clone() };
    assert!(matches!(store.append(large, rows.clone()).await, Err(StoreError::TooLarge { .. })));
    for epoch in [5, 6] {
        store.append(Record { epoch, ..record.clone() }, rows.clone()).await.unwrap();
    }
    let error = store.append(Record { epoch: 4, ..record.clone() }, rows.clone()).await.unwrap_err();
    assert!(matches!(error, StoreError::Superseded { .. }), "{error}");
    store.close().await.unwrap();
    assert!(matches!(store.append(record, rows).await, Err(StoreError::Stopping | StoreError::Superseded { .. })));
}

#[tokio::test]
async fn senders_wait_while_memory_is_full_until_rows_are_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.memory.hot_bytes = 16_000;
    options.memory.seal_after = Duration::from_secs(3_600);
    let (store, _) = open(options).await.unwrap();
    let mut sequence = 0;
    loop {
        sequence += 1;
        let waited = tokio::time::timeout(Duration::from_millis(100), append(&store, 0, sequence)).await;
        if waited.is_err() {
            break;
        }
        assert!(sequence < 100, "memory has no bound");
    }
    assert!(store.status().hot_bytes <= 16_384);
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&store).run(stop.clone()));
    for sequence in sequence..=100 {
        append(&store, 0, sequence).await.unwrap();
    }
    stop.cancel();
    running.await.unwrap();
    assert_holds(&store, (1..=100).map(|sequence| (0, sequence)));
}

#[tokio::test]
async fn a_full_disk_is_a_state_that_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let disk = failing(dir.path());
    let (store, _) = open(StoreOptions { disk: Arc::new(disk.clone()), ..options(dir.path()) }).await.unwrap();
    append(&store, 0, 1).await.unwrap();
    disk.set_full(true);
    let error = store.seal_now().await.unwrap_err();
    assert!(error.is_full() && error.is_retryable(), "{error}");
    assert!(matches!(store.status().disk(), crate::DiskState::Full { .. }));
    assert_holds(&store, [(0, 1)].into_iter());
    disk.set_full(false);
    store.seal_now().await.unwrap();
    assert_eq!(store.status().disk(), crate::DiskState::Good);
    assert_holds(&store, [(0, 1)].into_iter());
}

#[tokio::test]
async fn the_state_of_the_disk_is_told_while_everything_is_being_written() {
    let dir = tempfile::tempdir().unwrap();
    let disk = failing(dir.path());
    let (store, _) = open(StoreOptions { disk: Arc::new(disk.clone()), ..options(dir.path()) }).await.unwrap();
    append(&store, 0, 1).await.unwrap();
    disk.set_full(true);
    store.seal_now().await.unwrap_err();
    let sealed = &store.core.sealed.state;
    let (_manifest, _rewriting) = (sealed.manifest.lock(), sealed.rewriting.lock());
    let (_books, _sealing) = (store.core.books.lock(), store.core.sealing.try_lock().unwrap());
    let (sender, answer) = std::sync::mpsc::channel();
    let asked = Arc::clone(&store);
    std::thread::spawn(move || sender.send(asked.disk()));
    let answer = answer.recv_timeout(Duration::from_secs(20)).expect("it waits for nobody");
    assert!(matches!(answer, crate::DiskState::Full { .. }), "{answer:?}");
}

fn failing(dir: &Path) -> FailingDisk {
    std::fs::create_dir(dir.join("graves")).unwrap();
    FailingDisk::new(&dir.join("graves"), 1)
}
