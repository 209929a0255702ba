//! Files of released versions are read for ever: `tests/format/sealed-v1` was written by the first one.

use super::*;

fn samples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/format")
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => std::fs::write(target, std::fs::read(entry.path()).unwrap()).unwrap(),
        }
    }
}

/// Two seals, one of them late, and a compaction between them.
fn batches() -> [RecordBatch; 3] {
    [rows(NINE_US, 0..40), rows(NINE_US + MINUTE_US, 40..70), rows(NINE_US + 2 * MINUTE_US, 70..75)]
}

#[tokio::test]
async fn version_1_is_read() {
    let dir = tempfile::tempdir().unwrap();
    copy(&samples().join("sealed-v1"), dir.path());
    let (sealed, opened) = open(dir.path()).await;
    assert_eq!((opened.sealed_through, opened.aside), (Position(9), vec![]));
    assert_eq!(opened.marks.sequence("r", 1), 9);
    let files = sealed.files();
    assert_eq!(files[0].iter().map(|file| (file.rows, file.sorted)).collect::<Vec<_>>(), [(70, true), (5, false)]);
    assert_eq!(shown(&read(&sealed)), shown(&batches()));
    assert_eq!(sealed.verify(|_| {}).await.unwrap().faults, []);
}

#[tokio::test]
#[ignore = "writes a new sample: only for a new version of the format"]
async fn write_a_sample() {
    let dir = samples().join("sealed-new");
    let (sealed, _) = open(&dir).await;
    let [first, second, late] = batches();
    sealed.seal(a_seal(3, vec![first])).await.unwrap();
    sealed.seal(a_seal(7, vec![second])).await.unwrap();
    sealed.compact_step(NINE_US + 2 * HOUR_US).await.unwrap().unwrap();
    sealed.seal(a_seal(9, vec![late])).await.unwrap();
}
