//! Panels over a day of the demo's traffic at 100 million requests: how long they take, alone and beside 100,000 rows/s, and
//! what refreshing 50 of them every 5 s costs.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tollgate_api::v1::{self, report_request::Message};
use tollgate_attributes::{BatchBuilder, BatchLimits, Row, encode};
use tollgate_dashboards::macros::Span;
use tollgate_dashboards::{Language, Place, targets};

use crate::figures;
use crate::harness::{Client, Engine, Workspace};

const DAY_S: i64 = 24 * 3_600;
/// What the rollups count, all in all.
const REQUESTS: i64 = 100_000_000;
/// Rows of each key and minute: enough for a histogram, few enough to be written in a minute or two.
const ROWS_OF_MINUTE: i64 = 60;
/// Who calls what in the demo's shop.
const EDGES: [(&str, &str, &[&str]); 7] = [
    ("", "shop/storefront", &["/", "/items/{id}", "/search", "/cart"]),
    ("shop/storefront", "shop/catalog", &["/items/{id}", "/items"]),
    ("shop/storefront", "shop/search", &["/search"]),
    ("shop/storefront", "shop/cart", &["/cart/{id}"]),
    ("shop/cart", "shop/payments", &["/pay"]),
    ("shop/storefront", "shop/recommendations", &["/for/{id}"]),
    ("shop/batch", "shop/search", &["/search", "/reindex"]),
];
/// Status, decision and how many of a hundred.
const OUTCOMES: [(i16, &str, i64); 4] = [(200, "allow", 94), (404, "allow", 3), (503, "allow", 1), (429, "limit", 2)];

const PANELS: usize = 50;
const REFRESH: Duration = Duration::from_secs(5);
const ROUNDS: usize = 6;
const INGEST_ROWS: u64 = 100_000;
const BATCH_ROWS: usize = 10_000;

pub(crate) async fn run() -> anyhow::Result<()> {
    let workspace = Workspace::new(&[]);
    tollgate_policies::Sources::starter().write(&workspace.policies())?;
    let engine = Engine::start(&workspace).await;
    let started = Instant::now();
    let rows = write_day(&engine).await?;
    let counted = engine.number("SELECT CAST(sum(requests) AS BIGINT) FROM traffic_1h").await;
    println!(
        "panels: {rows} rows that stand for {counted} requests of 24 h, written in {:.0} s",
        started.elapsed().as_secs_f64()
    );

    let panels = panels();
    let mut alone = Vec::new();
    for _ in 0..3 {
        alone.extend(refresh(&engine, &panels, Duration::ZERO).await?);
    }
    print("alone, one after the other", alone);

    let (stop, stopped) = tokio::sync::watch::channel(false);
    let ingest = tokio::spawn(ingest(engine.grpc.to_string(), stopped));
    tokio::time::sleep(REFRESH).await;
    let before = measure(&engine, REFRESH * 4, async {}).await;
    let mut beside = Vec::new();
    let refreshing = async {
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            beside.extend(refresh(&engine, &panels, REFRESH / PANELS as u32).await?);
            tokio::time::sleep(REFRESH.saturating_sub(begun.elapsed())).await;
        }
        anyhow::Ok(())
    };
    let mut result = Ok(());
    let with = measure(&engine, Duration::ZERO, async { result = refreshing.await }).await;
    result?;
    let _ = stop.send(true);
    let (sent, seconds) = ingest.await??;
    print("beside ingest, every 5 s", beside);
    println!(
        "panels: engine {:.2} cores with {PANELS} panels every 5 s beside {:.0} rows/s, {:.2} cores without panels",
        with,
        sent as f64 / seconds,
        before
    );
    Ok(())
}

/// Cores that the engine takes while something happens, for as long as that or longer.
async fn measure(engine: &Engine, least: Duration, work: impl Future<Output = ()>) -> f64 {
    let (started, cpu) = (Instant::now(), figures::cpu(engine.pid()));
    work.await;
    tokio::time::sleep(least.saturating_sub(started.elapsed())).await;
    (figures::cpu(engine.pid()) - cpu).as_secs_f64() / started.elapsed().as_secs_f64()
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |quantile: f64| times[((times.len() - 1) as f64 * quantile).ceil() as usize].as_secs_f64() * 1e3;
    println!(
        "panels, {what}: p50 {:.1} ms, p95 {:.1} ms, max {:.1} ms ({} queries)",
        at(0.5),
        at(0.95),
        at(1.0),
        times.len()
    );
}

