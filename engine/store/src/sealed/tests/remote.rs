//! The same in an object store that is not a directory.

use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;

use super::*;
use crate::objects::Remote;

fn remote_options(dir: &std::path::Path, store: &Arc<InMemory>) -> SealedOptions {
    let remote = Remote {
        store: Arc::clone(store) as Arc<dyn ObjectStore>,
        bucket: "memory".to_owned(),
        endpoint: None,
        prefix: Path::from("telemetry/prod"),
    };
    SealedOptions { remote: Some(remote), ..options(dir) }
}

async fn open(dir: &std::path::Path, store: &Arc<InMemory>) -> (Sealed, Opened) {
    Sealed::open(remote_options(dir, store), vec![requests()]).await.unwrap()
}

async fn read(sealed: &Sealed) -> Vec<RecordBatch> {
    sealed
        .blocking(|state| {
            let files = state.files.load_full();
            let rows = |file: &Arc<SealedFile>| {
                state.objects.rows(file, 1_000).unwrap().map(Result::unwrap).collect::<Vec<_>>()
            };
            Ok(files[0].iter().flat_map(rows).collect())
        })
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_sealed_compacted_verified_and_expired() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
    let theirs = Path::from("telemetry/prod/tables/requests/date=2026-03-01/hour=09/theirs.parquet");
    store.put(&theirs, "text".into()).await.unwrap();
    let (sealed, _) = open(dir.path(), &store).await;
    let all: Vec<_> =
        (0..4).map(|seal| rows(NINE_US + seal as i64 * MINUTE_US, seal * 100..seal * 100 + 100)).collect();
    for (seal, batch) in all.iter().enumerate() {
        sealed.seal(a_seal(seal as u64 + 1, vec![batch.clone()])).await.unwrap();
    }
    assert!(sealed.compact_step(NINE_US + 2 * HOUR_US).await.unwrap().is_some());
    assert_eq!(shown(&read(&sealed).await), shown(&all));
    assert_eq!(sealed.verify(|_| {}).await.unwrap().faults, []);
    drop(sealed);

    let leftover = Path::from(
        "telemetry/prod/tables/requests/date=2026-03-01/hour=09/e1-0000000000000009-0000000000000009-9-0.parquet",
    );
    store.put(&leftover, "text".into()).await.unwrap();
    let (sealed, opened) = open(dir.path(), &store).await;
    assert_eq!((opened.sealed_through, opened.aside), (Position(4), vec![]));
    assert!(store.head(&leftover).await.is_err(), "our leftovers are removed");
    assert!(store.head(&theirs).await.is_ok(), "others' files are theirs");
    assert_eq!(shown(&read(&sealed).await), shown(&all));
    let key = sealed.files()[0][0].key.clone();
    assert!(sealed.object_store().head(&key).await.is_ok(), "keys are those of the store that we hand out");
}

/// Opens it with another place; says how that is refused.
async fn refusal(options: SealedOptions) -> String {
    let error = Sealed::open(options, vec![requests()]).await.unwrap_err();
    assert!(matches!(error, StoreError::Elsewhere { .. }) && !error.is_retryable(), "{error}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_place_than_that_of_the_files_is_refused() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
    let (sealed, _) = open(dir.path(), &store).await;
    sealed.seal(a_seal(1, vec![rows(NINE_US, 0..10)])).await.unwrap();
    drop(sealed);
    let mut local = options(dir.path());
    let refused = refusal(local.clone()).await;
    let expected = "are in `s3://memory/telemetry/prod`, and 1 of 1 are not in the data directory: start it with \
                    `s3://memory/telemetry/prod` as before, or copy `tables/` from there to the data directory first";
    assert!(refused.contains(expected), "{refused}");
    assert!(!dir.path().join(TABLES).exists() && !dir.path().join(ASIDE).exists());

    let elsewhere = |change: fn(&mut Remote)| {
        let mut options = remote_options(dir.path(), &store);
        let remote = options.remote.as_mut().unwrap();
        remote.store = Arc::new(InMemory::new());
        change(remote);
        options
    };
    let other_bucket = refusal(elsewhere(|remote| remote.bucket = "other".to_owned())).await;
    assert!(other_bucket.contains("not in `s3://other/telemetry/prod`"), "{other_bucket}");
    let other_prefix = refusal(elsewhere(|remote| remote.prefix = Path::from("test"))).await;
    assert!(other_prefix.contains("not in `s3://memory/test`"), "{other_prefix}");
    let other_store = refusal(elsewhere(|remote| remote.endpoint = Some("http://127.0.0.1:8333/".to_owned()))).await;
    assert!(other_store.contains("not in `s3://memory/telemetry/prod` at `http://127.0.0.1:8333`"), "{other_store}");

    let (sealed, opened) = open(dir.path(), &store).await;
    assert_eq!((opened.aside, shown(&read(&sealed).await).len()), (vec![], 10));
    drop(sealed);
    local.dir = tempfile::tempdir().unwrap().keep();
    let (sealed, _) = Sealed::open(local.clone(), vec![requests()]).await.unwrap();
    sealed.seal(a_seal(1, vec![rows(NINE_US, 0..10)])).await.unwrap();
    drop(sealed);
    let refused = refusal(remote_options(&local.dir, &Arc::new(InMemory::new()))).await;
    assert!(
        refused.contains("are in the data directory, and 1 of 1 are not in `s3://memory/telemetry/prod`"),
        "{refused}"
    );
    std::fs::remove_dir_all(local.dir).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_were_all_copied_are_served_from_where_they_are() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
    let (sealed, _) = open(dir.path(), &store).await;
    let files = sealed.seal(a_seal(1, vec![rows(NINE_US, 0..10)])).await.unwrap();
    let bytes = sealed.object_store().get(&files[0].key).await.unwrap().bytes().await.unwrap();
    drop(sealed);
    let path = dir.path().join(files[0].key.as_ref());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
    let (sealed, opened) = super::open(dir.path()).await;
    assert_eq!((opened.aside, shown(&super::read(&sealed)).len()), (vec![], 10));
    sealed.seal(a_seal(2, vec![rows(NINE_US, 10..20)])).await.unwrap();
    drop(sealed);
    let refused = refusal(remote_options(dir.path(), &store)).await;
    assert!(refused.contains("are in the data directory, and 1 of 2 are not in"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_is_uploaded_in_parts() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
    let (sealed, _) = open(dir.path(), &store).await;
    let key = Path::from("large");
    let bytes: Vec<u8> = (0..50_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    let (written, at) = (bytes.clone(), key.clone());
    sealed
        .blocking(move |state| {
            let mut upload = state.objects.create(&at)?;
            written.chunks(3_000_000).for_each(|chunk| std::io::Write::write_all(&mut upload, chunk).unwrap());
            upload.finish()
        })
        .await
        .unwrap();
    assert!(sealed.object_store().get(&key).await.unwrap().bytes().await.unwrap() == bytes);
}
