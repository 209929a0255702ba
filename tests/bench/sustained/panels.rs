//! Two dashboards that somebody looks at: all of their queries as Grafana sends them, again and again.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tollgate_dashboards::macros::Span;
use tollgate_dashboards::{Language, Place, Target, targets};

use crate::harness::Client;

/// The whole mesh by the minute, and one service by the second.
const DASHBOARDS: [(&str, &str); 2] = [("tollgate-mesh", "1m"), ("tollgate-service", "1s")];
/// The shortest rhythm of Grafana's menu.
const REFRESH: Duration = Duration::from_secs(5);
const SPAN_MS: i64 = 15 * 60_000;
const VARIABLES: [(&str, &str); 2] = [("service", "shop/service-7"), ("traces", "http://127.0.0.1:16686/trace/")];

/// Dashboards that are open.
pub(super) struct Open {
    stop: CancellationToken,
    refreshing: JoinHandle<anyhow::Result<Vec<Duration>>>,
}

/// Opens the dashboards.
pub(super) fn open(http: SocketAddr) -> Open {
    let stop = CancellationToken::new();
    let refreshing = tokio::spawn(refresh(http, stop.clone()));
    Open { stop, refreshing }
}

impl Open {
    /// Ends, and says how long the queries took.
    pub(super) async fn close(self) -> anyhow::Result<String> {
        self.stop.cancel();
        let mut times = self.refreshing.await??;
        times.sort_unstable();
        anyhow::ensure!(!times.is_empty(), "no query was answered");
        let ms = |quantile: f64| times[((times.len() - 1) as f64 * quantile) as usize].as_secs_f64() * 1e3;
        let (count, p50, p99) = (times.len(), ms(0.5), ms(0.99));
        Ok(format!("{count} queries of dashboards meanwhile: p50 {p50:.1} ms, p99 {p99:.1} ms"))
    }
}

async fn refresh(http: SocketAddr, stop: CancellationToken) -> anyhow::Result<Vec<Duration>> {
    let shown: Vec<(Target, &str)> = targets().into_iter().filter_map(shown).collect();
    let mut client = Client::new(http);
    let mut times = Vec::new();
    let mut rhythm = tokio::time::interval(REFRESH);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(times),
            _ = rhythm.tick() => {}
        }
        let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let span = Span { from_ms: now_ms - SPAN_MS, to_ms: now_ms, interval_ms: 1_000 };
        for (target, resolution) in &shown {
            let [service, traces] = VARIABLES;
            let text = target.sent(&[service, traces, ("resolution", resolution)], span)?;
            let started = Instant::now();
            ask(&mut client, target, &text, span).await?;
            times.push(started.elapsed());
        }
    }
}

/// A query of a panel, with the resolution of its dashboard.
fn shown(target: Target) -> Option<(Target, &'static str)> {
    let Place::Panel { dashboard, .. } = target.place else { return None };
    let (_, resolution) = DASHBOARDS.into_iter().find(|(shown, _)| *shown == dashboard)?;
    (target.language != Language::EngineMetrics).then_some((target, resolution))
}

async fn ask(client: &mut Client, target: &Target, text: &str, span: Span) -> anyhow::Result<()> {
    let answer = match target.language {
        Language::Sql => client.send("POST", "/v1/sql", &[], text.as_bytes()).await?,
        _ => {
            let (start, end) = (span.from_ms / 1_000, span.to_ms / 1_000);
            let body = format!("query={}&start={start}&end={end}&step=5", escape(text));
            let headers = [("content-type", "application/x-www-form-urlencoded")];
            client.send("POST", "/api/v1/query_range", &headers, body.as_bytes()).await?
        }
    };
    anyhow::ensure!(answer.status == 200, "{:?}: {}\n{text}", target.place, answer.text());
    Ok(())
}

fn escape(text: &str) -> String {
    let each = text.bytes().map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    each.collect()
}
