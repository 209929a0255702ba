//! Sealed files that are not what was written: named, set aside, and the rest is served; and checks beside a running engine.

use std::fs;
use std::path::{Path, PathBuf};

use tollgate_attributes::Row;
use tollgate_engine::offline;

use crate::harness::{Running, config, request, wait_for};

const SEALED: &str = "SELECT count(*) FROM storage_files WHERE table_name = 'requests' AND aside IS NULL";
const ASIDE: &str = "SELECT count(*) FROM storage_files WHERE aside IS NOT NULL";

/// Files of one, two, four and so on rows, none of which is in memory.
async fn with_files(count: u32) -> Running {
    let running = Running::start_with(|config| config.seal_rows = 1).await;
    for number in 0..count {
        running.report("catalog-1", &vec![request("catalog-1"); 1 << number]).await;
        wait_for("a seal", async || running.number(SEALED).await == i64::from(number) + 1).await;
    }
    running.restart_with(|_| {}).await
}

/// Where the file with so many rows is.
async fn file(running: &Running, rows: u32) -> PathBuf {
    let found =
        running.rows(&format!("SELECT file FROM storage_files WHERE table_name = 'requests' AND rows = {rows}")).await;
    let key = arrow::util::display::array_value_to_string(found[0].column(0), 0).unwrap();
    running.dir.path().join("data").join(key)
}

/// Rows that are read, not only counted.
async fn rows_read(running: &Running) -> i64 {
    running.number("SELECT coalesce(sum(duration_us), 0) / 1000 FROM requests").await
}

/// Rows of the file, what is done to it, and a word of what is said about it.
type Damage = (u32, fn(&Path), &'static str);

fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    // Of every page something is missing, whichever is asked for.
    fs::write(path, &bytes[..8]).unwrap();
}

fn change_pages(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let half = bytes.len() / 2;
    bytes[4..half].fill(0x55);
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_query_cannot_read_is_set_aside_and_the_rest_served() {
    let running = with_files(5).await;
    assert_eq!(rows_read(&running).await, 31);
    let damages: [Damage; 4] = [
        (1, truncate, "bytes"),
        (2, |path| fs::write(path, "no Parquet at all").unwrap(), "bytes"),
        (4, change_pages, "checksum"),
        (8, |path| fs::remove_file(path).unwrap(), "not there"),
    ];
    let mut left = 31;
    for (number, (rows, damage, reason)) in damages.into_iter().enumerate() {
        let path = file(&running, rows).await;
        damage(&path);
        left -= i64::from(rows);
        assert_eq!(rows_read(&running).await, left, "without {}", path.display());
        assert_eq!(running.number(ASIDE).await, number as i64 + 1);
        let said = format!("{ASIDE} AND rows = {rows} AND aside LIKE '%{reason}%' AND table_name = 'requests'");
        assert_eq!(running.number(&said).await, 1, "{}", running.table("SELECT file, aside FROM storage_files").await);
        let kept = running.dir.path().join("data/aside").join(path.file_name().unwrap());
        assert_eq!(kept.exists(), rows < 8, "a damaged file is kept");
    }
    let mut registry = prometheus_client::registry::Registry::default();
    running.engine.metrics().register(&mut registry);
    wait_for("the metrics", async || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.contains("tollgate_storage_files_aside 4") && text.contains("tollgate_storage_rows_aside 15")
    })
    .await;
    let running = running.restart_with(|_| {}).await;
    assert_eq!((rows_read(&running).await, running.number(ASIDE).await), (16, 4), "also after a restart");
    let said = format!("{ASIDE} AND aside LIKE '%checksum%'");
    assert_eq!(running.number(&said).await, 1, "{}", running.table("SELECT file, aside FROM storage_files").await);
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_checked_beside_a_running_engine() {
    let running = with_files(3).await;
    running.report("catalog-1", &[request("catalog-1")]).await;
    let config = config(&running.dir);
    let checked = offline::verify(&config, |_| {}).await.unwrap();
    assert!(checked.is_running && checked.faults.is_empty(), "{checked:?}");
    assert!(checked.files.files >= 3 && checked.log.records >= 1, "{checked:?}");
    let path = file(&running, 2).await;
    change_pages(&path);
    let checked = offline::verify(&config, |_| {}).await.unwrap();
    assert_eq!(checked.faults.len(), 1, "{checked:?}");
    assert!(checked.faults[0].problem.contains("checksum"), "{checked:?}");
    assert!(path.exists(), "a check changes nothing");
    assert_eq!(rows_read(&running).await, 6);
    let checked = offline::verify(&config, |_| {}).await.unwrap();
    assert!(checked.faults[0].problem.starts_with("it was set aside: "), "{checked:?}");
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_found_in_the_file_that_has_it() {
    let running = Running::start_with(|config| config.seal_rows = 1).await;
    let ids: Vec<String> = (0..40).map(|id| format!("request-{id}")).collect();
    for (number, ids) in ids.chunks(10).enumerate() {
        let mut rows = Vec::new();
        for (id, request_id) in ids.iter().enumerate() {
            let trace_id = Some(((number * 10 + id) as u128).to_be_bytes());
            rows.push(Row { trace_id, request_id, ..request("catalog-1") });
        }
        running.report("catalog-1", &rows).await;
        wait_for("a seal", async || running.number(SEALED).await == number as i64 + 1).await;
    }
    let running = running.restart_with(|_| {}).await;
    for id in [0, 7, 23, 39] {
        for filter in [
            format!("trace_id = trace_id('{id:032x}')"),
            format!("trace_id = decode('{id:032x}', 'hex')"),
            format!("request_id = 'request-{id}'"),
            format!("request_id IN ('request-{id}', 'nothing')"),
            format!("(request_id = 'request-{id}' OR request_id = 'nothing') AND destination = 'shop/catalog'"),
        ] {
            let found = running
                .table(&format!("SELECT request_id, trace_id_text(trace_id) AS trace FROM requests WHERE {filter}"))
                .await;
            assert!(found.contains(&format!("{id:032x}")) && found.lines().count() == 5, "{filter}\n{found}");
        }
    }
    let none = "SELECT count(duration_us) FROM requests WHERE trace_id = trace_id('ffffffffffffffffffffffffffffffff')";
    assert_eq!(running.number(none).await, 0);
    let explained = running.table("EXPLAIN SELECT path FROM requests WHERE request_id = 'nowhere'").await;
    assert!(!explained.contains(".parquet"), "no file is opened for what none has\n{explained}");
    running.engine.shutdown().await;
}
