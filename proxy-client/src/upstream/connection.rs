//! A connection while one request uses it.

use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};

use super::endpoint::Endpoint;
use crate::body::RequestBody;

/// How long a connection may take to become ready again once its response has ended; a request body still on its way may
/// never end.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs hyper's own tasks on the worker's thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// A connection that carries one request, and counts as load of its endpoint as long as it does.
///
/// [`Connection::release`] gives it back; dropping it closes it (HTTP/1.1), since the rest of a response may still come.
pub(crate) struct Connection {
    endpoint: Rc<Endpoint>,
    sender: Option<Sender>,
    is_reused: bool,
}

pub(super) enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

impl Connection {
    pub(super) fn new(endpoint: Rc<Endpoint>, sender: Sender, is_reused: bool) -> Self {
        endpoint.begin();
        Self { endpoint, sender: Some(sender), is_reused }
    }

    /// Whether it has carried a request before, so that the other side may have closed it meanwhile.
    pub(super) fn is_reused(&self) -> bool {
        self.is_reused
    }

    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Box<TrySendError<Request<RequestBody>>>> {
        match &mut self.sender {
            Some(Sender::Http1(sender)) => sender.try_send_request(request).await.map_err(Box::new),
            Some(Sender::Http2(sender)) => sender.try_send_request(request).await.map_err(Box::new),
            // INVARIANT: `sender` is only taken by `release`, which consumes the connection.
            None => unreachable!("a released connection cannot be used"),
        }
    }

    /// Gives the connection back, after the end of its response.
    pub(crate) fn release(mut self) {
        let Some(Sender::Http1(mut sender)) = self.sender.take() else { return };
        if sender.is_ready() {
            self.endpoint.keep(sender);
        } else if !sender.is_closed() {
            let endpoint = Rc::clone(&self.endpoint);
            tokio::task::spawn_local(async move {
                if let Ok(Ok(())) = tokio::time::timeout(SETTLE_TIMEOUT, sender.ready()).await {
                    endpoint.keep(sender);
                }
            });
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.endpoint.end();
    }
}
