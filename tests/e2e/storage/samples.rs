//! Data directories of released formats are read for ever: `samples/files-N` has sealed files of version N, which `tollgate serve` wrote
//! of 960 requests through `tollgate-proxy`; `samples/expected-N.jsonl` is what it answered then.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Engine, Workspace, tollgate};

/// So that what was kept once is never too old.
const SETTINGS: &str = "retention: { requests: 36500d, traffic_1s: 36500d, traffic_1m: 36500d, traffic_1h: 36500d }\n";
const HISTOGRAM: &str = "duration_offset, duration_counts, duration_zero";

fn questions() -> Vec<String> {
    let traffic = |table: &str| {
        format!(
            "SELECT source, status, sum(requests) AS requests, sum(duration_sum_us) AS us, le_counts({HISTOGRAM}) AS le, \
             histogram_quantile(0.5, {HISTOGRAM}) AS p50, histogram_quantile(0.99, {HISTOGRAM}) AS p99 \
             FROM {table} WHERE direction = 'inbound' GROUP BY 1, 2 ORDER BY 1, 2"
        )
    };
    let rows = "SELECT count(*) AS rows, count(DISTINCT request_id) AS ids, sum(duration_us) AS us FROM requests";
    ["traffic_1s", "traffic_1m", "traffic_1h"].map(traffic).into_iter().chain([rows.to_owned()]).collect()
}

async fn expect_answers(engine: &Engine, expected: &str) {
    let mut expected = expected.lines();
    for question in questions() {
        let answer = engine.sql(&question).await;
        let expected: Value = serde_json::from_str(expected.next().unwrap()).unwrap();
        assert_eq!(Value::from(answer), expected, "{question}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Returns how many files the sample's seconds are in once it is compacted.
async fn check(version: u32) -> i64 {
    let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/storage/samples");
    let expected = fs::read_to_string(samples.join(format!("expected-{version}.jsonl"))).unwrap();
    let workspace = Workspace::new(&[]);
    copy(&samples.join(format!("files-{version}")), &workspace.path("data"));
    let start = || Engine::start_at(&workspace, "127.0.0.1:0".parse().unwrap(), SETTINGS);
    let engine = start().await;
    expect_answers(&engine, &expected).await;
    engine.stop().await;

    // And they stay what they are when they are rewritten in the present format.
    let config = workspace.path("tollgate.yaml");
    let run = |arguments: &[&str]| {
        let output = tollgate(&["storage"]).args(arguments).arg("-c").arg(&config).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    run(&["verify"]);
    run(&["compact"]);
    run(&["verify"]);
    let engine = start().await;
    expect_answers(&engine, &expected).await;
    let files = engine.number("SELECT count(*) FROM storage_files WHERE table_name = 'traffic_1s'").await;
    engine.stop().await;
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_version_1_are_read() {
    assert_eq!(check(1).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_version_2_are_read() {
    assert!(check(2).await > 0);
}