/// The queries of the first 50 panels that ask for the mesh, with a day before them.
fn panels() -> Vec<(Language, String)> {
    let now_ms = now_us() / 1_000;
    let span = Span { from_ms: now_ms - DAY_S * 1_000, to_ms: now_ms, interval_ms: 120_000 };
    let variables = [
        ("resolution", "1m"),
        ("service", "shop/catalog"),
        ("source", "shop/storefront"),
        ("destination", "shop/catalog"),
        ("caller", ""),
        ("path", ""),
        ("decision", "any"),
        ("status", "0"),
        ("slower_ms", "0"),
        ("trace", ""),
        ("traces", "http://127.0.0.1:16686/trace/"),
    ];
    let of_mesh = targets().into_iter().filter(|target| {
        let is_panel = matches!(target.place, Place::Panel { .. }) && target.language != Language::EngineMetrics;
        // The request explorer looks at raw rows, which have been sealed long ago here.
        is_panel && (target.language == Language::PromQl || target.text.contains("traffic_"))
    });
    of_mesh.take(PANELS).map(|target| (target.language, target.sent(&variables, span).unwrap())).collect()
}

/// Every panel once, one after the other with a pause between.
async fn refresh(engine: &Engine, panels: &[(Language, String)], pause: Duration) -> anyhow::Result<Vec<Duration>> {
    let mut client = Client::new(engine.http);
    let mut times = Vec::new();
    let end_s = now_us() / 1_000_000;
    for (language, query) in panels {
        let begun = Instant::now();
        let answer = match language {
            Language::Sql => client.send("POST", "/v1/sql", &[], query.as_bytes()).await,
            _ => {
                let form = format!("query={}&start={}&end={end_s}&step=120", escape(query), end_s - DAY_S);
                let kind = [("content-type", "application/x-www-form-urlencoded")];
                client.send("POST", "/api/v1/query_range", &kind, form.as_bytes()).await
            }
        };
        let answer = answer.map_err(|error| anyhow::anyhow!("{query}: {error:?}"))?;
        anyhow::ensure!(answer.status == 200, "{query}: {}", answer.text());
        times.push(begun.elapsed());
        if std::env::var_os("PANELS_VERBOSE").is_some() {
            println!("{:8.1} ms  {}", begun.elapsed().as_secs_f64() * 1e3, query.replace('\n', " "));
        }
        tokio::time::sleep(pause.saturating_sub(begun.elapsed())).await;
    }
    Ok(times)
}

