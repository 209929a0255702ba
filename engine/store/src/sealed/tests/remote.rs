//! The same in an object store that is not a directory.

use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;

use super::*;
use crate::objects::Remote;

fn remote_options(dir: &std::path::Path, store: &Arc<InMemory>) -> SealedOptions {
    let remote = Remote { store: Arc::clone(store) as Arc<dyn ObjectStore>, prefix: Path::from("telemetry/prod") };
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
