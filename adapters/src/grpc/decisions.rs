//! `Decisions.Watch`: demand and acknowledgements up, snapshots down.

use futures::stream::BoxStream;
use tollgate_api::v1;
use tollgate_engine::{Engine, WatchSession};
use tonic::{Request, Response, Status, Streaming};

pub(super) struct Decisions {
    engine: Engine,
}

impl Decisions {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl v1::decisions_server::Decisions for Decisions {
    type WatchStream = BoxStream<'static, Result<v1::Snapshot, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<v1::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let identity = super::identity(request.extensions())?;
        let mut inbound = request.into_inner();
        let hello = super::first(&mut inbound).await?;
        let reporter = hello.hello.as_ref().map_or("", |hello| hello.reporter.as_str());
        self.engine.may_report(&identity, reporter).map_err(|error| super::refused(&error))?;
        let session = self.engine.watch(&hello).map_err(|error| super::refused(&error))?;
        Ok(Response::new(Box::pin(futures::stream::try_unfold((inbound, session), next_snapshot))))
    }
}

/// Hears the reporter out until there is a snapshot to push.
async fn next_snapshot(
    (mut inbound, mut session): (Streaming<v1::WatchRequest>, WatchSession),
) -> Result<Option<(v1::Snapshot, (Streaming<v1::WatchRequest>, WatchSession))>, Status> {
    loop {
        tokio::select! {
            // What the reporter says comes first: a lease is only given on what has been heard.
            biased;
            request = inbound.message() => match request? {
                Some(request) => session.heard(&request),
                None => return Ok(None),
            },
            snapshot = session.next() => match snapshot {
                Some(snapshot) => return Ok(Some((snapshot, (inbound, session)))),
                None => return Ok(None),
            },
        }
    }
}
