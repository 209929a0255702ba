use std::collections::BTreeMap;

use arc_swap::ArcSwapOption;
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int32Type, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use tollgate_attributes::{BatchBuilder, BatchLimits, Row};

mod crash;
mod format;
mod remote;

use super::*;
use crate::marks::Mark;
use crate::{LocalDisk, Partition, Retention};

/// 2026-03-01T09:00:00Z
pub(crate) const NINE_US: i64 = 1_772_355_600_000_000;
pub(crate) const MINUTE_US: i64 = 60_000_000;
pub(crate) const HOUR_US: i64 = 60 * MINUTE_US;

pub(crate) fn requests() -> TableSpec {
    TableSpec {
        name: "requests",
        schema: tollgate_attributes::schema(),
        time: "time",
        sort: &["destination", "time"],
        bloom: &["trace_id", "request_id"],
        partition: Partition::Hour,
        merge: None,
        retention: Retention::default(),
    }
}

/// Rows a second apart, whose request ids say which they are.
pub(crate) fn rows(time_us: i64, ids: std::ops::Range<u64>) -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX });
    for (index, id) in ids.enumerate() {
        let destination = format!("shop/{}", id * 7919 % 13);
        let request_id = id.to_string();
        let policies: Vec<Arc<str>> = (0..id % 3).map(|policy| format!("p{policy}").into()).collect();
        let labels = [(Arc::from("x-tenant"), format!("t{}", id % 5))];
        let row = Row {
            time: time_us + index as i64 * 1_000_000,
            reporter: "r",
            destination: &destination,
            request_id: &request_id,
            policies: &policies,
            labels: if id % 2 == 0 { &labels } else { &[] },
            trace_id: Some(u128::from(id).to_be_bytes()),
            status: Some(200 + (id % 4) as i16),
            duration_us: id as i64,
            weight: 1,
            ..Row::default()
        };
        let _ = builder.push(&row);
    }
    builder.finish().unwrap()
}

/// With times that can be shown without a table of time zones.
fn with_offset(batch: &RecordBatch) -> RecordBatch {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let time = arrow::compute::cast(batch.column(0), &time).unwrap();
    let columns = batch.columns()[1..].iter().map(|column| (Arc::clone(column), true));
    let all = std::iter::once((time, false)).chain(columns).enumerate();
    RecordBatch::try_from_iter_with_nullable(all.map(|(index, (column, null))| (index.to_string(), column, null)))
        .unwrap()
}

/// Every row as text, by its id.
pub(crate) fn shown(batches: &[RecordBatch]) -> BTreeMap<u64, String> {
    let mut shown = BTreeMap::new();
    for batch in batches {
        let text = arrow::util::pretty::pretty_format_batches(&[with_offset(batch)]).unwrap().to_string();
        let lines: Vec<&str> = text.lines().collect();
        let ids = batch.column_by_name("request_id").unwrap().as_string::<i32>();
        for row in 0..batch.num_rows() {
            let cells: Vec<&str> = lines[row + 3].split('|').map(str::trim).collect();
            let before = shown.insert(ids.value(row).parse().unwrap(), cells.join("|"));
            assert!(before.is_none(), "row {} is there twice", ids.value(row));
        }
    }
    shown
}

pub(crate) fn options(dir: &std::path::Path) -> SealedOptions {
    SealedOptions {
        dir: dir.to_owned(),
        engine: "e1".into(),
        disk: Arc::new(LocalDisk),
        remote: None,
        compaction: CompactionLimits::default(),
    }
}

pub(crate) async fn open(dir: &std::path::Path) -> (Sealed, Opened) {
    Sealed::open(options(dir), vec![requests()]).await.unwrap()
}

pub(crate) fn a_seal(through: u64, batches: Vec<RecordBatch>) -> Seal {
    let mark = Mark { reporter: "r".into(), epoch: 1, sequence: through, heard_us: 1 };
    Seal { through: Position(through), marks: [mark].into_iter().collect(), tables: vec![(0, batches)] }
}

pub(crate) fn read(sealed: &Sealed) -> Vec<RecordBatch> {
    let files = sealed.files();
    let rows = |file: &Arc<SealedFile>| {
        sealed.state.objects.rows(file, 1_000).unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    files[0].iter().flat_map(rows).collect()
}

fn parquet_files(dir: &std::path::Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() { files.extend(parquet_files(&path)) } else { files.push(path) }
    }
    files
}

#[tokio::test]
async fn what_is_sealed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, opened) = open(dir.path()).await;
    assert_eq!((opened.sealed_through, opened.aside.len()), (Position(0), 0));
    let batches = vec![rows(NINE_US, 0..100), rows(NINE_US + HOUR_US - 5_000_000, 100..110)];
    let files = sealed.seal(a_seal(7, batches.clone())).await.unwrap();
    assert_eq!(files.iter().map(|file| file.rows).collect::<Vec<_>>(), [105, 5], "one file for each hour");
    assert_eq!(shown(&read(&sealed)), shown(&batches));
    drop(sealed);

    let (sealed, opened) = open(dir.path()).await;
    assert_eq!(opened.sealed_through, Position(7));
    assert_eq!(opened.marks.sequence("r", 1), 7);
    assert_eq!(shown(&read(&sealed)), shown(&batches));
    let file = &sealed.files()[0][0];
    assert_eq!((file.time_min_us, file.time_max_us), (NINE_US, NINE_US + HOUR_US - 1_000_000));
    assert_eq!(file.positions, (Position(1), Position(7)));
    let verified = sealed.verify(|_| {}).await.unwrap();
    assert_eq!((verified.faults, verified.progress.rows), (vec![], 110));
}

