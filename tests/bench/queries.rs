//! Queries over many rows: in memory, over rollups, in Parquet, and the same ones by ClickHouse on the same Parquet.
//!
//! `--hot-rows=10000000` rows of the last minute, in memory; `--rows=10000000` before them, over a day, of which each look-up finds one.

mod clickhouse;
mod panels;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::figures;
use crate::harness::{Engine, Workspace, tollgate};
use crate::mesh::{self, BATCH_ROWS, Mesh};

const REPORTERS: u64 = 2;
const MINUTE_US: i64 = 60_000_000;
/// The oldest rows are so old: somewhat less than what is taken.
const DAY_US: i64 = 23 * 60 * MINUTE_US;
/// How often each query is asked; the median counts.
const TIMES: usize = 9;
/// All hot rows stay in memory, sealed or not.
const SETTINGS: &str = "memory: { rows: 12GiB, queries: 4GiB }\nquery: { timeout: 5m }\n";

/// A query in both dialects. `$since` is where the last minute begins, `$trace` and `$request` are ids.
struct Question {
    name: &'static str,
    /// Whether it is about rows of the last minute.
    is_hot: bool,
    ours: &'static str,
    theirs: &'static str,
}

const QUESTIONS: [Question; 8] = [
    Question {
        name: "last minute, by destination: count, mean",
        is_hot: true,
        ours: "SELECT destination, count(*) AS n, avg(duration_us) AS mean FROM requests WHERE time >= '$since' GROUP BY destination",
        theirs: "SELECT destination, count() AS n, avg(duration_us) AS mean FROM $requests WHERE time >= toDateTime64('$since', 6, 'UTC') GROUP BY destination",
    },
    Question {
        name: "last minute, by source and destination: count, failed, bytes",
        is_hot: true,
        ours: "SELECT source, destination, count(*) AS n, sum(CASE WHEN status >= 500 THEN 1 ELSE 0 END) AS failed, sum(response_bytes) AS bytes \
               FROM requests WHERE time >= '$since' GROUP BY source, destination",
        theirs: "SELECT source, destination, count() AS n, countIf(status >= 500) AS failed, sum(response_bytes) AS bytes \
                 FROM $requests WHERE time >= toDateTime64('$since', 6, 'UTC') GROUP BY source, destination",
    },
    Question {
        name: "last minute, failures by route",
        is_hot: true,
        ours: "SELECT route, count(*) AS n FROM requests WHERE time >= '$since' AND status >= 500 GROUP BY route ORDER BY n DESC LIMIT 10",
        theirs: "SELECT route, count() AS n FROM $requests WHERE time >= toDateTime64('$since', 6, 'UTC') AND status >= 500 GROUP BY route ORDER BY n DESC LIMIT 10",
    },
    Question {
        name: "last minute of one service: count, slowest",
        is_hot: true,
        ours: "SELECT count(*) AS n, max(duration_us) AS slowest FROM requests WHERE time >= '$since' AND destination = 'shop/service-7'",
        theirs: "SELECT count() AS n, max(duration_us) AS slowest FROM $requests WHERE time >= toDateTime64('$since', 6, 'UTC') AND destination = 'shop/service-7'",
    },
    Question {
        name: "all rows, by destination: count, mean",
        is_hot: false,
        ours: "SELECT destination, count(*) AS n, avg(duration_us) AS mean FROM requests GROUP BY destination",
        theirs: "SELECT destination, count() AS n, avg(duration_us) AS mean FROM $requests GROUP BY destination",
    },
    Question {
        name: "the last 100 rows of one service",
        is_hot: false,
        ours: "SELECT time, source, route, status, duration_us FROM requests WHERE destination = 'shop/service-7' ORDER BY time DESC LIMIT 100",
        theirs: "SELECT time, source, route, status, duration_us FROM $requests WHERE destination = 'shop/service-7' ORDER BY time DESC LIMIT 100",
    },
    Question {
        name: "one trace id",
        is_hot: false,
        ours: "SELECT time, source, destination, route, status, duration_us FROM requests WHERE trace_id = trace_id('$trace')",
        theirs: "SELECT time, source, destination, route, status, duration_us FROM $requests WHERE trace_id = toFixedString(unhex('$trace'), 16)",
    },
    Question {
        name: "one request id",
        is_hot: false,
        ours: "SELECT time, source, destination, route, status, duration_us FROM requests WHERE request_id = '$request'",
        theirs: "SELECT time, source, destination, route, status, duration_us FROM $requests WHERE request_id = '$request'",
    },
];

/// What stands in for the names in a question.
#[derive(Debug, Clone)]
struct Names {
    since: String,
    ids: Vec<(u128, String)>,
}

impl Names {
    /// The question as it is asked for the `time`th time.
    fn fill(&self, text: &str, time: usize) -> String {
        let (trace, request) = &self.ids[time % self.ids.len()];
        text.replace("$since", &self.since).replace("$trace", &format!("{trace:032x}")).replace("$request", request)
    }
}

