//! Files of released versions are read for ever: `tests/format/sealed-v1` was written by the first one; `sealed-v2` says in
//! its manifest where the files are.

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

async fn check_sample(version: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&samples().join(version), dir.path());
    let (sealed, opened) = open(dir.path()).await;
    assert_eq!((opened.sealed_through, opened.aside), (Position(9), vec![]));
    assert_eq!(opened.marks.sequence("r", 1), 9);
    let files = sealed.files();
    assert_eq!(files[0].iter().map(|file| (file.rows, file.sorted)).collect::<Vec<_>>(), [(70, true), (5, false)]);
    assert_eq!(shown(&read(&sealed)), shown(&batches()));
    assert_eq!(sealed.verify(|_| {}).await.unwrap().faults, []);
    dir
}

/// Whether the manifest's bytes say that files are in the data directory.
fn says_local(dir: &std::path::Path) -> bool {
    let manifests = std::fs::read_dir(dir.join(MANIFEST)).unwrap().map(|entry| entry.unwrap().path());
    let bytes: Vec<u8> = manifests.flat_map(|path| std::fs::read(path).unwrap()).collect();
    String::from_utf8_lossy(&bytes).contains(r#""place":"local""#)
}

#[tokio::test]
async fn version_1_is_read_and_takes_the_present_place() {
    assert!(!says_local(&samples().join("sealed-v1")));
    let dir = check_sample("sealed-v1").await;
    assert!(says_local(dir.path()));
}

#[tokio::test]
async fn version_2_is_read() {
    assert!(says_local(&samples().join("sealed-v2")));
    check_sample("sealed-v2").await;
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
