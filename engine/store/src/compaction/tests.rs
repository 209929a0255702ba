use std::path::Path;

use arrow::array::{Array as _, ArrayRef, AsArray as _, Int64Array, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;

use super::*;
use crate::sealed::tests::{HOUR_US, MINUTE_US, NINE_US, a_seal, options, read, requests, rows, shown};
use crate::{Partition, Position, Retention, Seal, TableSpec};

async fn open(dir: &Path, limits: CompactionLimits, tables: Vec<TableSpec>) -> Sealed {
    let mut options = options(dir);
    options.compaction = limits;
    Sealed::open(options, tables).await.unwrap().0
}

async fn compact(sealed: &Sealed, now_us: i64) -> usize {
    let mut steps = 0;
    while sealed.compact_step(now_us).await.unwrap().is_some() {
        steps += 1;
        assert!(steps < 200, "compaction comes to an end");
    }
    steps
}

fn is_sorted(sealed: &Sealed) -> bool {
    let files = sealed.files();
    files[0].iter().all(|file| {
        let batches: Vec<_> = sealed.state.objects.rows(file, 1_000).unwrap().map(Result::unwrap).collect();
        let all = concat_batches(&batches[0].schema(), &batches).unwrap();
        let times = all.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
        let names = arrow::compute::cast(all.column_by_name("destination").unwrap(), &DataType::Utf8).unwrap();
        let names = names.as_string::<i32>();
        (1..all.num_rows())
            .all(|row| (names.value(row - 1), times.value(row - 1)) <= (names.value(row), times.value(row)))
    })
}

#[tokio::test]
async fn a_closed_hour_becomes_one_sorted_file_with_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let sealed = open(dir.path(), CompactionLimits::default(), vec![requests()]).await;
    let mut all = Vec::new();
    for seal in 0..5 {
        let batch = rows(NINE_US + seal as i64 * MINUTE_US, seal * 300..seal * 300 + 300);
        all.push(batch.clone());
        sealed.seal(a_seal(seal + 1, vec![batch])).await.unwrap();
    }
    assert_eq!(compact(&sealed, NINE_US + HOUR_US).await, 0, "late rows may come");
    assert!(sealed.status(NINE_US + 2 * HOUR_US).tables[0].compaction_debt_bytes > 0);

    let before = sealed.files();
    assert_eq!(compact(&sealed, NINE_US + 2 * HOUR_US).await, 1);
    let files = sealed.files();
    assert_eq!(files[0].len(), 1);
    assert!(files[0][0].sorted && is_sorted(&sealed));
    assert_eq!(files[0][0].positions, (Position(1), Position(5)));
    assert_eq!(shown(&read(&sealed)), shown(&all));
    assert_eq!(sealed.status(NINE_US + 2 * HOUR_US).tables[0].compaction_debt_bytes, 0);

    let old = dir.path().join(before[0][0].key.as_ref());
    assert!(old.exists(), "somebody reads it");
    drop(before);
    assert_eq!(sealed.sweep().await.unwrap(), 0);
    assert!(!old.exists());
    drop((sealed, files));
    let sealed = open(dir.path(), CompactionLimits::default(), vec![requests()]).await;
    assert_eq!(shown(&read(&sealed)), shown(&all));
    assert_eq!(sealed.verify(|_| {}).await.unwrap().faults, []);
}

#[tokio::test]
async fn many_files_of_an_open_hour_are_put_together_in_the_order_of_arrival() {
    let dir = tempfile::tempdir().unwrap();
    let sealed = open(dir.path(), CompactionLimits::default(), vec![requests()]).await;
    let mut all = Vec::new();
    for seal in 0..40 {
        let batch = rows(NINE_US + seal as i64 * 1_000_000, seal * 10..seal * 10 + 10);
        all.push(batch.clone());
        sealed.seal(a_seal(seal + 1, vec![batch])).await.unwrap();
        compact(&sealed, NINE_US).await;
    }
    let files = sealed.files();
    assert!(files[0].len() <= 17, "{} files", files[0].len());
    assert!(files[0].iter().all(|file| !file.sorted));
    assert_eq!(shown(&read(&sealed)), shown(&all));
}

