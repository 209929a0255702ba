//! Histograms are the same wherever their rows are: not sealed yet, sealed and in memory, or in files.

use tollgate_attributes::Row;

use crate::harness::{Running, request, wait_for};

/// So many rows are sealed.
const SEALED_ROWS: u64 = 400;
const SEALED: &str = "SELECT count(*) FROM storage_files WHERE table_name = 'traffic_1m'";
const HISTOGRAM: &str = "duration_offset, duration_counts, duration_zero";

/// What a dashboard asks, and what only somebody who looks closely does.
fn questions() -> Vec<String> {
    let questions = [
        "SELECT histogram_quantile(0.5, $h), histogram_quantile(0.99, $h) FROM traffic_1m",
        "SELECT histogram_quantile(0.9, $h) FROM traffic_1m WHERE direction <> 'outbound' AND decision = 'allow'",
        "SELECT destination, histogram_quantile(0.9, $h), sum(requests) FROM traffic GROUP BY destination ORDER BY 1",
        "SELECT method, le_counts($h) FROM traffic_1s WHERE time > now() - INTERVAL '1 day' GROUP BY 1 ORDER BY 1",
        "SELECT histogram_quantile(0.5, $h) FILTER (WHERE method = 'GET') FROM traffic_1h",
        "SELECT histogram_quantile(0.5, $h) FROM traffic_1m WHERE cardinality(duration_counts) > 1 AND duration_counts[1] > 0",
        // What is computed for packing would fail for rows that the filter leaves out.
        "SELECT histogram_quantile(0.5, duration_offset, counts, duration_zero) FROM \
         (SELECT duration_offset, make_array(1000 / (status - 200)) AS counts, duration_zero FROM traffic_1m WHERE status > 200)",
        "SELECT sum(count) FROM (SELECT unnest(duration_counts) AS count FROM traffic_1m)",
        "SELECT destination, sum(duration_counts[1]) > 0 FROM traffic_1s GROUP BY 1 ORDER BY 1",
        "SELECT a.destination, histogram_quantile(0.5, a.duration_offset, a.duration_counts, a.duration_zero) FROM traffic_1m a \
         JOIN (SELECT DISTINCT destination FROM traffic_1m) b ON a.destination = b.destination GROUP BY 1 ORDER BY 1",
    ];
    questions.map(|question| question.replace("$h", HISTOGRAM)).to_vec()
}

async fn answers(running: &Running) -> Vec<String> {
    let mut answers = Vec::new();
    for question in questions() {
        answers.push(format!("{question}\n{}", running.table(&question).await));
    }
    answers
}

/// Rows with durations from nothing to minutes, most of them a few milliseconds.
async fn report(running: &Running, rows: u64) {
    let destinations = ["shop/catalog", "shop/payments", "shop/web"];
    let row = |number: u64| Row {
        destination: destinations[number as usize % 3],
        method: if number.is_multiple_of(5) { "POST" } else { "GET" },
        direction: if number.is_multiple_of(7) { "outbound" } else { "inbound" },
        duration_us: match number % 11 {
            0 => 0,
            1 => (number * number * 997) as i64,
            _ => 2_000 + (number % 40) as i64,
        },
        ..request("catalog-1")
    };
    running.report("catalog-1", &(0..rows).map(row).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn histograms_are_the_same_in_memory_and_in_files() {
    let running = Running::start_with(|config| config.seal_rows = SEALED_ROWS).await;
    let seal = async |running: &Running, files| {
        report(running, SEALED_ROWS).await;
        wait_for("a seal", async || running.number(SEALED).await == files).await;
    };
    seal(&running, 1).await;
    let running = running.restart_with(|config| config.seal_rows = SEALED_ROWS).await;
    seal(&running, 2).await;
    report(&running, SEALED_ROWS / 2).await;
    assert_eq!(running.number(&format!("{SEALED} AND in_memory")).await, 1);
    let everywhere = answers(&running).await;
    // Only what is not sealed has to be packed. What is packed is never unpacked.
    let explain = format!("EXPLAIN SELECT histogram_quantile(0.9, {HISTOGRAM}) FROM traffic_1m WHERE status = 200");
    let plan = running.table(&explain).await;
    assert!(!plan.contains("unpack("), "{plan}");
    assert!(plan.contains("file_groups") && plan.contains("FilterExec"), "{plan}");

    let running = running.restart_with(|config| config.seal_rows = 1).await;
    wait_for("a seal", async || running.number(SEALED).await == 3).await;
    let running = running.restart_with(|_| {}).await;
    assert_eq!(running.number(&format!("{SEALED} AND in_memory")).await, 0);
    for (in_files, everywhere) in answers(&running).await.into_iter().zip(everywhere) {
        assert_eq!(in_files, everywhere);
    }
    let plan = running.table(&explain).await;
    assert!(plan.contains("packed(duration_counts") && !plan.contains("unpack("), "{plan}");
    running.engine.shutdown().await;
}
