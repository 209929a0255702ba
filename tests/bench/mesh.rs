//! Requests of a mesh of 50 services, each of which calls three others, with 200 routes and 1,000 users; and a reporter of them.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tollgate_api::v1::{self, report_request::Message};
use tollgate_attributes::{BatchBuilder, BatchLimits, Row, encode};

pub(crate) const BATCH_ROWS: usize = 8_192;
/// Batches that a reporter sends ahead of the acknowledgements.
const AHEAD: usize = 4;
const SERVICES: u32 = 50;
const CALLEES: u32 = 3;
const ROUTES: u32 = 4;
const USERS: u32 = 1_000;
/// How long an acknowledgement may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Makes rows. Ids are random and never repeat.
pub(crate) struct Mesh {
    reporter: String,
    random: fastrand::Rng,
    /// Ids of one row in so many.
    pub(crate) remembered: Vec<(u128, String)>,
}

impl Mesh {
    pub(crate) fn new(reporter: &str, seed: u64) -> Self {
        Self { reporter: reporter.to_owned(), random: fastrand::Rng::with_seed(seed), remembered: Vec::new() }
    }

    /// A full batch as a proxy encodes it. Times rise from one to the other.
    pub(crate) fn batch(&mut self, from_us: i64, to_us: i64) -> anyhow::Result<bytes::Bytes> {
        let limits = BatchLimits { rows_max: BATCH_ROWS, bytes_max: usize::MAX };
        let mut builder = BatchBuilder::new(limits);
        let policies = ["storefront-calls-catalog".into()];
        let random = &mut self.random;
        for row in 0..BATCH_ROWS {
            let caller = random.u32(..SERVICES);
            let callee = (caller * 7 + 1 + random.u32(..CALLEES)) % SERVICES;
            let route = format!("/service-{callee}/r{}/{{id}}", random.u32(..ROUTES));
            let (trace_id, request_id) = (random.u128(..), format!("{:032x}", random.u128(..)));
            let status = if random.u8(..100) == 0 { 503 } else { 200 };
            // Skewed, as durations are.
            let duration_us = 500 + (random.f64().powi(4) * 80_000.0) as i64;
            let _ = builder.push(&Row {
                time: from_us + (to_us - from_us) * row as i64 / BATCH_ROWS as i64,
                reporter: &self.reporter,
                direction: "inbound",
                source: &format!("shop/service-{caller}"),
                source_namespace: "shop",
                source_address: &format!("10.0.{caller}.{}", random.u8(1..5)),
                destination: &format!("shop/service-{callee}"),
                destination_namespace: "shop",
                destination_address: &format!("10.1.{callee}.{}:8080", random.u8(1..5)),
                user: &format!("user-{}", random.u32(..USERS)),
                method: if random.u8(..10) == 0 { "POST" } else { "GET" },
                scheme: "http",
                host: &format!("service-{callee}.shop"),
                path: &route.replace("{id}", &random.u32(..500).to_string()),
                route: &route,
                protocol: "http/1.1",
                user_agent: "shop-app/3.2",
                status: Some(status),
                duration_us,
                upstream_us: Some(duration_us - 300),
                response_bytes: random.i64(100..20_000),
                attempts: Some(1),
                decision: "allow",
                reason: "permitted",
                policies: &policies,
                priority: "normal",
                snapshot: 7,
                weight: 1,
                trace_id: Some(trace_id.to_be_bytes()),
                span_id: Some(random.u64(..).to_be_bytes()),
                request_id: &request_id,
                ..Row::default()
            });
            if row == 0 {
                self.remembered.push((trace_id, request_id));
            }
        }
        Ok(encode(&builder.finish()?)?.into())
    }
}

/// Sends what `next` gives until it gives nothing, and waits until all of it is acknowledged.
pub(crate) async fn report(
    grpc: String,
    reporter: String,
    epoch: u64,
    mut next: impl FnMut() -> anyhow::Result<Option<bytes::Bytes>>,
) -> anyhow::Result<()> {
    let mut client = v1::telemetry_client::TelemetryClient::connect(format!("http://{grpc}")).await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let hello = v1::ReportHello { reporter, epoch, agent: "bench".into() };
    sender.send(v1::ReportRequest { message: Some(Message::Hello(hello)) }).await?;
    let mut answers = client.report(ReceiverStream::new(receiver)).await?.into_inner();
    let (mut sent, mut acknowledged) = (0, 0);
    let mut is_over = false;
    while !is_over || acknowledged < sent {
        if !is_over && sent < acknowledged + AHEAD as u64 {
            match next()? {
                Some(arrow_ipc) => {
                    sent += 1;
                    let batch = v1::Batch { sequence: sent, arrow_ipc };
                    sender.send(v1::ReportRequest { message: Some(Message::Batch(batch)) }).await?;
                }
                None => is_over = true,
            }
            continue;
        }
        let Some(answer) = tokio::time::timeout(PATIENCE, answers.message()).await?? else {
            anyhow::bail!("the engine ended the stream after {acknowledged} of {sent} batches");
        };
        anyhow::ensure!(answer.rejections.is_empty(), "{:?}", answer.rejections);
        acknowledged = answer.acknowledged_sequence;
    }
    Ok(())
}

/// Microseconds since the epoch.
pub(crate) fn now_us() -> anyhow::Result<i64> {
    Ok(i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros())?)
}
