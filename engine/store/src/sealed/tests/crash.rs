//! Whatever step fails, and wherever the power goes: no row is lost, and none is there twice.

use crate::disk::failing::{FailingDisk, Fault};

use super::*;

const SEALS: u64 = 5;
const NOW_US: i64 = NINE_US + 3 * HOUR_US;

/// `requests` with a few of its columns.
fn narrow() -> TableSpec {
    let schema = Arc::new(requests().schema.project(&columns()).unwrap());
    TableSpec { schema, bloom: &["request_id"], ..requests() }
}

fn columns() -> Vec<usize> {
    let schema = requests().schema;
    ["time", "destination", "request_id"].iter().map(|name| schema.index_of(name).unwrap()).collect()
}

/// Rows of one seal, in two hours.
fn batches(seal: u64) -> Vec<RecordBatch> {
    let first = seal * 20;
    let wide =
        [rows(NINE_US + seal as i64 * 1_000, first..first + 12), rows(NINE_US + HOUR_US, first + 12..first + 20)];
    wide.map(|rows| rows.project(&columns()).unwrap()).to_vec()
}

fn ids(seals: u64) -> Vec<u64> {
    (0..seals * 20).collect()
}

async fn open_on(disk: &FailingDisk, dir: &std::path::Path) -> Result<(Sealed, Opened), StoreError> {
    Sealed::open(SealedOptions { disk: Arc::new(disk.clone()), ..options(dir) }, vec![narrow()]).await
}

/// Seals and compacts in turn; a seal that fails is tried again with the same rows, as the store does. Returns how many
/// were acknowledged.
async fn work(sealed: &Sealed, disk: &FailingDisk) -> u64 {
    for seal in 0..SEALS {
        while let Err(error) = sealed.seal(a_seal(seal + 1, batches(seal))).await {
            assert!(error.to_string().starts_with("cannot "), "{error}");
            if disk.is_down() {
                return seal;
            }
        }
        if seal % 3 == 2 {
            while let Ok(Some(_)) = sealed.compact_step(NOW_US).await {}
        }
    }
    SEALS
}

async fn check_fault_at(step: u64, fault: Fault) -> bool {
    let (dir, graves) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = FailingDisk::new(graves.path(), step);
    let (sealed, _) = open_on(&disk, dir.path()).await.unwrap();
    disk.fail_at(disk.operations() + step, fault);
    let begun = disk.operations();
    let acknowledged = work(&sealed, &disk).await;
    let is_reached = disk.operations() - begun > step;
    if !disk.is_down() {
        assert_eq!(acknowledged, SEALS, "an error at step {step} is no end");
        assert_eq!(shown(&read(&sealed)).into_keys().collect::<Vec<_>>(), ids(SEALS), "{fault:?} at {step}");
    }
    drop(sealed);
    disk.crash();
    disk.restart();
    let (sealed, opened) = open_on(&disk, dir.path()).await.unwrap();
    let found = opened.sealed_through.0;
    assert!(found == acknowledged || found == acknowledged + 1, "{fault:?} at {step}: {found} of {acknowledged}");
    assert_eq!(shown(&read(&sealed)).into_keys().collect::<Vec<_>>(), ids(found), "{fault:?} at {step}");
    assert_eq!(opened.aside, [], "{fault:?} at {step}");
    assert_eq!(sealed.verify(|_| {}).await.unwrap().faults, [], "{fault:?} at {step}");
    let listed = sealed.files()[0].len();
    assert_eq!(parquet_files(&dir.path().join(TABLES)).len(), listed, "{fault:?} at {step}: nothing is left behind");
    is_reached
}

#[tokio::test]
async fn every_step_may_fail() {
    check_all(Fault::Error).await;
}

#[tokio::test]
async fn the_power_may_go_at_every_step() {
    check_all(Fault::Crash).await;
}

async fn check_all(fault: Fault) {
    let mut step = 0;
    while check_fault_at(step, fault).await {
        step += 1;
    }
    assert!(step > 60, "{step} steps");
}

#[tokio::test]
async fn a_full_disk_is_told_apart_and_leaves_no_files() {
    let (dir, graves) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = FailingDisk::new(graves.path(), 1);
    let (sealed, _) = open_on(&disk, dir.path()).await.unwrap();
    sealed.seal(a_seal(1, batches(0))).await.unwrap();
    let before = parquet_files(dir.path()).len();
    disk.set_full(true);
    for _ in 0..3 {
        assert!(sealed.seal(a_seal(2, batches(1))).await.unwrap_err().is_full());
    }
    assert_eq!(parquet_files(dir.path()).len(), before);
    disk.set_full(false);
    sealed.seal(a_seal(2, batches(1))).await.unwrap();
    assert_eq!(shown(&read(&sealed)).into_keys().collect::<Vec<_>>(), ids(2));
}
