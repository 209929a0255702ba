//! A stream of rows.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tollgate_api::v1;

use super::SessionError;
use crate::admission::{self, Arrival, DecodeLimits};
use crate::clock::WallTime;
use crate::hot::HotStore;
use crate::metrics::Metrics;
use crate::reporters::{Introduction, Reporter, Reporters, Stream};

/// Where admitted rows go, and what counts them.
#[derive(Clone)]
pub(crate) struct Intake {
    pub(crate) limits: DecodeLimits,
    pub(crate) hot: Arc<HotStore>,
    pub(crate) reporters: Arc<Reporters>,
    pub(crate) metrics: Arc<Metrics>,
    /// Runs what is heavy.
    pub(crate) queries: Handle,
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
        let introduction = Introduction { reporter, epoch: *epoch, agent, services: None };
        let reporter = intake.reporters.connect(&introduction, Stream::Report)?;
        if reporter.marks.lock().is_too_old(*epoch) {
            Reporters::disconnect(&reporter, Stream::Report);
            return Err(SessionError::Superseded { reporter: hello.reporter.clone() });
        }
        intake.metrics.reporter_connected();
        tracing::debug!(reporter = %reporter.name, epoch, "reporter connected");
        Ok(Self { intake, reporter, epoch: *epoch })
    }

    /// Takes in a batch, or refuses it; either way the answer says so. Rows are visible to every query that starts after this.
    pub async fn admit(&self, batch: v1::Batch) -> v1::ReportResponse {
        let (intake, reporter, epoch) = (self.intake.clone(), Arc::clone(&self.reporter), self.epoch);
        let admitted = self.intake.queries.spawn_blocking(move || intake.admit(&reporter, epoch, &batch));
        // It fails only where the engine is shutting down: then nothing was taken in, and nothing is acknowledged.
        let rejection = admitted.await.ok().flatten();
        v1::ReportResponse { rejections: rejection.into_iter().collect(), ..self.acknowledged() }
    }

    /// What is kept, or refused for good, of this run of the reporter.
    #[must_use]
    pub fn acknowledged(&self) -> v1::ReportResponse {
        let acknowledged_sequence = self.reporter.marks.lock().get(self.epoch);
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

impl Intake {
    /// Exactly once: a batch that was here is passed over, and the mark moves only when its rows are kept or refused.
    fn admit(&self, reporter: &Reporter, epoch: u64, batch: &v1::Batch) -> Option<v1::Rejection> {
        let mut marks = reporter.marks.lock();
        if marks.is_too_old(epoch) {
            // Nothing is kept, because it could not be told from what is sent again; and nothing is acknowledged. The reporter comes
            // back after a while and is told that newer ones have taken its name.
            tracing::warn!(reporter = %reporter.name, epoch, "several newer reporters have this name: its rows are refused");
            return None;
        }
        if marks.has(epoch, batch.sequence) {
            self.metrics.batch_duplicate();
            reporter.update(|facts| facts.duplicates += 1);
            return None;
        }
        let arrival = Arrival { reporter: &reporter.name, now_us: WallTime::now().us };
        let admitted = admission::admit(&batch.arrow_ipc, &self.limits, arrival);
        let rejection = match admitted {
            Ok(rows) => {
                let count = rows.num_rows();
                self.hot.append(rows);
                self.metrics.batch_admitted(count);
                reporter.update(|facts| {
                    facts.batches += 1;
                    facts.rows += count as u64;
                });
                None
            }
            Err(refusal) => {
                self.metrics.batch_rejected(refusal.code);
                reporter.update(|facts| facts.rejected += 1);
                tracing::debug!(reporter = %reporter.name, sequence = batch.sequence, %refusal, "batch refused");
                Some(refusal.to_rejection(batch.sequence))
            }
        };
        marks.set(epoch, batch.sequence);
        rejection
    }
}
