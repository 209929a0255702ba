//! A stream of rows.

use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_api::v1;
use tollgate_attributes::schema;
use tollgate_store::{Appended, Record, Store, StoreError, Ticket};

use super::SessionError;
use crate::admission::{self, Arrival, DecodeLimits, Refusal};
use crate::clock::WallTime;
use crate::metrics::Metrics;
use crate::reporters::{Introduction, Reporter, Reporters, Stream};

/// Where admitted rows go, and what counts them.
#[derive(Clone)]
pub(crate) struct Intake {
    pub(crate) limits: DecodeLimits,
    /// How long rows are kept; older ones are refused.
    pub(crate) kept_for: Option<Duration>,
    pub(crate) store: Arc<Store>,
    pub(crate) reporters: Arc<Reporters>,
    pub(crate) metrics: Arc<Metrics>,
    /// Runs what is heavy.
    pub(crate) threads: Handle,
    pub(crate) stop: CancellationToken,
}

/// One reporter's stream of rows. Dropping it ends the stream.
pub struct ReportSession {
    intake: Intake,
    reporter: Arc<Reporter>,
    epoch: u64,
}

impl ReportSession {
    pub(crate) fn open(intake: Intake, hello: &v1::ReportHello) -> Result<Self, SessionError> {
        if intake.stop.is_cancelled() {
            return Err(SessionError::ShuttingDown);
        }
        let v1::ReportHello { reporter, epoch, agent } = hello;
        let introduction = Introduction { reporter, epoch: *epoch, agent, services: None, calls: [&[], &[]] };
        let reporter = intake.reporters.connect(&introduction, Stream::Report)?;
        if intake.store.is_superseded(&reporter.name, *epoch) {
            Reporters::disconnect(&reporter, Stream::Report);
            return Err(SessionError::Superseded { reporter: hello.reporter.clone() });
        }
        intake.metrics.reporter_connected();
        tracing::debug!(reporter = %reporter.name, epoch, "reporter connected");
        let session = Self { intake, reporter, epoch: *epoch };
        let sequence = session.acknowledged().acknowledged_sequence;
        session.reporter.update(|facts| facts.note_sequence(session.epoch, sequence));
        Ok(session)
    }

    /// Takes in a batch, or refuses it; either way the answer says so, once that is durable. Rows are visible to every query
    /// that starts after this.
    pub async fn admit(&self, batch: v1::Batch) -> v1::ReportResponse {
        self.offer(batch).await.answer().await
    }

    /// Checks a batch and gives it its place. Batches are offered one after the other, in the order of the stream; several
    /// answers may be awaited at the same time. Waits while the store has no room.
    pub async fn offer(&self, batch: v1::Batch) -> Offered {
        let (sequence, bytes) = (batch.sequence, batch.arrow_ipc.len());
        let (intake, reporter) = (self.intake.clone(), Arc::clone(&self.reporter));
        let arrived = (Instant::now(), WallTime::now());
        let mut offered = Offered {
            intake: self.intake.clone(),
            reporter: Arc::clone(&self.reporter),
            epoch: self.epoch,
            sequence,
            bytes,
            rows: 0,
            refusal: None,
            ticket: Err(StoreError::Stopping),
            arrived: arrived.0,
        };
        if sequence <= intake.store.mark(&reporter.name, self.epoch) {
            // What is kept need not be decoded again: the store answers at once.
            offered.ticket = self.place(sequence, arrived.1, None).await;
            return offered;
        }
        let payload = batch.arrow_ipc.clone();
        let admit = move || {
            let arrival = Arrival::at(&reporter.name, arrived.1.us).kept_for(intake.kept_for);
            admission::admit(&payload, &intake.limits, arrival)
        };
        // It fails only where the engine is shutting down: then nothing was taken in, and nothing is acknowledged.
        let Ok(admitted) = self.intake.threads.spawn_blocking(admit).await else { return offered };
        let content = match admitted {
            Ok(rows) => {
                offered.rows = rows.num_rows();
                Some((batch, rows))
            }
            Err(refusal) => {
                offered.refusal = Some(refusal);
                None
            }
        };
        offered.ticket = self.place(sequence, arrived.1, content).await;
        offered
    }