fn escape(text: &str) -> String {
    let one = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// A reporter's stream.
struct Stream {
    batches: mpsc::Sender<v1::ReportRequest>,
    answers: tonic::Streaming<v1::ReportResponse>,
    sequence: u64,
}

impl Stream {
    async fn open(grpc: &str, name: &str) -> anyhow::Result<Self> {
        let mut client = v1::telemetry_client::TelemetryClient::connect(format!("http://{grpc}")).await?;
        let (batches, receiver) = mpsc::channel(4);
        let hello = v1::ReportHello { reporter: name.to_owned(), epoch: 1, agent: "bench".into() };
        batches.send(v1::ReportRequest { message: Some(Message::Hello(hello)) }).await?;
        let answers = client.report(tokio_stream::wrappers::ReceiverStream::new(receiver)).await?.into_inner();
        Ok(Self { batches, answers, sequence: 0 })
    }

    /// Sends a batch and waits until it is kept.
    async fn send(&mut self, arrow_ipc: bytes::Bytes) -> anyhow::Result<()> {
        self.sequence += 1;
        let batch = v1::Batch { sequence: self.sequence, arrow_ipc };
        self.batches.send(v1::ReportRequest { message: Some(Message::Batch(batch)) }).await?;
        while let Some(answer) = tokio::time::timeout(Duration::from_secs(60), self.answers.message()).await?? {
            anyhow::ensure!(answer.rejections.is_empty(), "{:?}", answer.rejections);
            if answer.acknowledged_sequence >= self.sequence {
                return Ok(());
            }
        }
        anyhow::bail!("the engine ended the stream")
    }
}

/// Rows of a whole day, each of which stands for many requests.
async fn write_day(engine: &Engine) -> anyhow::Result<u64> {
    let mut stream = Stream::open(&engine.grpc.to_string(), "bench-day").await?;
    let keys: i64 = EDGES.iter().map(|(_, _, routes)| routes.len() as i64).sum();
    let minutes = DAY_S / 60 - 5;
    let weight = REQUESTS / (minutes * keys * ROWS_OF_MINUTE);
    let first_us = now_us() - minutes * 60_000_000;
    let mut random = fastrand::Rng::with_seed(7);
    let (mut builder, mut rows, mut total) = (Builder::new("bench-day"), 0, 0);
    for minute in 0..minutes {
        for (source, destination, routes) in EDGES {
            for route in routes {
                for n in 0..ROWS_OF_MINUTE {
                    let time = first_us + minute * 60_000_000 + n * 1_000_000 + random.i64(0..1_000_000);
                    builder.push(&mut random, time, source, destination, route, weight.max(1));
                    rows += 1;
                }
            }
        }
        if rows >= BATCH_ROWS as u64 || minute + 1 == minutes {
            stream.send(builder.finish()?).await?;
            total += rows;
            (builder, rows) = (Builder::new("bench-day"), 0);
        }
    }
    Ok(total)
}

/// 100,000 rows/s until it is told to stop; gives how many, and in how many seconds.
async fn ingest(grpc: String, mut stop: tokio::sync::watch::Receiver<bool>) -> anyhow::Result<(u64, f64)> {
    let mut stream = Stream::open(&grpc, "bench-live").await?;
    let mut random = fastrand::Rng::with_seed(9);
    let (started, mut sent) = (Instant::now(), 0);
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(BATCH_ROWS as f64 / INGEST_ROWS as f64));
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.changed() => return Ok((sent, started.elapsed().as_secs_f64())),
        }
        let mut builder = Builder::new("bench-live");
        for n in 0..BATCH_ROWS {
            let (source, destination, routes) = EDGES[n % EDGES.len()];
            builder.push(&mut random, now_us(), source, destination, routes[n % routes.len()], 1);
        }
        stream.send(builder.finish()?).await?;
        sent += BATCH_ROWS as u64;
    }
}

struct Builder(BatchBuilder, &'static str);

impl Builder {
    fn new(reporter: &'static str) -> Self {
        Self(BatchBuilder::new(BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX }), reporter)
    }

    fn push(
        &mut self,
        random: &mut fastrand::Rng,
        time: i64,
        source: &str,
        destination: &str,
        route: &str,
        weight: i64,
    ) {
        let mut at = random.i64(0..100);
        let outcome = OUTCOMES.iter().find(|(_, _, share)| {
            at -= share;
            at < 0
        });
        let (status, decision, _) = *outcome.unwrap_or(&OUTCOMES[0]);
        let policies = ["storefront-calls-catalog".into()];
        let _ = self.0.push(&Row {
            time,
            reporter: self.1,
            direction: "inbound",
            source,
            destination,
            method: "GET",
            route,
            path: route,
            status: Some(status),
            // Most are quick, some are slow: a long tail.
            duration_us: (random.f64().powi(-2) * 800.0).min(30e6) as i64,
            request_bytes: random.i64(0..2_000),
            response_bytes: random.i64(100..20_000),
            decision,
            reason: if decision == "allow" { "permitted" } else { "rate" },
            policies: &policies,
            weight,
            trace_id: Some(random.u128(1..).to_be_bytes()),
            ..Row::default()
        });
    }

    fn finish(mut self) -> anyhow::Result<bytes::Bytes> {
        Ok(encode(&self.0.finish()?)?.into())
    }
}

fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}