#[tokio::test]
async fn columns_keep_their_types_and_order() {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, _) = open(dir.path()).await;
    sealed.seal(a_seal(1, vec![rows(NINE_US, 0..50)])).await.unwrap();
    let batch = &read(&sealed)[0];
    assert_eq!(batch.schema(), tollgate_attributes::schema());
    let times = batch.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert!(times.values().windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(batch.column_by_name("reporter").unwrap().as_dictionary::<Int32Type>().values().len(), 1);
}

#[tokio::test]
async fn leftovers_of_a_crash_are_removed_and_other_files_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, _) = open(dir.path()).await;
    sealed.seal(a_seal(1, vec![rows(NINE_US, 0..50)])).await.unwrap();
    let listed = parquet_files(&dir.path().join(TABLES));
    drop(sealed);
    let beside = |name: &str| listed[0].with_file_name(name);
    let ours = beside("e1-0000000000000002-0000000000000003-9-0.parquet");
    let unfinished = beside("e1-0000000000000002-0000000000000003-9-1.parquet.tmp");
    let (other, odd) = (beside("e2-0000000000000001-0000000000000003-9-0.parquet"), beside("notes.txt"));
    [&ours, &unfinished, &other, &odd].iter().for_each(|path| std::fs::write(path, "text").unwrap());

    let (sealed, opened) = open(dir.path()).await;
    assert_eq!(parquet_files(&dir.path().join(TABLES)), listed);
    let moved: Vec<PathBuf> = opened.aside.iter().map(|aside| aside.moved_to.clone().unwrap()).collect();
    assert_eq!(
        moved,
        ["e2-0000000000000001-0000000000000003-9-0.parquet", "notes.txt"].map(|name| dir.path().join(ASIDE).join(name))
    );
    assert!(moved.iter().all(|path| std::fs::read_to_string(path).unwrap() == "text"));
    assert_eq!(shown(&read(&sealed)).len(), 50);
}

#[tokio::test]
async fn missing_and_truncated_files_are_named_and_the_rest_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, _) = open(dir.path()).await;
    let mut paths = Vec::new();
    for seal in 0..3 {
        let files = sealed.seal(a_seal(seal + 1, vec![rows(NINE_US, seal * 10..seal * 10 + 10)])).await.unwrap();
        paths.push(dir.path().join(files[0].key.as_ref()));
    }
    drop(sealed);
    std::fs::remove_file(&paths[0]).unwrap();
    std::fs::File::options().write(true).open(&paths[1]).unwrap().set_len(100).unwrap();

    let (sealed, opened) = open(dir.path()).await;
    let reasons: Vec<_> = opened.aside.iter().map(|aside| (aside.reason.as_str(), aside.rows)).collect();
    assert_eq!(reasons[0], ("it is not there", 10));
    assert!(reasons[1].0.starts_with("it has 100 bytes, "), "{reasons:?}");
    assert_eq!(shown(&read(&sealed)).keys().copied().collect::<Vec<_>>(), (20..30).collect::<Vec<_>>());
    assert_eq!(sealed.status(0).aside.len(), 2);
}

#[tokio::test]
async fn a_flipped_bit_is_found_by_verify() {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, _) = open(dir.path()).await;
    let files = sealed.seal(a_seal(1, vec![rows(NINE_US, 0..1_000)])).await.unwrap();
    let path = dir.path().join(files[0].key.as_ref());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[500] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    let verified = sealed.verify(|_| {}).await.unwrap();
    assert_eq!(verified.faults.len(), 1);
    assert_eq!(verified.faults[0].problem, "its checksum is not that of what was written");

    let aside = sealed.set_aside(&files[0], &verified.faults[0].problem).await.unwrap();
    assert!(aside.moved_to.unwrap().exists() && sealed.files()[0].is_empty());
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_named_and_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, _) = open(dir.path()).await;
    let files = sealed.seal(a_seal(1, vec![rows(NINE_US, 0..10)])).await.unwrap();
    sealed.seal(a_seal(2, vec![rows(NINE_US, 10..15)])).await.unwrap();
    // As an engine of version 9 would have written and listed it.
    let path = dir.path().join(files[0].key.as_ref());
    let mut bytes = std::fs::read(&path).unwrap();
    let key = b"tollgate.format";
    let version = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len() + 2;
    assert_eq!(bytes[version], b'2');
    bytes[version] = b'9';
    std::fs::write(&path, &bytes).unwrap();
    let file = &files[0];
    let newer = Arc::new(SealedFile {
        key: file.key.clone(),
        crc32c: crc32c::crc32c(&bytes),
        resident: ArcSwapOption::empty(),
        ..**file
    });
    sealed.state.replace(&files, std::slice::from_ref(&newer));

    let faults = sealed.verify(|_| {}).await.unwrap().faults;
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].problem, "it has version 9, this program knows up to 2");
    assert!(sealed.state.examine(&newer), "a query that cannot read it goes on without it");
    let aside = sealed.aside();
    assert_eq!((aside[0].name.as_str(), aside[0].rows), (file.key.as_ref(), 10));
    assert!(aside[0].moved_to.is_none() && path.exists(), "another start may know it");
    assert_eq!(read(&sealed).iter().map(RecordBatch::num_rows).sum::<usize>(), 5, "the rest is served");
}

#[tokio::test]
async fn sealed_files_without_a_manifest_are_not_taken_for_leftovers() {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, _) = open(dir.path()).await;
    sealed.seal(a_seal(1, vec![rows(NINE_US, 0..50)])).await.unwrap();
    drop(sealed);
    std::fs::remove_dir_all(dir.path().join(MANIFEST)).unwrap();
    let error = Sealed::open(options(dir.path()), vec![requests()]).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_eq!(parquet_files(&dir.path().join(TABLES)).len(), 1);
}
