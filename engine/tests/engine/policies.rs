//! Policy edits: live when right, refused whole when wrong, while the last good ones stay.

use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use tollgate_attributes::Row;
use tollgate_engine::{DataError, Engine, EngineError, check_policies};
use tollgate_policies::{Mode, Sources};

use crate::harness::{Running, config, now_us, request, wait_for};

async fn refusal(running: &Running) -> String {
    wait_for("a refusal", async || running.engine.status().policies.refused.is_some()).await;
    running.engine.status().policies.refused.unwrap().diagnostics.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_change_is_refused_with_its_place_and_mended_again() {
    let running = Running::start().await;
    let before = running.engine.status().policies;
    running.write_policy("access/broken.cedar", "permit (principal, action, resource)\nwhen { oops };");
    let diagnostics = refusal(&running).await;
    assert!(diagnostics.starts_with("access/broken.cedar:2:"), "{diagnostics}");
    let during = running.engine.status();
    assert!(during.is_ready);
    assert_eq!((&during.policies.digest, during.policies.version), (&before.digest, before.version));

    std::fs::remove_file(running.policies().join("access/broken.cedar")).unwrap();
    wait_for("the refusal to end", async || running.engine.status().policies.refused.is_none()).await;
    assert_eq!(running.engine.status().policies.version, before.version, "nothing was pushed for nothing");
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_vanishes_is_refused_and_comes_back() {
    let running = Running::start().await;
    let digest = running.engine.status().policies.digest;
    // In one step: of a directory that goes file by file, what is left for a while is policies too.
    std::fs::rename(running.policies(), running.policies().with_extension("gone")).unwrap();
    let diagnostics = refusal(&running).await;
    assert!(diagnostics.contains("cannot read"), "{diagnostics}");
    assert_eq!(running.engine.status().policies.digest, digest);

    let mut sources = Sources::starter();
    sources.access[0].text.push_str("\n@id(\"new\") permit (principal, action, resource);\n");
    sources.write(&running.policies()).unwrap();
    wait_for("the new policies", async || running.engine.status().policies.digest != digest).await;
    assert!(running.engine.status().policies.refused.is_none());
    running.engine.shutdown().await;
}

#[test]
fn a_wrong_signal_is_named_with_its_line_and_a_suggestion() {
    let dir = tempfile::tempdir().unwrap();
    Sources::starter().write(dir.path()).unwrap();
    let check = |text: &str, expected: &str| {
        std::fs::write(dir.path().join("signals/more.sql"), text).unwrap();
        let diagnostics = check_policies(dir.path(), &Mode::default()).unwrap_err().to_string();
        assert_eq!(diagnostics, expected, "{text}");
    };
    check(
        "-- entity: Service\nSELECT destination, max(duration_ms) AS a FROM requests GROUP BY 1",
        "signals/more.sql:2:25: error[TG0510]: unknown column `duration_ms`; help: did you mean `duration_us`?",
    );
    check(
        "-- entity: Service\nSELECT (\n  FROM requests",
        "signals/more.sql:3:8: error[TG0510]: Expected: ), found: requests",
    );
    check(
        "-- entity: Service\nSELECT destination, avg(duration_us) AS a FROM requests GROUP BY 1",
        "signals/more.sql:2:1: error[TG0513]: the signal `a` is Float64: signals are integers or texts; help: write \
         `CAST(... AS BIGINT) AS a`",
    );
    check(
        "-- entity: Service\nSELECT status, 1 AS a FROM requests",
        "signals/more.sql:2:1: error[TG0511]: the first column, `status`, is Int16: it has to name the entity in text",
    );
    check(
        "-- entity: Service\nSELECT destination, max(duration_us) FROM requests GROUP BY 1",
        "signals/more.sql:2:1: error[TG0512]: `max(requests.duration_us)` is no name for a signal; help: name the column \
         with `AS`, in lower-case letters, digits and `_`",
    );
    check(
        "-- entity: Service\nSELECT destination, 1 AS p99_ms FROM requests",
        "signals/service.sql: error[TG0514]: the signal `p99_ms` of `Service` is computed in `signals/more.sql` too; help: \
         name one of them otherwise",
    );
    check(
        "-- entity: Service\nDROP TABLE requests",
        "signals/more.sql: error[TG0510]: only queries are answered: nothing can be changed with SQL",
    );
    check(
        "SELECT destination, 1 AS a FROM requests",
        "signals/more.sql:1:1: error[TG0501]: the file does not say whose signals it computes; help: begin it with \
         `-- entity: Service`",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_policies_at_the_start_are_all_listed() {
    let dir = tempfile::tempdir().unwrap();
    let policies = dir.path().join("policies");
    Sources::starter().write(&policies).unwrap();
    std::fs::write(policies.join("access/a.cedar"), "permit (principal, action, resource) when { 1 + };").unwrap();
    std::fs::write(policies.join("access/b.cedar"), "allow everything;").unwrap();
    let EngineError::Policies { diagnostics, .. } = Engine::start(config(&dir)).await.err().unwrap() else {
        panic!("the engine started, or failed otherwise");
    };
    let files: Vec<_> = diagnostics.0.iter().map(|diagnostic| diagnostic.file.as_str()).collect();
    assert!(files.contains(&"access/a.cedar") && files.contains(&"access/b.cedar"), "{diagnostics}");
    assert_eq!(check_policies(&policies, &Mode::default()).unwrap_err(), diagnostics, "the check says the same");
}

#[test]
fn the_starter_policies_are_right() {
    let dir = tempfile::tempdir().unwrap();
    Sources::starter().write(dir.path()).unwrap();
    let report = check_policies(dir.path(), &Mode::default()).unwrap();
    assert!(!report.compiled.policies.is_empty());
    assert_eq!(report.compiled.warnings.to_string(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_engine_on_the_same_data_is_refused_and_versions_outlive_a_restart() {
    let running = Running::start().await;
    let error = Engine::start(config(&running.dir)).await.err().unwrap();
    assert!(matches!(error, EngineError::Data(DataError::InUse { .. })), "{error}");
    let version = running.engine.status().policies.version;
    let restarted = running.restart_with(|_| {}).await;
    assert!(restarted.engine.status().policies.version > version);
    restarted.engine.shutdown().await;
}

/// Policies that requests have named, with how often and when last.
async fn uses(running: &Running) -> Vec<String> {
    let uses = "SELECT concat_ws(' ', id, requests, shadow_requests, CAST(arrow_cast(last_matched, 'Int64') AS VARCHAR)) \
                FROM policies WHERE requests + shadow_requests > 0 ORDER BY 1";
    let texts = |batch: &RecordBatch| {
        let texts = arrow::compute::cast(batch.column(0), &DataType::Utf8).unwrap();
        texts.as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>()
    };
    running.rows(uses).await.iter().flat_map(texts).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_nothing_names_are_found_over_restarts() {
    let mut running = Running::start().await;
    let used: [Arc<str>; 1] = ["storefront-calls-catalog".into()];
    let shadow: [Arc<str>; 1] = ["pin-user-agents".into()];
    // Uses are counted by the minute, and all of these are in one.
    let minute = 60_000_000;
    let first = (now_us() - 60 * minute) / minute * minute;
    for round in 1..=3 {
        let time = first + round * 1_000_000;
        let row = Row { time, policies: &used, ..request("catalog-1") };
        running.report("catalog-1", &[row, Row { weight: 9, shadow: &shadow, ..row }]).await;
        let (shadowed, decided) = (9 * round, 10 * round);
        let expected =
            [format!("pin-user-agents 0 {shadowed} {time}"), format!("storefront-calls-catalog {decided} 0 {time}")];
        assert_eq!(uses(&running).await, expected);
        let unused = "SELECT count(*) FROM policies WHERE kind = 'access' AND effect = 'permit' AND requests = 0";
        assert_eq!(running.number(unused).await, 4);
        running = running.restart_with(|_| {}).await;
        wait_for("what was kept to be counted", async || uses(&running).await == expected).await;
        let since = format!("SELECT count(*) FROM policies WHERE counted_since > to_timestamp_micros({first})");
        assert_eq!(running.number(&since).await, 0);
    }
    running.engine.shutdown().await;
}
