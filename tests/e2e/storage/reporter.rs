//! A reporter that numbers what it sends, remembers what was acknowledged, and now and then dies and starts anew.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tollgate_api::v1::{self, report_request::Message, telemetry_client::TelemetryClient};
use tollgate_attributes::{BatchBuilder, BatchLimits, Row};

/// Most rows of a batch.
pub(super) const ROWS_MAX: usize = 200;
/// Batches that may wait for their acknowledgement.
const WAITING_MAX: usize = 16;
/// Numbers of batches, over all reporters of a test process.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// A batch that was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) rows: u64,
    pub(super) is_acknowledged: bool,
}

struct Waiting {
    sequence: u64,
    sent: Sent,
    bytes: Bytes,
}

pub(super) struct Reporter {
    name: &'static str,
    grpc: SocketAddr,
    epoch: u64,
    sequence: u64,
    waiting: VecDeque<Waiting>,
    done: Vec<Sent>,
}

impl Reporter {
    pub(super) fn new(name: &'static str, grpc: SocketAddr) -> Self {
        Self { name, grpc, epoch: now_us(), sequence: 0, waiting: VecDeque::new(), done: Vec::new() }
    }

    /// Reports until told to stop and all is acknowledged. Returns everything that was sent.
    pub(super) async fn run(mut self, is_over: Arc<AtomicBool>) -> Vec<Sent> {
        loop {
            // A connection breaks when the engine is killed; what it was in the midst of is sent again on the next one.
            let _ = self.connection(&is_over).await;
            if is_over.load(Ordering::Relaxed) && self.waiting.is_empty() {
                return self.done;
            }
            if fastrand::u8(..) < 64 && !is_over.load(Ordering::Relaxed) {
                self.die();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// As after kill -9: what was not acknowledged is forgotten, and a new run begins.
    fn die(&mut self) {
        self.done.extend(self.waiting.drain(..).map(|waiting| waiting.sent));
        (self.epoch, self.sequence) = (now_us().max(self.epoch + 1), 0);
    }

    async fn connection(&mut self, is_over: &AtomicBool) -> anyhow::Result<()> {
        let mut client = TelemetryClient::connect(format!("http://{}", self.grpc)).await?;
        let (outbox, messages) = mpsc::channel(2 * WAITING_MAX);
        let hello = v1::ReportHello { reporter: self.name.to_owned(), epoch: self.epoch, agent: "test".to_owned() };
        outbox.send(message(Message::Hello(hello))).await?;
        let mut answers = client.report(ReceiverStream::new(messages)).await?.into_inner();
        let Some(greeting) = answers.message().await? else { return Ok(()) };
        self.acknowledge(&greeting);
        for waiting in &self.waiting {
            outbox.send(waiting.message()).await?;
        }
        loop {
            let is_ending = is_over.load(Ordering::Relaxed);
            if is_ending && self.waiting.is_empty() {
                return Ok(());
            }
            if !is_ending && self.waiting.len() < WAITING_MAX {
                let waiting = self.next();
                outbox.send(waiting.message()).await?;
                self.waiting.push_back(waiting);
                continue;
            }
            match answers.message().await? {
                Some(answer) => self.acknowledge(&answer),
                None => return Ok(()),
            }
        }
    }

    fn acknowledge(&mut self, answer: &v1::ReportResponse) {
        assert!(answer.rejections.is_empty(), "{answer:?}");
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.sequence <= answer.acknowledged_sequence)
        {
            self.done.push(Sent { is_acknowledged: true, ..waiting.sent });
        }
    }

    fn next(&mut self) -> Waiting {
        self.sequence += 1;
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let rows = fastrand::usize(1..=ROWS_MAX);
        let sent = Sent { number, rows: rows as u64, is_acknowledged: false };
        Waiting { sequence: self.sequence, sent, bytes: encode(self.name, number, rows).into() }
    }
}

impl Waiting {
    fn message(&self) -> v1::ReportRequest {
        message(Message::Batch(v1::Batch { sequence: self.sequence, arrow_ipc: self.bytes.clone() }))
    }
}

fn message(message: Message) -> v1::ReportRequest {
    v1::ReportRequest { message: Some(message) }
}

/// Rows that carry the number of their batch, and one of their own.
fn encode(reporter: &str, number: u64, rows: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX });
    for row in 0..rows {
        let request_id = format!("{number}-{row}");
        let _ = builder.push(&Row {
            time: now_us() as i64,
            reporter,
            direction: "inbound",
            source: "shop/storefront",
            destination: "shop/catalog",
            method: "GET",
            path: "/items",
            status: Some(200),
            duration_us: 1_000 + row as i64,
            decision: "allow",
            reason: "permitted",
            snapshot: number as i64,
            weight: 1,
            request_id: &request_id,
            ..Row::default()
        });
    }
    let batch = builder.finish().unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}
