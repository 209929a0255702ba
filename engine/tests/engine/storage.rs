//! What was acknowledged is kept: over restarts, in files, within bounds, and seen whole by every query.

use std::io::{self, IoSlice};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tollgate_api::v1;
use tollgate_attributes::Row;
use tollgate_engine::{Durability, SamplingConfig, StorageState};
use tollgate_store::{Disk, DiskEntry, DiskFile, LocalDisk};

use crate::harness::{Running, encode, hello, now_us, request, wait_for};

/// Raw rows and each rollup agree, and are as many as they should be.
async fn expect_requests(running: &Running, expected: i64) {
    assert_eq!(running.number("SELECT CAST(coalesce(sum(weight), 0) AS BIGINT) FROM requests").await, expected);
    for table in ["traffic_1s", "traffic_1m", "traffic_1h", "traffic"] {
        let sum = format!("SELECT CAST(coalesce(sum(requests), 0) AS BIGINT) FROM {table}");
        assert_eq!(running.number(&sum).await, expected, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_rollups_outlive_restarts_and_duplicates_do_not_count() {
    let mut running = Running::start().await;
    let bytes = encode(&[request("catalog-1"), request("catalog-1"), request("catalog-1")]);
    let batch = |sequence| v1::Batch { sequence, arrow_ipc: bytes.clone().into() };
    for round in 1..=3 {
        let session = running.engine.report(hello("catalog-1")).unwrap();
        assert_eq!(session.acknowledged().acknowledged_sequence, round - 1);
        for sequence in [round, round, 1] {
            let response = session.admit(batch(sequence)).await;
            assert_eq!((response.acknowledged_sequence, response.rejections.len()), (round, 0));
        }
        drop(session);
        expect_requests(&running, 3 * round as i64).await;
        running = running.restart_with(|_| {}).await;
        expect_requests(&running, 3 * round as i64).await;
    }
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_batch_stays_refused_over_a_restart() {
    let running = Running::start().await;
    let session = running.engine.report(hello("catalog-1")).unwrap();
    let response = session.admit(v1::Batch { sequence: 1, arrow_ipc: b"nonsense".to_vec().into() }).await;
    assert_eq!((response.acknowledged_sequence, response.rejections.len()), (1, 1));
    drop(session);
    let running = running.restart_with(|_| {}).await;
    let session = running.engine.report(hello("catalog-1")).unwrap();
    assert_eq!(session.acknowledged().acknowledged_sequence, 1);
    drop(session);
    expect_requests(&running, 0).await;
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_rows_than_memory_holds_are_sealed_and_none_is_lost() {
    let running = Running::start_with(|config| config.hot_bytes_max = 4 << 20).await;
    let session = running.engine.report(hello("catalog-1")).unwrap();
    let id = |number: usize| format!("{number:08}").repeat(8);
    for sequence in 0..20 {
        let ids: Vec<String> = (0..2_000).map(|row| id(sequence * 2_000 + row)).collect();
        let rows: Vec<Row<'_>> = ids.iter().map(|id| Row { request_id: id, ..request("catalog-1") }).collect();
        let batch = v1::Batch { sequence: sequence as u64 + 1, arrow_ipc: encode(&rows).into() };
        assert_eq!(session.admit(batch).await.acknowledged_sequence, sequence as u64 + 1);
    }
    expect_requests(&running, 40_000).await;
    assert!(running.number("SELECT count(*) FROM storage_files WHERE table_name = 'requests'").await > 0);
    assert_eq!(running.number("SELECT count(DISTINCT request_id) FROM requests").await, 40_000);
    let wanted = format!("SELECT count(*) FROM requests WHERE request_id = '{}'", id(777));
    assert_eq!(running.number(&wanted).await, 1);
    assert_eq!(running.number("SELECT count(*) FROM storage WHERE state = 'ok' AND reason IS NULL").await, 1);
    drop(session);

    let running = running.restart_with(|_| {}).await;
    expect_requests(&running, 40_000).await;
    assert_eq!(running.number(&wanted).await, 1);
    let plan = running.table(&format!("EXPLAIN ANALYZE {wanted}")).await;
    let source = plan.split("DataSourceExec: file_groups").nth(1).expect("files are read");
    assert!(source.contains("predicate=request_id") && source.contains("row_groups_pruned_bloom_filter"), "{plan}");
    let elsewhen = "EXPLAIN SELECT count(*) FROM requests WHERE time > now() + INTERVAL '1 hour' AND status = 200";
    let plan = running.table(elsewhen).await;
    assert!(!plan.contains("file_groups"), "a file of another time is not looked at: {plan}");
    let last = "SELECT count(*) FROM (SELECT * FROM requests ORDER BY time DESC LIMIT 100)";
    assert_eq!(running.number(last).await, 100);
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_sees_one_moment() {
    let running = Running::start_with(|config| {
        config.seal_after = Duration::from_millis(200);
        config.hot_bytes_max = 8 << 20;
    })
    .await;
    let writing = async {
        for _ in 0..150 {
            running.report("catalog-1", &vec![request("catalog-1"); 200]).await;
        }
    };
    let reading = async {
        let mut before = 0;
        loop {
            let rows = running
                .rows("SELECT (SELECT count(*) FROM requests), (SELECT CAST(coalesce(sum(requests), 0) AS BIGINT) FROM traffic_1s)")
                .await;
            let number = |column: usize| {
                let column = arrow::compute::cast(rows[0].column(column), &arrow::datatypes::DataType::Int64).unwrap();
                arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&column).value(0)
            };
            assert_eq!(number(0), number(1), "raw rows and rollups of one moment");
            assert_eq!(number(0) % 200, 0, "a batch is visible whole or not at all");
            assert!(number(0) >= before, "what was seen stays");
            before = number(0);
            if before == 30_000 {
                break;
            }
        }
    };
    tokio::join!(writing, reading);
    wait_for("a seal", async || running.number("SELECT seals FROM storage").await > 0).await;
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sampled_rows_carry_weight_and_rollups_count_all() {
    let sampling = vec![SamplingConfig { service: None, keep_one_in: NonZeroU32::new(10).unwrap(), slow: None }];
    let running = Running::start_with(|config| config.sampling = sampling.clone()).await;
    let mut rows = Vec::new();
    for number in 0..2_000_u128 {
        // Ids as random ones are.
        let id = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834);
        rows.push(Row { trace_id: Some(id.to_be_bytes()), ..request("catalog-1") });
    }
    rows.extend(vec![Row { status: Some(500), ..request("catalog-1") }; 10]);
    running.report("catalog-1", &rows).await;
    assert_eq!(running.number("SELECT count(*) FROM requests WHERE status = 500 AND weight = 1").await, 10);
    let kept = running.number("SELECT count(*) FROM requests WHERE weight = 10").await;
    assert!((100..400).contains(&kept), "{kept} of 2,000 kept");
    let counted = "SELECT CAST(sum(requests) AS BIGINT) FROM traffic";
    assert_eq!(running.number(counted).await, 2_010);
    let running = running.restart_with(|config| config.sampling = sampling).await;
    assert_eq!(running.number("SELECT count(*) FROM requests WHERE weight = 10").await, kept, "the same rows again");
    assert_eq!(running.number(counted).await, 2_010);
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_from_another_time_are_refused_with_a_reason() {
    let running = Running::start().await;
    let session = running.engine.report(hello("catalog-1")).unwrap();
    let hour_us = 3_600_000_000;
    for (sequence, time, word) in [(1, now_us() + hour_us, "future"), (2, now_us() - 25 * hour_us, "past")] {
        let bytes = encode(&[Row { time, ..request("catalog-1") }]);
        let response = session.admit(v1::Batch { sequence, arrow_ipc: bytes.into() }).await;
        assert_eq!(response.acknowledged_sequence, sequence);
        assert!(response.rejections[0].message.contains(word), "{:?}", response.rejections);
    }
    let late = encode(&[Row { time: now_us() - 2 * hour_us, ..request("catalog-1") }]);
    assert!(session.admit(v1::Batch { sequence: 3, arrow_ipc: late.into() }).await.rejections.is_empty());
    expect_requests(&running, 1).await;
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_ends_by_itself() {
    let disk = Arc::new(SmallDisk::default());
    let running = Running::start_with(|config| config.disk = Some(disk.clone())).await;
    running.report("catalog-1", &[request("catalog-1")]).await;
    disk.is_full.store(true, Ordering::Relaxed);
    let session = Arc::new(running.engine.report(hello("catalog-1")).unwrap());
    let batch = v1::Batch { sequence: 2, arrow_ipc: encode(&[request("catalog-1")]).into() };
    let waiting = tokio::spawn({
        let session = Arc::clone(&session);
        async move { session.admit(batch).await }
    });
    let state = "SELECT count(*) FROM storage WHERE state = 'full' AND reason IS NOT NULL";
    wait_for("the state", async || running.number(state).await == 1).await;
    assert_eq!(running.engine.status().storage.state, StorageState::Full);
    let mut registry = prometheus_client::registry::Registry::default();
    running.engine.metrics().register(&mut registry);
    wait_for("the metric", async || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.contains("tollgate_storage_state{state=\"full\"} 1")
    })
    .await;
    assert!(!waiting.is_finished(), "it is not acknowledged");
    assert_eq!(running.number("SELECT count(*) FROM requests").await, 1, "queries go on");

    disk.is_full.store(false, Ordering::Relaxed);
    assert_eq!(waiting.await.unwrap().acknowledged_sequence, 2);
    wait_for("the state", async || running.engine.status().storage.state == StorageState::Ok).await;
    drop(session);
    let running = running.restart_with(|_| {}).await;
    expect_requests(&running, 2).await;
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_older_than_they_are_kept_are_refused_and_a_shorter_retention_loses_nothing_in_the_log() {
    let late_us = now_us() - 2 * 3_600_000_000;
    let late =
        |sequence| v1::Batch { sequence, arrow_ipc: encode(&[Row { time: late_us, ..request("catalog-1") }]).into() };
    let running = Running::start().await;
    let session = running.engine.report(hello("catalog-1")).unwrap();
    assert!(session.admit(late(1)).await.rejections.is_empty());
    drop(session);
    let hour = Some(Duration::from_secs(3_600));
    let running = running.restart_with(|config| config.retention.requests.age = hour).await;
    assert_eq!(running.number("SELECT count(*) FROM storage WHERE cardinality(aside) = 0").await, 1);
    let session = running.engine.report(hello("catalog-1")).unwrap();
    let response = session.admit(late(2)).await;
    assert!(response.rejections[0].message.contains("at most 3600 s"), "{:?}", response.rejections);
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_log_an_orderly_end_still_keeps_all() {
    let running = Running::start_with(|config| config.durability = Durability::Memory).await;
    running.report("catalog-1", &vec![request("catalog-1"); 100]).await;
    expect_requests(&running, 100).await;
    let running = running.restart_with(|_| {}).await;
    expect_requests(&running, 100).await;
    let session = running.engine.report(hello("catalog-1")).unwrap();
    assert_eq!(session.acknowledged().acknowledged_sequence, 1);
    running.engine.shutdown().await;
}

/// The file system of this machine, with no room as long as somebody says so.
#[derive(Debug, Default)]
struct SmallDisk {
    is_full: Arc<AtomicBool>,
}

struct SmallFile {
    file: Box<dyn DiskFile>,
    is_full: Arc<AtomicBool>,
}

impl SmallDisk {
    fn small(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(SmallFile { file, is_full: Arc::clone(&self.is_full) })
    }
}

impl Disk for SmallDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        LocalDisk.create(path).map(|file| self.small(file))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        LocalDisk.append(path).map(|file| self.small(file))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>> {
        LocalDisk.read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        LocalDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        LocalDisk.remove(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        LocalDisk.make_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        LocalDisk.sync_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>> {
        LocalDisk.list(dir)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        if self.is_full.load(Ordering::Relaxed) { Ok(0) } else { LocalDisk.free_bytes(path) }
    }
}

impl DiskFile for SmallFile {
    fn write_all(&mut self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all(parts)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.file.truncate(bytes)
    }
}