#[tokio::test]
async fn damaged_input_is_set_aside_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let sealed = open(dir.path(), CompactionLimits::default(), vec![requests()]).await;
    let mut paths = Vec::new();
    for seal in 0..3 {
        let files = sealed.seal(a_seal(seal + 1, vec![rows(NINE_US, seal * 300..seal * 300 + 300)])).await.unwrap();
        paths.push(dir.path().join(files[0].key.as_ref()));
    }
    let bytes = std::fs::read(&paths[1]).unwrap();
    let damaged: Vec<u8> =
        bytes.iter().enumerate().map(|(at, byte)| if at % 3 == 0 { byte ^ 0x55 } else { *byte }).collect();
    std::fs::write(&paths[1], damaged).unwrap();
    let now_us = NINE_US + 2 * HOUR_US;
    assert!(sealed.compact_step(now_us).await.is_err());
    compact(&sealed, now_us).await;
    assert_eq!(shown(&read(&sealed)).len(), 600);
    assert_eq!(sealed.status(now_us).aside.len(), 1);
}

/// Three files in each of two closed hours. Returns the paths of the first hour's.
async fn two_hours(dir: &Path) -> (Sealed, Vec<std::path::PathBuf>) {
    let sealed = open(dir, CompactionLimits::default(), vec![requests()]).await;
    let mut paths = Vec::new();
    for seal in 0..6_u64 {
        let time_us = NINE_US + (seal / 3) as i64 * HOUR_US;
        let files = sealed.seal(a_seal(seal + 1, vec![rows(time_us, seal * 10..seal * 10 + 10)])).await.unwrap();
        paths.push(dir.join(files[0].key.as_ref()));
    }
    paths.truncate(3);
    (sealed, paths)
}

fn asides(sealed: &Sealed) -> Vec<(String, bool)> {
    let aside = sealed.status(0).aside;
    aside.into_iter().map(|aside| (aside.reason, aside.moved_to.is_some())).collect()
}

#[tokio::test]
async fn an_absent_input_is_left_out_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, paths) = two_hours(dir.path()).await;
    std::fs::remove_file(&paths[1]).unwrap();
    let now_us = NINE_US + 4 * HOUR_US;
    assert_eq!(compact(&sealed, now_us).await, 2, "the other hour, then this one");
    assert_eq!(asides(&sealed), [("it is not there".to_owned(), false)]);
    assert_eq!(shown(&read(&sealed)).len(), 50);
    assert!(sealed.files()[0].iter().all(|file| file.sorted));
}

#[cfg(unix)]
#[tokio::test]
async fn an_input_that_cannot_be_read_twice_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, paths) = two_hours(dir.path()).await;
    std::fs::remove_file(&paths[1]).unwrap();
    // Opening a link to itself fails for everybody, root too.
    std::os::unix::fs::symlink(&paths[1], &paths[1]).unwrap();
    let now_us = NINE_US + 4 * HOUR_US;
    let step = sealed.compact_step(now_us).await.unwrap().unwrap();
    assert_eq!(step.removed[0].time_min_us, NINE_US + HOUR_US, "the next hour is compacted meanwhile");
    assert_eq!(asides(&sealed), [], "once may be chance");
    sealed.compact_step(now_us).await.unwrap_err();
    let [(reason, true)] = &asides(&sealed)[..] else { panic!("{:?}", asides(&sealed)) };
    assert!(reason.starts_with("it cannot be read: "), "{reason}");
    assert_eq!(compact(&sealed, now_us).await, 1);
    assert_eq!(shown(&read(&sealed)).len(), 50);
}

