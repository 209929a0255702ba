use std::time::Duration;

use super::*;
use crate::TableSpec;
use crate::sealed::tests::{HOUR_US, NINE_US, a_seal, options, read, requests, rows, shown};

async fn sealed_hours(dir: &std::path::Path, retention: Retention) -> Sealed {
    let table = TableSpec { retention, ..requests() };
    let (sealed, _) = Sealed::open(options(dir), vec![table]).await.unwrap();
    for hour in 0..4_u64 {
        let batch = rows(NINE_US + hour as i64 * HOUR_US, hour * 10..hour * 10 + 10);
        sealed.seal(a_seal(hour + 1, vec![batch])).await.unwrap();
    }
    sealed
}

fn kept(sealed: &Sealed) -> Vec<u64> {
    shown(&read(sealed)).into_keys().collect()
}

#[tokio::test]
async fn what_is_too_old_goes_when_nobody_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { age: Some(Duration::from_secs(7_200)), bytes: None };
    let sealed = sealed_hours(dir.path(), retention).await;
    assert!(sealed.expire(NINE_US + HOUR_US).await.unwrap().is_empty());
    let held = sealed.files();
    let expired = sealed.expire(NINE_US + 4 * HOUR_US).await.unwrap();
    assert_eq!(expired.iter().map(|file| file.rows).sum::<u64>(), 20);
    assert_eq!(kept(&sealed), (20..40).collect::<Vec<_>>());
    let path = dir.path().join(expired[0].key.as_ref());
    assert!(path.exists(), "it is still read");
    drop((held, expired));
    sealed.sweep().await.unwrap();
    assert!(!path.exists());
    assert_eq!(sealed.verify(|_| {}).await.unwrap().faults, []);
}

#[tokio::test]
async fn a_table_that_is_too_large_loses_its_oldest_files() {
    let dir = tempfile::tempdir().unwrap();
    let sealed = sealed_hours(dir.path(), Retention::default()).await;
    let bytes = sealed.files()[0].iter().map(|file| file.bytes).max().unwrap() * 5 / 2;
    drop(sealed);
    let table = TableSpec { retention: Retention { age: None, bytes: Some(bytes) }, ..requests() };
    let (sealed, _) = Sealed::open(options(dir.path()), vec![table]).await.unwrap();
    assert_eq!(sealed.expire(0).await.unwrap().len(), 2);
    assert_eq!(kept(&sealed), (20..40).collect::<Vec<_>>());
    assert!(sealed.expire(0).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_missing_file_is_forgotten_once_it_would_be_too_old() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { age: Some(Duration::from_secs(7_200)), bytes: None };
    let sealed = sealed_hours(dir.path(), retention).await;
    let key = sealed.files()[0][0].key.clone();
    drop(sealed);
    std::fs::remove_file(dir.path().join(key.as_ref())).unwrap();
    let open = || Sealed::open(options(dir.path()), vec![TableSpec { retention, ..requests() }]);
    let (sealed, opened) = open().await.unwrap();
    assert_eq!(opened.aside.len(), 1);
    sealed.expire(NINE_US + 3 * HOUR_US).await.unwrap();
    drop(sealed);
    assert_eq!(open().await.unwrap().1.aside, []);
}
