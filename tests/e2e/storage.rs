//! What was acknowledged is kept, once, through kill -9 of the engine and of reporters.

mod process;
mod reporter;
mod samples;
mod weed;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use self::process::Process;
use self::reporter::{ROWS_MAX, Reporter, Sent};
use self::weed::Weed;
use crate::harness::{Engine, Workspace, tollgate, until};

const PERMIT: &str = "@id(\"all\") permit (principal in Namespace::\"shop\", action, resource);\n";
/// So little that rows are sealed all the time, and some kills hit that.
const SETTINGS: &str = "memory: { rows: 4MiB }\nquery: { timeout: 10m, rows_max: 100000000 }\n";

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
    // Another one is a process, and is killed, too: when the engine is, or when it is not.
    let reports = |count| Process::start("d-1", grpc, &workspace.path(""), count);
    let (mut process, mut sent) = (reports(0), Vec::new());
    for count in 1..=kills() as u64 {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(20..1_200))).await;
        if fastrand::bool() {
            engine.kill().await;
            engine = Engine::start_at(&workspace, grpc, SETTINGS).await;
        }
        if fastrand::bool() {
            sent.extend(process.kill().await);
            process = reports(count);
        }
    }
    sent.extend(process.kill().await);
    // What it had sent when it was killed may still be on its way.
    until("what the process has sent has arrived or is lost", || async {
        engine.number("SELECT count(*) FROM reporters WHERE name = 'd-1' AND connected").await == 0
    })
    .await;
    let checked = verify(&workspace);
    assert!(checked.contains("\"running\": true"), "{checked}");
    is_over.store(true, Ordering::Relaxed);
    for reporter in reporters {
        sent.extend(reporter.await.unwrap());
    }
    expect_each_once(&engine, &sent).await;

    engine.stop().await;
    let engine = Engine::start_at(&workspace, grpc, SETTINGS).await;
    expect_each_once(&engine, &sent).await;
    engine.stop().await;
    let checked = verify(&workspace);
    assert!(checked.contains("\"running\": false"), "{checked}");
}

/// Everything is as it was written; what was looked at, as JSON.
fn verify(workspace: &Workspace) -> String {
    let config = workspace.path("tollgate.yaml");
    let checked = tollgate(&["storage", "verify", "-o", "json", "-c"]).arg(config).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    String::from_utf8(checked.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_that_goes_away_delays_sealing_and_loses_nothing() {
    let mut weed = Weed::start().await;
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    // Room for as long as it takes to notice that the object store is away, however fast the machine is.
    let settings = format!(
        "memory: {{ rows: 1GiB }}\nquery: {{ timeout: 10m, rows_max: 100000000 }}\nseal: {{ after: 1s }}\n{}",
        weed.settings()
    );
    let mut engine = Engine::start_at(&workspace, "127.0.0.1:0".parse().unwrap(), &settings).await;
    let grpc = engine.grpc;
    let (is_over, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let reporters: Vec<_> = ["a-1", "b-1"]
        .into_iter()
        .map(|name| tokio::spawn(Reporter::new(name, grpc).counted_by(&acknowledged).run(Arc::clone(&is_over))))
        .collect();
    let sealed = "SELECT count(*) FROM storage_files WHERE table_name = 'requests'";
    until("rows are sealed", || async { engine.number(sealed).await > 0 }).await;

    for round in 0..kills().div_ceil(5) {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(20..1_200))).await;
            engine.kill().await;
            engine = Engine::start_at(&workspace, grpc, &settings).await;
        }
        weed.kill().await;
        let before = acknowledged.load(Ordering::Relaxed);
        until("the state says so", || async { state(&engine).await == "behind" }).await;
        let reason = engine.sql("SELECT reason FROM storage").await[0]["reason"].to_string();
        assert!(reason.contains("s3://telemetry/e2e"), "{reason}");
        until("the metrics say so", || async {
            engine.get("/metrics").await.text().contains("tollgate_storage_state{state=\"behind\"} 1")
        })
        .await;
        let after = || acknowledged.load(Ordering::Relaxed);
        until("acknowledgements go on", || async { after() > before }).await;
        // An engine that starts meanwhile has what the log has, and goes on.
        if round % 2 == 0 {
            engine.kill().await;
            engine = Engine::start_at(&workspace, grpc, &settings).await;
            let before = after();
            until("acknowledgements go on", || async { after() > before }).await;
        }
        weed.resume().await;
        let files = engine.number(sealed).await;
        until("rows are sealed again", || async { engine.number(sealed).await > files }).await;
        until("the state says so", || async { state(&engine).await == "ok" }).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let mut sent = Vec::new();
    for reporter in reporters {
        sent.extend(reporter.await.unwrap());
    }
    expect_each_once(&engine, &sent).await;
    engine.stop().await;
    let engine = Engine::start_at(&workspace, grpc, &settings).await;
    expect_each_once(&engine, &sent).await;
    engine.stop().await;
    verify(&workspace);
}

async fn state(engine: &Engine) -> String {
    engine.sql("SELECT state FROM storage").await[0]["state"].as_str().unwrap().to_owned()
}

/// Batches that were acknowledged are there whole; others, of reporters that died, whole or not at all; and rollups agree.
async fn expect_each_once(engine: &Engine, sent: &[Sent]) {
    let acknowledged = sent.iter().filter(|sent| sent.is_acknowledged).count();
    assert!(acknowledged > 0);
    let batches = engine
        .sql("SELECT snapshot, count(*) AS rows, count(DISTINCT request_id) AS ids FROM requests GROUP BY snapshot")
        .await;
    let number = |batch: &Value, key: &str| batch[key].as_u64().unwrap();
    let mut kept: HashMap<u64, (u64, u64)> = batches
        .iter()
        .map(|batch| (number(batch, "snapshot"), (number(batch, "rows"), number(batch, "ids"))))
        .collect();
    let mut rows = 0;
    for Sent { number, rows: expected, is_acknowledged } in sent {
        let found = kept.remove(number).unwrap_or_default();
        let is_right = found == (*expected, *expected) || (!is_acknowledged && found == (0, 0));
        assert!(is_right, "batch {number}: {found:?} of {expected} rows, acknowledged: {is_acknowledged}");
        rows += found.0 as i64;
    }
    assert!(kept.is_empty(), "nobody has sent {kept:?}");
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
