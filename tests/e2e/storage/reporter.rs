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

use super::process::Notes;

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
    name: String,
    grpc: SocketAddr,
    epoch: u64,
    sequence: u64,
    waiting: VecDeque<Waiting>,
    done: Vec<Sent>,
    acknowledged: Arc<AtomicU64>,
    notes: Option<Notes>,
}

/// Batches of this process are numbered from here on.
pub(super) fn first_number(first: u64) {
    NUMBERS.store(first, Ordering::Relaxed);
}

impl Reporter {
    pub(super) fn new(name: impl Into<String>, grpc: SocketAddr) -> Self {
        let name = name.into();
        let (waiting, done, acknowledged) = (VecDeque::new(), Vec::new(), Arc::default());
        Self { name, grpc, epoch: now_us(), sequence: 0, waiting, done, acknowledged, notes: None }
    }

    /// Writes down each batch before it is sent, and when it is acknowledged.
    pub(super) fn noted_in(self, notes: Notes) -> Self {
        Self { notes: Some(notes), ..self }
    }

    /// Counts batches that were acknowledged.
    pub(super) fn counted_by(self, acknowledged: &Arc<AtomicU64>) -> Self {
        Self { acknowledged: Arc::clone(acknowledged), ..self }
    }

    /// Reports until told to stop and all is acknowledged. Returns everything that was sent.
    pub(super) async fn run(mut self, is_over: Arc<AtomicBool>) -> Vec<Sent> {
        loop {
            // A connection breaks when the engine is killed; what it was in the midst of is sent again on the next one.
            let _ = self.connection(&is_over).await;
            if is_over.load(Ordering::Relaxed) && self.waiting.is_empty() {
                return self.done;
            }
            if self.notes.is_none() && fastrand::u8(..) < 64 && !is_over.load(Ordering::Relaxed) {
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
        let hello = v1::ReportHello { reporter: self.name.clone(), epoch: self.epoch, agent: "test".to_owned() };
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
            if let Some(notes) = &mut self.notes {
                notes.acknowledged(&waiting.sent);
            } else {
                self.done.push(Sent { is_acknowledged: true, ..waiting.sent });
            }
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn next(&mut self) -> Waiting {
        self.sequence += 1;
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let rows = fastrand::usize(1..=ROWS_MAX);
        let sent = Sent { number, rows: rows as u64, is_acknowledged: false };
        if let Some(notes) = &mut self.notes {
            notes.sent(&sent);
        }
        Waiting { sequence: self.sequence, sent, bytes: encode(&self.name, number, rows).into() }
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
