//! One stream of rows, with as much on its way as a proxy would have.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tollgate_api::v1::{self, report_request::Message, telemetry_client::TelemetryClient};
use tollgate_attributes::encode;
use tonic::Streaming;

use crate::rows::Template;

/// Batches that are sent ahead of their acknowledgement.
const AHEAD: usize = 6;
/// Batches made ahead, so that not each is like the one before.
const TEMPLATES: usize = 8;
/// How long the engine may leave a batch without an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a stream has to do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) engine: String,
    pub(crate) for_: Duration,
    pub(crate) rows: u32,
    pub(crate) batches_per_s: Option<f64>,
}

/// What was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// From sending a batch to its acknowledgement.
    pub(crate) waits: Vec<Duration>,
}

impl Sent {
    pub(crate) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.waits.extend(other.waits);
    }
}

/// An open stream and the rows for it.
pub(crate) struct Stream {
    templates: Vec<Template>,
    random: fastrand::Rng,
    requests: mpsc::Sender<v1::ReportRequest>,
    responses: Streaming<v1::ReportResponse>,
}

pub(crate) async fn open(number: u32, plan: &Plan) -> anyhow::Result<Stream> {
    let reporter = format!("proxy-{number}");
    let epoch = u64::try_from(now_us()?)?;
    let mut random = fastrand::Rng::with_seed(epoch ^ u64::from(number) << 56);
    let templates =
        (0..TEMPLATES).map(|_| Template::new(&reporter, plan.rows, &mut random)).collect::<Result<_, _>>()?;
    let mut client = TelemetryClient::connect(plan.engine.clone()).await.context("connecting to the engine")?;
    let (requests, queue) = mpsc::channel(2);
    let hello = v1::ReportHello { reporter, epoch, agent: "tollgate-reporters".into() };
    requests.send(v1::ReportRequest { message: Some(Message::Hello(hello)) }).await?;
    let mut responses = client.report(ReceiverStream::new(queue)).await?.into_inner();
    responses.message().await?.context("the engine does not greet")?;
    Ok(Stream { templates, random, requests, responses })
}

impl Stream {
    /// Sends until the time is over, then waits until all is acknowledged.
    pub(crate) async fn send(mut self, plan: &Plan) -> anyhow::Result<Sent> {
        let started = Instant::now();
        let (mut sent, mut waiting) = (Sent::default(), Waiting::new());
        let mut sequence = 0_u64;
        loop {
            let is_over = started.elapsed() >= plan.for_;
            if is_over && waiting.is_empty() {
                return Ok(sent);
            }
            let due = plan.batches_per_s.map_or(0.0, |batches_per_s| sequence as f64 / batches_per_s);
            let since = waiting.front().map_or_else(Instant::now, |(_, since, _)| *since);
            tokio::select! {
                biased;
                answer = self.responses.message() => {
                    take_answer(answer?.context("the engine ended the stream")?, &mut waiting, &mut sent, plan)?;
                }
                () = until(started + Duration::from_secs_f64(due)), if !is_over && waiting.len() < AHEAD => {
                    sequence += 1;
                    let bytes = self.send_batch(sequence).await?;
                    waiting.push_back((sequence, Instant::now(), bytes));
                }
                () = until(since + PATIENCE), if !waiting.is_empty() => bail!("the engine acknowledges nothing"),
            }
        }
    }

    async fn send_batch(&mut self, sequence: u64) -> anyhow::Result<usize> {
        let template = self.templates.get(sequence as usize % TEMPLATES).context("no template")?;
        let arrow_ipc = encode(&template.fresh(now_us()?, &mut self.random)?)?;
        let bytes = arrow_ipc.len();
        let batch = v1::Batch { sequence, arrow_ipc: arrow_ipc.into() };
        self.requests.send(v1::ReportRequest { message: Some(Message::Batch(batch)) }).await?;
        Ok(bytes)
    }
}

/// Number, time of sending and size of what is not acknowledged.
type Waiting = VecDeque<(u64, Instant, usize)>;

fn take_answer(answer: v1::ReportResponse, waiting: &mut Waiting, sent: &mut Sent, plan: &Plan) -> anyhow::Result<()> {
    ensure!(answer.rejections.is_empty(), "refused: {:?}", answer.rejections);
    while let Some((_, since, bytes)) = waiting.pop_front_if(|(sequence, ..)| *sequence <= answer.acknowledged_sequence)
    {
        sent.rows += u64::from(plan.rows);
        sent.bytes += bytes as u64;
        sent.waits.push(since.elapsed());
    }
    Ok(())
}

async fn until(time: Instant) {
    tokio::time::sleep_until(time.into()).await;
}

fn now_us() -> anyhow::Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?)
}
