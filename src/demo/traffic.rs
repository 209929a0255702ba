//! What the engine saw of the demo, asked in SQL: nothing here is counted by the demo itself.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt as _;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tollgate_engine::{Engine, Status};

use super::fleet::Fleet;
use super::screen::Screen;
use crate::output;

/// The live table: the last ten seconds by caller and called.
const LIVE: &str = "\
    SELECT coalesce(source, '(anonymous)') AS caller, destination AS called, \
      round(count(*) / 10.0, 1) AS \"req/s\", \
      round(100.0 * count(*) FILTER (WHERE decision = 'allow' AND status < 500) \
        / nullif(count(*) FILTER (WHERE decision = 'allow'), 0), 1) AS \"success %\", \
      round(approx_percentile_cont(duration_us, 0.5) FILTER (WHERE decision = 'allow') / 1000.0, 1) AS \"p50 ms\", \
      round(approx_percentile_cont(duration_us, 0.99) FILTER (WHERE decision = 'allow') / 1000.0, 1) AS \"p99 ms\", \
      count(*) FILTER (WHERE decision = 'allow') AS allowed, \
      count(*) FILTER (WHERE decision = 'deny') AS denied, \
      count(*) FILTER (WHERE decision = 'limit') AS limited \
    FROM requests WHERE direction <> 'outbound' AND time > now() - INTERVAL '10 seconds' \
    GROUP BY 1, 2 ORDER BY called, caller";

/// The same since the demo began, for the summary: the data directory may hold the rows of earlier ones.
fn total(elapsed: Duration) -> String {
    format!("{TOTAL} WHERE direction <> 'outbound' AND {} GROUP BY 1, 2 ORDER BY called, caller", since(elapsed))
}

fn since(elapsed: Duration) -> String {
    format!("time > now() - INTERVAL '{} milliseconds'", elapsed.as_millis())
}

const TOTAL: &str = "\
    SELECT coalesce(source, '(anonymous)') AS caller, destination AS called, count(*) AS requests, \
      round(100.0 * count(*) FILTER (WHERE decision = 'allow' AND status < 500) \
        / nullif(count(*) FILTER (WHERE decision = 'allow'), 0), 1) AS \"success %\", \
      round(approx_percentile_cont(duration_us, 0.5) FILTER (WHERE decision = 'allow') / 1000.0, 1) AS \"p50 ms\", \
      round(approx_percentile_cont(duration_us, 0.99) FILTER (WHERE decision = 'allow') / 1000.0, 1) AS \"p99 ms\", \
      count(*) FILTER (WHERE decision = 'allow') AS allowed, \
      count(*) FILTER (WHERE decision = 'deny') AS denied, \
      count(*) FILTER (WHERE decision = 'limit') AS limited \
    FROM requests";

/// Whether `proxies` reporters enforce the newest policies in time.
pub(super) async fn wait_until_enforced(engine: &Engine, proxies: usize, timeout: Duration) -> bool {
    let query = "SELECT count(*) FROM reporters WHERE acknowledged_version > 0";
    wait_for(engine, query, i64::try_from(proxies).unwrap_or(i64::MAX), timeout).await
}

/// Waits until a request can be seen in SQL.
pub(super) async fn wait_for_rows(engine: &Engine, elapsed: Duration, timeout: Duration) -> anyhow::Result<()> {
    let query = format!("SELECT count(*) FROM requests WHERE {}", since(elapsed));
    let is_seen = wait_for(engine, &query, 1, timeout).await;
    ensure!(is_seen, "no request reached the engine within {} s", timeout.as_secs());
    Ok(())
}

async fn wait_for(engine: &Engine, query: &str, at_least: i64, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    while Instant::now() < deadline {
        if number(engine, query).await.is_ok_and(|number| number >= at_least) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

/// Draws the table each second until the time is over or the user ends it, and tells of policy changes.
pub(super) async fn watch(
    engine: &Engine,
    fleet: &mut Fleet,
    screen: &mut Screen,
    for_: Option<Duration>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let deadline = for_.map(|duration| tokio::time::Instant::now() + duration);
    let mut status = engine.status();
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = second.tick() => {}
            () = stop.cancelled() => return Ok(()),
            () = until(deadline) => return Ok(()),
        }
        if let Some(ended) = fleet.ended() {
            anyhow::bail!(ended);
        }
        let now = engine.status();
        tell_changes(screen, &status, &now);
        status = now;
        match live(engine).await {
            Ok(table) => screen.draw(&table),
            // Somebody else's query may have taken all the time there is.
            Err(error) => screen.warn(&format!("no table this second: {error:#}")),
        }
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn tell_changes(screen: &mut Screen, before: &Status, now: &Status) {
    if now.policies.digest != before.policies.digest {
        screen.check(&format!("policies changed: snapshot {} is pushed", now.policies.version));
    }
    let is_new = |at| before.policies.refused.as_ref().is_none_or(|refused| refused.at != at);
    if let Some(refused) = now.policies.refused.as_ref().filter(|refused| is_new(refused.at)) {
        screen.warn(&format!("policy change refused, the last good policies stay in force:\n{}", refused.diagnostics));
    }
}

async fn live(engine: &Engine) -> anyhow::Result<String> {
    Ok(format!("\n{}", output::render(&query(engine, LIVE).await?)?))
}

/// What happened in all.
pub(super) async fn summary(engine: &Engine, elapsed: Duration) -> anyhow::Result<String> {
    let rows = query(engine, &total(elapsed)).await?;
    let requests = number(engine, &format!("SELECT count(*) FROM requests WHERE {}", since(elapsed))).await?;
    let snapshot = number(engine, "SELECT max(acknowledged_version) FROM reporters").await?;
    let lost = number(engine, "SELECT CAST(coalesce(sum(lost_rows), 0) AS BIGINT) FROM reporters").await?;
    ensure!(requests > 0, "no request was recorded");
    Ok(format!(
        "\n{}{requests} rows recorded in {:.0} s, {lost} lost; snapshot {snapshot} is enforced",
        output::render(&rows)?,
        elapsed.as_secs_f64(),
    ))
}

async fn number(engine: &Engine, sql: &str) -> anyhow::Result<i64> {
    let rows = query(engine, sql).await?;
    let first = rows.iter().find(|batch| batch.num_rows() > 0).context("no rows")?;
    Ok(first.column(0).as_primitive_opt::<Int64Type>().context("not a number")?.value(0))
}

async fn query(engine: &Engine, sql: &str) -> anyhow::Result<Vec<RecordBatch>> {
    let reader = engine.reader(&tollgate_engine::Identity::anonymous()).await?;
    Ok(engine.query(&reader, sql).await?.batches.try_collect().await?)
}
