//! The stream `Telemetry.Report`: opened again and again, begun with what is not acknowledged.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tollgate_api::v1;
use tollgate_api::v1::report_request::Message;
use tollgate_api::v1::telemetry_client::TelemetryClient;
use tonic::Streaming;

use super::{Reporting, RowLosses};
use crate::backoff::Backoff;
use crate::engine_channel::{connect, in_time, log_end};

/// Messages between us and the transport, which has its own flow control.
const QUEUE_MESSAGES: usize = 4;
/// How long the engine may leave what it was sent without an answer before the stream is opened anew.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn run(reporting: &Reporting, stop: CancellationToken) {
    let mut backoff = Backoff::default();
    loop {
        let ended = match in_time(Session::open(reporting)).await {
            Ok(session) => session.run(&mut backoff, &stop).await,
            Err(error) => Err(error),
        };
        reporting.set_connected(false);
        let Err(error) = ended else { return };
        let wait = backoff.next_wait();
        log_end("report", &error, wait);
        // While nothing is left to send, there is no reason to stay.
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled(), if reporting.shared.outbox.is_empty() => return,
        }
    }
}

/// One stream.
struct Session<'a> {
    reporting: &'a Reporting,
    requests: mpsc::Sender<v1::ReportRequest>,
    responses: Streaming<v1::ReportResponse>,
    /// Number of the last batch sent on this stream.
    sent: u64,
    losses_sent: RowLosses,
}

impl<'a> Session<'a> {
    async fn open(reporting: &'a Reporting) -> Result<Self, tonic::Status> {
        let config = &reporting.shared.config;
        let connection = connect(&config.engine).await?;
        let mut client = TelemetryClient::new(connection.channel.clone());
        let (requests, queue) = mpsc::channel(QUEUE_MESSAGES);
        let hello =
            v1::ReportHello { reporter: config.reporter.clone(), epoch: config.epoch, agent: config.agent.clone() };
        // The queue is new and has room.
        let _ = requests.try_send(request(Message::Hello(hello)));
        let responses = client.report(connection.request(ReceiverStream::new(queue))).await?.into_inner();
        Ok(Self { reporting, requests, responses, sent: 0, losses_sent: RowLosses::default() })
    }

    /// Ends well only after `stop`, when there is nothing left to send.
    async fn run(mut self, backoff: &mut Backoff, stop: &CancellationToken) -> Result<(), tonic::Status> {
        let reporting = self.reporting;
        let outbox = &reporting.shared.outbox;
        reporting.set_connected(true);
        let mut answered = Instant::now();
        loop {
            self.send_what_there_is().await?;
            if stop.is_cancelled() && outbox.is_empty() {
                return Ok(());
            }
            if outbox.is_empty() {
                answered = Instant::now();
            }
            tokio::select! {
                response = self.responses.message() => {
                    let response = response?.ok_or_else(|| tonic::Status::unavailable("the engine closed the stream"))?;
                    for rejection in &response.rejections {
                        tracing::warn!(code = rejection.code, message = rejection.message, "the engine refused a batch");
                    }
                    outbox.acknowledge(&response);
                    answered = Instant::now();
                    backoff.reset();
                }
                () = outbox.changed() => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
                () = tokio::time::sleep_until(answered + ACKNOWLEDGE_TIMEOUT), if !outbox.is_empty() => {
                    return Err(tonic::Status::deadline_exceeded("the engine acknowledges nothing"));
                }
            }
        }
    }

    async fn send_what_there_is(&mut self) -> Result<(), tonic::Status> {
        let outbox = &self.reporting.shared.outbox;
        let losses = outbox.state().losses;
        if losses != self.losses_sent {
            self.send(Message::Losses(losses.message())).await?;
            self.losses_sent = losses;
        }
        while let Some(batch) = outbox.in_flight_after(self.sent).or_else(|| outbox.take()) {
            self.sent = batch.sequence;
            self.send(Message::Batch(batch)).await?;
        }
        Ok(())
    }

    async fn send(&self, message: Message) -> Result<(), tonic::Status> {
        let sent = self.requests.send(request(message));
        in_time(async { sent.await.map_err(|_| tonic::Status::unavailable("the stream was closed")) }).await
    }
}

fn request(message: Message) -> v1::ReportRequest {
    v1::ReportRequest { message: Some(message) }
}
