//! What was acknowledged is kept, once, through kill -9 of the engine and of reporters.

mod reporter;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::reporter::{ROWS_MAX, Reporter, Sent};
use crate::harness::{Engine, Workspace, tollgate, until};

const PERMIT: &str = "@id(\"all\") permit (principal in Namespace::\"shop\", action, resource);\n";
/// So little that rows are sealed all the time, and some kills hit that.
const SETTINGS: &str = "memory: { rows: 4MiB }\n";

/// How often the engine is killed: `TOLLGATE_KILLS`, hundreds before a release.
fn kills() -> usize {
    std::env::var("TOLLGATE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(10)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_row_is_kept_once_whenever_the_engine_is_killed() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let mut engine = Engine::start_at(&workspace, "127.0.0.1:0".parse().unwrap(), SETTINGS).await;
    let grpc = engine.grpc;
    let is_over = Arc::new(AtomicBool::new(false));
    let reporters: Vec<_> = ["a-1", "b-1", "c-1"]
        .into_iter()
        .map(|name| tokio::spawn(Reporter::new(name, grpc).run(Arc::clone(&is_over))))
        .collect();
    for _ in 0..kills() {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(20..1_200))).await;
        engine.kill().await;
        engine = Engine::start_at(&workspace, grpc, SETTINGS).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let mut sent = Vec::new();
    for reporter in reporters {
        sent.extend(reporter.await.unwrap());
    }
    expect_each_once(&engine, &sent).await;

    engine.stop().await;
    let engine = Engine::start_at(&workspace, grpc, SETTINGS).await;
    expect_each_once(&engine, &sent).await;
    engine.stop().await;
    let config = workspace.path("tollgate.yaml");
    let checked = tollgate(&["storage", "verify", "-o", "json", "-c"]).arg(config).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

/// Batches that were acknowledged are there whole; others, of reporters that died, whole or not at all; and rollups agree.
async fn expect_each_once(engine: &Engine, sent: &[Sent]) {
    let acknowledged = sent.iter().filter(|sent| sent.is_acknowledged).count();
    assert!(acknowledged > 0);
    let batches = engine
        .sql("SELECT snapshot, count(*) AS rows, count(DISTINCT request_id) AS ids FROM requests GROUP BY snapshot")
        .await;
    let mut kept = vec![(0, 0); sent.iter().map(|sent| sent.number as usize + 1).max().unwrap_or(0)];
    for batch in &batches {
        let number = |key: &str| batch[key].as_u64().unwrap();
        kept[number("snapshot") as usize] = (number("rows"), number("ids"));
    }
    let mut rows = 0;
    for Sent { number, rows: expected, is_acknowledged } in sent {
        let found = kept[*number as usize];
        let is_right = found == (*expected, *expected) || (!is_acknowledged && found == (0, 0));
        assert!(is_right, "batch {number}: {found:?} of {expected} rows, acknowledged: {is_acknowledged}");
        rows += found.0 as i64;
    }
    assert_eq!(engine.number("SELECT count(*) FROM requests").await, rows);
    for table in ["traffic_1s", "traffic_1m", "traffic_1h", "traffic"] {
        let sum = format!("SELECT CAST(sum(requests) AS BIGINT) FROM {table}");
        assert_eq!(engine.number(&sum).await, rows, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_is_seen_checked_compacted_and_copied() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let engine = Engine::start_at(&workspace, "127.0.0.1:0".parse().unwrap(), SETTINGS).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let reporter = tokio::spawn(Reporter::new("a-1", engine.grpc).run(Arc::clone(&is_over)));
    until("rows are sealed", || async { engine.number("SELECT count(*) FROM storage_files").await > 0 }).await;
    is_over.store(true, Ordering::Relaxed);
    let sent = reporter.await.unwrap();
    let kept = engine.number("SELECT count(*) FROM requests").await;
    assert!(kept > 0 && kept <= sent.len() as i64 * ROWS_MAX as i64);

    let config = workspace.path("tollgate.yaml");
    let run = |args: &[&str]| {
        let output = tollgate(&["storage"]).args(args).arg("-c").arg(&config).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (is_ok, status, error) = run(&["status", "--engine", &engine.url()]);
    assert!(is_ok && status.contains("requests") && status.contains("ok"), "{status}{error}");
    let (is_ok, _, error) = run(&["compact"]);
    assert!(!is_ok && error.contains("another engine uses the data directory"), "{error}");
    engine.stop().await;

    let (is_ok, checked, error) = run(&["verify"]);
    assert!(is_ok && checked.contains("sealed files"), "{checked}{error}");
    let (is_ok, compacted, error) = run(&["compact", "-o", "json"]);
    assert!(is_ok, "{error}");
    let compacted: serde_json::Value = serde_json::from_str(&compacted).unwrap();
    assert_eq!(compacted["after"][0]["rows"], kept, "all is sealed");
    let (is_ok, status, error) = run(&["status", "-o", "json"]);
    assert!(is_ok && status.contains("\"running\": false"), "{status}{error}");
    let copies = workspace.path("copies");
    let (is_ok, exported, error) = run(&["export", copies.to_str().unwrap(), "--format", "csv", "-o", "json"]);
    assert!(is_ok, "{error}");
    let exported: serde_json::Value = serde_json::from_str(&exported).unwrap();
    assert_eq!(exported["rows"], kept);
    let (is_ok, _, error) = run(&["export", copies.to_str().unwrap(), "--table", "nothing"]);
    assert!(!is_ok && error.contains("there is no table `nothing`"), "{error}");
}