pub(crate) async fn run() -> anyhow::Result<()> {
    let (rows, hot_rows) = (figures::option("rows", 10_000_000), figures::option("hot-rows", 10_000_000));
    let workspace = Workspace::new(&[]);
    tollgate_policies::Sources::starter().write(&workspace.policies())?;
    let engine = Engine::start_at(&workspace, "127.0.0.1:0".parse()?, SETTINGS).await;
    let grpc = engine.grpc;
    let now_us = mesh::now_us()?;
    let started = Instant::now();
    let mut ids = fill(&engine, 1, rows, (now_us - DAY_US, now_us - MINUTE_US)).await?;
    ids.extend(fill(&engine, 2, hot_rows, (now_us - MINUTE_US, now_us)).await?);
    let sent = (rows.div_ceil(BATCH_ROWS as u64 * REPORTERS) + hot_rows.div_ceil(BATCH_ROWS as u64 * REPORTERS))
        * BATCH_ROWS as u64
        * REPORTERS;
    println!("queries: {sent} rows were sent and acknowledged in {:.0} s", started.elapsed().as_secs_f64());
    anyhow::ensure!(engine.number("SELECT count(*) FROM requests").await as u64 == sent, "rows are missing");

    quiet(&engine).await?;
    let since = chrono::DateTime::from_timestamp_micros(now_us - MINUTE_US).unwrap_or_default();
    fastrand::shuffle(&mut ids);
    let names = Names { since: since.format("%Y-%m-%d %H:%M:%S%.6f").to_string(), ids };
    let mut hot = Vec::new();
    for question in &QUESTIONS {
        hot.push(if question.is_hot { Some(ask(&engine, question.ours, &names).await?) } else { None });
    }
    panels::run(&engine, now_us).await?;
    engine.stop().await;

    let compacted = tollgate(&["storage", "compact", "-c"]).arg(workspace.path("tollgate.yaml")).output()?;
    anyhow::ensure!(compacted.status.success(), "{compacted:?}");
    let engine = Engine::start_at(&workspace, grpc, SETTINGS).await;
    let files = engine.number("SELECT count(*) FROM storage_files WHERE table_name = 'requests'").await;
    anyhow::ensure!(engine.number("SELECT count(*) FROM storage_files WHERE in_memory").await == 0);
    let mut sealed = Vec::new();
    for question in &QUESTIONS {
        sealed.push(ask(&engine, question.ours, &names).await?);
    }
    engine.stop().await;
    let tables: PathBuf = workspace.path("data/tables/requests");
    let theirs = clickhouse::ask(&tables, &QUESTIONS, &names)?;

    println!("\n{sent} rows, {hot_rows} of them of the last minute, in {files} files; medians of {TIMES}\n");
    println!(
        "| query | in memory | Parquet | ClickHouse {}, same Parquet | ours / theirs |\n|---|---|---|---|---|",
        theirs.version
    );
    for (((question, hot), sealed), theirs) in QUESTIONS.iter().zip(hot).zip(sealed).zip(&theirs.answers) {
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        let ratio = sealed.time.as_secs_f64() / theirs.time.as_secs_f64();
        let hot = hot.map_or_else(|| "-".to_owned(), |answer| ms(answer.time));
        println!("| {} | {hot} | {} | {} | {ratio:.2} |", question.name, ms(sealed.time), ms(theirs.time));
        anyhow::ensure!(sealed.rows == theirs.rows, "{}: {} rows, theirs {}", question.name, sealed.rows, theirs.rows);
    }
    Ok(())
}

/// Waits until the engine is done with sealing and compacting what came.
async fn quiet(engine: &Engine) -> anyhow::Result<()> {
    for _ in 0..300 {
        let before = figures::cpu(engine.pid());
        tokio::time::sleep(Duration::from_secs(1)).await;
        if figures::cpu(engine.pid()) - before < Duration::from_millis(100) {
            return Ok(());
        }
    }
    anyhow::bail!("the engine is still at work after five minutes")
}

/// The median time of a query, and how many rows it gave.
#[derive(Debug, Clone, Copy)]
struct Answer {
    time: Duration,
    rows: usize,
}

async fn ask(engine: &Engine, text: &str, names: &Names) -> anyhow::Result<Answer> {
    let mut times = Vec::new();
    let mut rows = 0;
    // The first time is not counted, here as there.
    for time in 0..=TIMES {
        let query = names.fill(text, time);
        let started = Instant::now();
        rows = engine.try_sql(&query).await.map_err(|error| anyhow::anyhow!("{query}: {error}"))?.len();
        times.push(started.elapsed());
    }
    Ok(Answer { time: median(times.split_off(1)), rows })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Sends about so many rows, whose times rise over a span, from all reporters. Returns ids of some.
async fn fill(
    engine: &Engine,
    epoch: u64,
    rows: u64,
    (from_us, to_us): (i64, i64),
) -> anyhow::Result<Vec<(u128, String)>> {
    let batches = i64::try_from(rows.div_ceil(BATCH_ROWS as u64 * REPORTERS))?;
    let reporters: Vec<_> = (0..REPORTERS)
        .map(|number| {
            let (grpc, name) = (engine.grpc.to_string(), format!("queries-{number}"));
            tokio::spawn(async move {
                let mut mesh = Mesh::new(&name, epoch * 100 + number);
                let mut sent = 0;
                let at = |batch: i64| from_us + (to_us - from_us) * batch / batches.max(1);
                mesh::report(grpc, name, epoch, || {
                    sent += 1;
                    if sent > batches { Ok(None) } else { mesh.batch(at(sent - 1), at(sent)).map(Some) }
                })
                .await?;
                anyhow::Ok(mesh.remembered)
            })
        })
        .collect();
    let mut ids = Vec::new();
    for reporter in reporters {
        ids.extend(reporter.await??);
    }
    Ok(ids)
}