#[tokio::test]
async fn a_damaged_file_that_cannot_be_moved_is_not_served_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, paths) = two_hours(dir.path()).await;
    std::fs::write(&paths[1], "text").unwrap();
    std::fs::write(dir.path().join("aside"), "in the way").unwrap();
    compact(&sealed, NINE_US + 4 * HOUR_US).await;
    let [(reason, false)] = &asides(&sealed)[..] else { panic!("{:?}", asides(&sealed)) };
    assert!(reason.starts_with("it has 4 bytes, "), "{reason}");
    assert!(paths[1].exists() && shown(&read(&sealed)).len() == 50);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Whatever the bounds and in whatever pieces rows come: compaction changes no row and ends.
    #[test]
    fn compaction_keeps_every_row(
        seals in prop::collection::vec((0_i64..3, 1_u64..120), 1..24),
        rows_max in 1_u64..500, files_max in 2_usize..6, file_bytes in 20_000_u64..200_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let limits = CompactionLimits { rows_max, files_max, file_bytes, open_files_max: 3, ..CompactionLimits::default() };
            let sealed = open(dir.path(), limits, vec![requests()]).await;
            let (mut all, mut next) = (Vec::new(), 0);
            for (index, (hour, count)) in seals.iter().enumerate() {
                let batch = rows(NINE_US + hour * HOUR_US + index as i64 * MINUTE_US, next..next + count);
                next += count;
                all.push(batch.clone());
                sealed.seal(a_seal(index as u64 + 1, vec![batch])).await.unwrap();
                if index % 5 == 4 {
                    compact(&sealed, NINE_US + HOUR_US).await;
                }
            }
            compact(&sealed, NINE_US + 9 * HOUR_US).await;
            assert!(sealed.files()[0].iter().all(|file| file.sorted) && is_sorted(&sealed));
            assert_eq!(shown(&read(&sealed)), shown(&all));
            assert_eq!(sealed.verify(|_| {}).await.unwrap().faults, []);
        });
    }
}

/// Sums of `requests` by time.
fn sums() -> TableSpec {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields = vec![Field::new("time", time, false), Field::new("requests", DataType::Int64, false)];
    TableSpec {
        name: "sums",
        schema: Arc::new(Schema::new(fields)),
        time: "time",
        sort: &["time"],
        bloom: &[],
        partition: Partition::Day,
        merge: Some(merge_sums),
        retention: Retention::default(),
    }
}

fn merge_sums(batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let mut sums: Vec<(i64, i64)> = Vec::new();
    for batch in batches {
        let (times, counts) =
            (batch.column(0).as_primitive::<TimestampMicrosecondType>(), batch.column(1).as_primitive::<Int64Type>());
        for row in 0..batch.num_rows() {
            match sums.last_mut() {
                Some(last) if last.0 == times.value(row) => last.1 += counts.value(row),
                _ => sums.push((times.value(row), counts.value(row))),
            }
        }
    }
    assert!(sums.windows(2).all(|pair| pair[0].0 < pair[1].0), "sorted, and each key whole");
    Ok(sums_batch(&sums))
}

fn sums_batch(pairs: &[(i64, i64)]) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_iter_values(pairs.iter().map(|pair| pair.0)).with_timezone("UTC");
    let counts = Int64Array::from_iter_values(pairs.iter().map(|pair| pair.1));
    RecordBatch::try_new(sums().schema, vec![Arc::new(times) as ArrayRef, Arc::new(counts)]).unwrap()
}

#[tokio::test]
async fn rows_with_one_key_become_one() {
    let dir = tempfile::tempdir().unwrap();
    let sealed = open(dir.path(), CompactionLimits::default(), vec![sums()]).await;
    for seal in 0..6_u64 {
        let batch = sums_batch(&(0..40_000).map(|row| (NINE_US + row / 2, 1)).collect::<Vec<_>>());
        let seal = Seal { through: Position(seal + 1), marks: Default::default(), tables: vec![(0, vec![batch])] };
        sealed.seal(seal).await.unwrap();
    }
    compact(&sealed, NINE_US + 48 * HOUR_US).await;
    let batches = read(&sealed);
    let counts: Vec<i64> =
        batches.iter().flat_map(|batch| batch.column(1).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!((counts.len(), counts.iter().all(|count| *count == 12)), (20_000, true));
    assert_eq!(sealed.files()[0].len(), 1);
    assert_eq!(sealed.verify(|_| {}).await.unwrap().faults, []);
    assert_eq!(batches[0].column(0).null_count(), 0);
}