    /// A refused batch takes a place, too, without rows, so that it is passed over for good.
    async fn place(
        &self,
        sequence: u64,
        arrived: WallTime,
        content: Option<(v1::Batch, RecordBatch)>,
    ) -> Result<Ticket, StoreError> {
        let (payload, rows) = match content {
            Some((batch, rows)) => (batch.arrow_ipc, rows),
            None => (bytes::Bytes::new(), RecordBatch::new_empty(schema())),
        };
        let record = Record {
            reporter: Arc::clone(&self.reporter.name),
            epoch: self.epoch,
            sequence,
            received_us: arrived.us,
            rows: u32::try_from(rows.num_rows()).unwrap_or(u32::MAX),
            payload,
        };
        self.intake.store.offer(record, rows).await
    }

    /// What is kept, or refused for good, of this run of the reporter.
    #[must_use]
    pub fn acknowledged(&self) -> v1::ReportResponse {
        let acknowledged_sequence = self.intake.store.mark(&self.reporter.name, self.epoch);
        v1::ReportResponse { acknowledged_sequence, rejections: Vec::new() }
    }

    /// Rows that the reporter had to drop since it started, by reason.
    pub fn losses(&self, losses: &v1::Losses) {
        for loss in &losses.losses {
            let new = self.reporter.update(|facts| facts.losses.reported(self.epoch, &loss.reason, loss.rows));
            self.intake.metrics.rows_lost(&loss.reason, new);
        }
    }

    /// Done when the engine ends the stream.
    pub async fn closed(&self) {
        self.intake.stop.cancelled().await;
    }
}

impl Drop for ReportSession {
    fn drop(&mut self) {
        Reporters::disconnect(&self.reporter, Stream::Report);
        self.intake.metrics.reporter_disconnected();
    }
}

/// A batch on its way to being kept. It is kept or not whether anybody waits for the answer or not.
#[must_use = "the reporter waits for the answer"]
pub struct Offered {
    intake: Intake,
    reporter: Arc<Reporter>,
    epoch: u64,
    sequence: u64,
    bytes: usize,
    rows: usize,
    refusal: Option<Refusal>,
    ticket: Result<Ticket, StoreError>,
    arrived: Instant,
}

impl Offered {
    /// The answer, once the batch is durable or refused for good.
    pub async fn answer(self) -> v1::ReportResponse {
        let Self { intake, reporter, epoch, sequence, bytes, rows, refusal, ticket, arrived } = self;
        let kept = match ticket {
            Ok(ticket) => ticket.kept().await,
            Err(error) => Err(error),
        };
        let mark = || intake.store.mark(&reporter.name, epoch);
        let response = |acknowledged_sequence, rejection: Option<v1::Rejection>| v1::ReportResponse {
            acknowledged_sequence,
            rejections: rejection.into_iter().collect(),
        };
        match (kept, refusal) {
            (Ok(Appended::Duplicate), _) => {
                intake.metrics.batch_duplicate();
                reporter.update(|facts| facts.duplicates += 1);
                response(mark(), None)
            }
            (Ok(Appended::New), None) => {
                intake.metrics.batch_kept(rows, bytes, arrived.elapsed());
                reporter.update(|facts| {
                    facts.batches += 1;
                    facts.rows += rows as u64;
                    facts.bytes += bytes as u64;
                    facts.note_sequence(epoch, sequence);
                });
                response(sequence, None)
            }
            (Ok(Appended::New), Some(refusal)) => {
                intake.metrics.batch_rejected(refusal.code);
                reporter.update(|facts| {
                    facts.rejected += 1;
                    facts.note_sequence(epoch, sequence);
                });
                tracing::debug!(reporter = %reporter.name, sequence, %refusal, "batch refused");
                response(sequence, Some(refusal.to_rejection(sequence)))
            }
            (Err(error), _) => {
                // Nothing is acknowledged. A reporter that newer ones of its name have replaced comes back after a while and is
                // told so.
                tracing::warn!(reporter = %reporter.name, epoch, sequence, %error, "a batch is not kept");
                response(mark(), None)
            }
        }
    }
}
