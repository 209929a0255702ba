//! Bodies on their way through: passed on frame by frame, trailers included, and counted. Nothing is collected.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::exchange::{Exchange, Flag};
use crate::upstream::Connection;

/// The caller's body on its way to the upstream.
pub(crate) struct RequestBody {
    inner: Option<Incoming>,
    progress: Rc<Progress>,
}

/// How far a request's body has come; shared with whoever writes the row.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    bytes: Cell<u64>,
    has_failed: Cell<bool>,
}

impl Progress {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Whether the caller's side broke: a bad chunk, or the connection.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.get()
    }
}

impl RequestBody {
    pub(crate) fn new(inner: Incoming) -> Self {
        let inner = (!inner.is_end_stream()).then_some(inner);
        Self { inner, progress: Rc::default() }
    }

    pub(crate) fn empty() -> Self {
        Self { inner: None, progress: Rc::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inner.is_none()
    }

    pub(crate) fn progress(&self) -> Rc<Progress> {
        Rc::clone(&self.progress)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => count(&self.progress.bytes, frame),
            Some(Err(_)) => self.progress.has_failed.set(true),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

/// What the caller gets. The row of the exchange leaves when this is dropped, which is when the response has ended or cannot.
pub(crate) enum ResponseBody {
    /// Made here.
    Local(Option<Bytes>),
    /// Passed on.
    Forwarded { inner: Incoming, exchange: Box<Exchange>, connection: Option<Connection> },
}

impl ResponseBody {
    /// The upstream's body. Its connection is given back at its end.
    pub(crate) fn forward(inner: Incoming, exchange: Box<Exchange>, connection: Connection) -> Self {
        Self::Forwarded { inner, exchange, connection: Some(connection) }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Local(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Forwarded { inner, exchange, connection } => {
                let frame = ready!(Pin::new(inner).poll_frame(cx));
                match &frame {
                    Some(Ok(frame)) => {
                        count(&exchange.response_bytes, frame);
                        if let Some(trailers) = frame.trailers_ref() {
                            exchange.read_grpc_status(trailers);
                        }
                    }
                    Some(Err(_)) => {
                        exchange.flag(Flag::UpstreamReset);
                        *connection = None;
                    }
                    None => release(connection),
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Local(bytes) => bytes.is_none(),
            Self::Forwarded { inner, .. } => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Local(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Forwarded { inner, .. } => inner.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Self::Forwarded { inner, exchange, connection } = self
            && connection.is_some()
        {
            // hyper does not ask for the end of a body whose length it knows.
            if inner.is_end_stream() {
                release(connection);
            } else {
                exchange.flag(Flag::DownstreamReset);
            }
        }
    }
}

fn release(connection: &mut Option<Connection>) {
    if let Some(connection) = connection.take() {
        connection.release();
    }
}

fn count(bytes: &Cell<u64>, frame: &Frame<Bytes>) {
    if let Some(data) = frame.data_ref() {
        bytes.set(bytes.get() + data.len() as u64);
    }
}
