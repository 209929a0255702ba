//! `Telemetry.Report`: batches up, acknowledgements down.

use futures::stream::BoxStream;
use tollgate_api::v1::{self, report_request::Message};
use tollgate_engine::{Engine, ReportSession};
use tonic::{Request, Response, Status, Streaming};

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
        let mut inbound = request.into_inner();
        let Some(Message::Hello(hello)) = super::first(&mut inbound).await?.message else {
            return Err(Status::invalid_argument("the first message of a report has to be its hello"));
        };
        let session = self.engine.report(hello).map_err(|error| super::refused(&error))?;
        // The answer to the hello says what is already kept, so that a reporter need not send it again.
        let greeting = session.acknowledged();
        let greet = futures::stream::once(async move { Ok(greeting) });
        let answers = futures::stream::try_unfold((inbound, session), answer);
        Ok(Response::new(Box::pin(futures::StreamExt::chain(greet, answers))))
    }
}

/// Reads messages until there is something to answer. One message at a time: what the engine cannot take yet stays in the
/// connection's flow-control window, which is the bound.
async fn answer(
    (mut inbound, session): (Streaming<v1::ReportRequest>, ReportSession),
) -> Result<Option<(v1::ReportResponse, (Streaming<v1::ReportRequest>, ReportSession))>, Status> {
    loop {
        let request = tokio::select! {
            request = inbound.message() => request?,
            () = session.closed() => None,
        };
        let Some(request) = request else { return Ok(None) };
        match request.message {
            Some(Message::Batch(batch)) => {
                let response = session.admit(batch).await;
                return Ok(Some((response, (inbound, session))));
            }
            Some(Message::Losses(losses)) => session.losses(&losses),
            Some(Message::Hello(_)) => return Err(Status::invalid_argument("a second hello in one stream")),
            None => {}
        }
    }
}
