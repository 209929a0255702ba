//! `Telemetry.Report`: batches up, acknowledgements down.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesOrdered};
use futures::{FutureExt as _, StreamExt as _};
use tollgate_api::v1::{self, report_request::Message};
use tollgate_engine::{Engine, Offered, ReportSession};
use tonic::{Request, Response, Status, Streaming};

/// Batches of one stream that wait to be durable at the same time.
const IN_FLIGHT_MAX: usize = 8;

pub(super) struct Telemetry {
    engine: Engine,
}

impl Telemetry {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl v1::telemetry_server::Telemetry for Telemetry {
    type ReportStream = BoxStream<'static, Result<v1::ReportResponse, Status>>;

    async fn report(
        &self,
        request: Request<Streaming<v1::ReportRequest>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let identity = super::identity(request.extensions())?;
        let mut inbound = request.into_inner();
        let Some(Message::Hello(hello)) = super::first(&mut inbound).await?.message else {
            return Err(Status::invalid_argument("the first message of a report has to be its hello"));
        };
        self.engine.may_report(&identity, &hello.reporter).map_err(|error| super::refused(&error))?;
        let session = self.engine.report(hello).map_err(|error| super::refused(&error))?;
        // The answer to the hello says what is already kept, so that a reporter need not send it again.
        let greeting = session.acknowledged();
        let greet = futures::stream::once(async move { Ok(greeting) });
        let answers = futures::stream::try_unfold(Report::new(inbound, session), Report::answer);
        Ok(Response::new(Box::pin(greet.chain(answers))))
    }
}

/// One stream of rows: batches are taken in while earlier ones wait to be durable, and answered in order.
///
/// Bound: [`IN_FLIGHT_MAX`] batches. What the engine cannot take yet stays in the connection's flow-control window.
struct Report {
    inbound: Streaming<v1::ReportRequest>,
    session: Arc<ReportSession>,
    /// The batch that is being checked, or waits for room.
    offering: Option<BoxFuture<'static, Offered>>,
    waiting: FuturesOrdered<BoxFuture<'static, v1::ReportResponse>>,
    is_ended: bool,
}

impl Report {
    fn new(inbound: Streaming<v1::ReportRequest>, session: ReportSession) -> Self {
        let session = Arc::new(session);
        Self { inbound, session, offering: None, waiting: FuturesOrdered::new(), is_ended: false }
    }

    /// Goes on until there is something to answer.
    async fn answer(mut self) -> Result<Option<(v1::ReportResponse, Self)>, Status> {
        loop {
            if self.is_ended && self.offering.is_none() && self.waiting.is_empty() {
                return Ok(None);
            }
            let may_read = !self.is_ended && self.offering.is_none() && self.waiting.len() < IN_FLIGHT_MAX;
            let offered = async {
                match &mut self.offering {
                    Some(offering) => offering.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(response) = self.waiting.next() => return Ok(Some((response, self))),
                offered = offered => {
                    self.offering = None;
                    self.waiting.push_back(offered.answer().boxed());
                }
                request = self.inbound.message(), if may_read => match request? {
                    Some(request) => self.take(request.message)?,
                    None => self.is_ended = true,
                },
                // What was taken in is still answered.
                () = self.session.closed(), if !self.is_ended => self.is_ended = true,
            }
        }
    }

    fn take(&mut self, message: Option<Message>) -> Result<(), Status> {
        match message {
            Some(Message::Batch(batch)) => {
                let session = Arc::clone(&self.session);
                self.offering = Some(async move { session.offer(batch).await }.boxed());
                Ok(())
            }
            Some(Message::Losses(losses)) => {
                self.session.losses(&losses);
                Ok(())
            }
            Some(Message::Hello(_)) => Err(Status::invalid_argument("a second hello in one stream")),
            None => Ok(()),
        }
    }
}
