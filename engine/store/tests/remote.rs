//! The sealed files in an object store, through what the crate makes public. The same function serves a real
//! S3-compatible store: `TOLLGATE_S3_ENDPOINT=http://127.0.0.1:8333 TOLLGATE_S3_BUCKET=test`.
#![allow(clippy::unwrap_used, reason = "tests, and what they share")]

use std::path::Path;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use object_store::memory::InMemory;
use tollgate_attributes::{BatchBuilder, BatchLimits, Row};
use tollgate_store::{
    CompactionLimits, LocalDisk, Marks, Partition, Position, Remote, Retention, S3, Seal, Sealed, SealedOptions,
    TableSpec,
};

const NINE_US: i64 = 1_772_355_600_000_000;
const HOUR_US: i64 = 3_600_000_000;

fn requests() -> TableSpec {
    TableSpec {
        name: "requests",
        schema: tollgate_attributes::schema(),
        time: "time",
        sort: &["destination", "time"],
        bloom: &["trace_id", "request_id"],
        partition: Partition::Hour,
        merge: None,
        retention: Retention { age: Some(std::time::Duration::from_secs(86_400)), bytes: None },
    }
}

fn rows(first: u64) -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX });
    for id in first..first + 100 {
        let (destination, request_id) = (format!("shop/{}", id % 7), id.to_string());
        let time = NINE_US + id as i64 * 1_000_000;
        let _ = builder.push(&Row {
            time,
            destination: &destination,
            request_id: &request_id,
            weight: 1,
            ..Row::default()
        });
    }
    builder.finish().unwrap()
}

async fn open(dir: &Path, remote: &Remote) -> (Sealed, Position) {
    let options = SealedOptions {
        dir: dir.to_owned(),
        engine: "e1".into(),
        disk: Arc::new(LocalDisk),
        remote: Some(remote.clone()),
        compaction: CompactionLimits::default(),
    };
    let (sealed, opened) = Sealed::open(options, vec![requests()]).await.unwrap();
    assert_eq!(opened.aside, []);
    (sealed, opened.sealed_through)
}

/// Seals, restarts, compacts, verifies and expires rows in a store.
async fn lives_in(remote: Remote) {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, _) = open(dir.path(), &remote).await;
    for seal in 1..=4 {
        let tables = vec![(0, vec![rows(seal * 100)])];
        sealed.seal(Seal { through: Position(seal), marks: Marks::default(), tables }).await.unwrap();
    }
    drop(sealed);
    let (sealed, through) = open(dir.path(), &remote).await;
    assert_eq!((through, sealed.files()[0].len()), (Position(4), 4));
    let compaction = sealed.compact_step(NINE_US + 2 * HOUR_US).await.unwrap().unwrap();
    assert_eq!((compaction.removed.len(), compaction.added.len(), compaction.added[0].rows), (4, 1, 400));
    drop(compaction);
    let verified = sealed.verify(|_| {}).await.unwrap();
    assert_eq!((verified.faults, verified.progress.rows), (vec![], 400));
    assert_eq!(sealed.sweep().await.unwrap(), 0);
    assert_eq!(sealed.expire(NINE_US + 48 * HOUR_US).await.unwrap().len(), 1);
    assert!(sealed.files()[0].is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn lives_in_memory() {
    let store = Arc::new(InMemory::new());
    lives_in(Remote { store, bucket: "memory".into(), endpoint: None, prefix: "telemetry".into() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lives_in_s3_where_there_is_one() {
    let variable = |name: &str| std::env::var(name).ok();
    let Some(endpoint) = variable("TOLLGATE_S3_ENDPOINT") else { return };
    let s3 = S3 {
        endpoint: Some(endpoint),
        region: Some("us-east-1".to_owned()),
        bucket: variable("TOLLGATE_S3_BUCKET").unwrap_or_else(|| "test".to_owned()),
        prefix: format!("store-test-{}", std::process::id()),
        access_key_id: Some(variable("AWS_ACCESS_KEY_ID").unwrap_or_else(|| "any".to_owned())),
        secret_access_key: Some(variable("AWS_SECRET_ACCESS_KEY").unwrap_or_else(|| "any".to_owned())),
    };
    lives_in(Remote::s3(&s3).unwrap()).await;
}
