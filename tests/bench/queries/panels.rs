//! Panels of the dashboards over 24 hours of `traffic`, as Grafana asks for them.

use std::time::{Duration, Instant};

use tollgate_dashboards::macros::Span;
use tollgate_dashboards::{Language, Place, Target, targets};

use crate::harness::Engine;

/// The whole mesh, and one service.
const DASHBOARDS: [&str; 2] = ["tollgate-mesh", "tollgate-service"];
const HOURS_MS: i64 = 24 * 3_600_000;
/// Grafana's interval for a day on a wide screen.
const INTERVAL_MS: i64 = 60_000;
const VARIABLES: [(&str, &str); 3] =
    [("resolution", "1m"), ("service", "shop/service-7"), ("traces", "http://127.0.0.1:16686/trace/")];
const TIMES: usize = 5;

pub(super) async fn run(engine: &Engine, now_us: i64) -> anyhow::Result<()> {
    let span = Span { from_ms: now_us / 1_000 - HOURS_MS, to_ms: now_us / 1_000, interval_ms: INTERVAL_MS };
    let mut asked: Vec<(String, Duration)> = Vec::new();
    for target in targets() {
        let Some((name, text)) = query(&target, span)? else { continue };
        let mut times = Vec::new();
        for _ in 0..=TIMES {
            let started = Instant::now();
            engine.try_sql(&text).await.map_err(|error| anyhow::anyhow!("{name}: {error}\n{text}"))?;
            times.push(started.elapsed());
        }
        asked.push((name, super::median(times.split_off(1))));
    }
    asked.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    println!("\n| panel over 24 h of `traffic` | median |\n|---|---|");
    for (name, time) in &asked {
        println!("| {name} | {:.1} ms |", time.as_secs_f64() * 1e3);
    }
    Ok(())
}

/// A panel that reads `traffic`.
fn query(target: &Target, span: Span) -> anyhow::Result<Option<(String, String)>> {
    let Place::Panel { dashboard, panel, query } = &target.place else { return Ok(None) };
    if target.language != Language::Sql || !DASHBOARDS.contains(dashboard) || !target.text.contains("traffic") {
        return Ok(None);
    }
    Ok(Some((format!("{dashboard}: {panel} {query}"), target.sent(&VARIABLES, span)?)))
}
