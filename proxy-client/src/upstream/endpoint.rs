//! One address: its idle connections, how busy it is and whether it can be reached.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::connection::{Connection, LocalExecutor, Sender};
use crate::body::RequestBody;
use crate::config::{Upstream, UpstreamProtocol};
use crate::metrics::Counters;

/// Most idle connections to one address. Beyond it the one that was idle longest is closed.
const IDLE_MAX: usize = 128;
/// Shorter than what servers customarily allow, so that it is mostly us who close.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const EJECTION_BASE: Duration = Duration::from_millis(500);
const EJECTION_MAX: Duration = Duration::from_secs(10);

/// One address of one service, as one worker sees it.
pub(crate) struct Endpoint {
    upstream: Upstream,
    counters: Arc<Counters>,
    /// Newest last.
    idle: RefCell<VecDeque<Idle>>,
    /// The one HTTP/2 connection; the lock makes requests that come while it is being made wait for it.
    http2: tokio::sync::Mutex<Option<http2::SendRequest<RequestBody>>>,
    active: Cell<usize>,
    connect_failures: Cell<u32>,
    ejected_until: Cell<Option<Instant>>,
}

struct Idle {
    sender: http1::SendRequest<RequestBody>,
    since: Instant,
}

/// Whether a pooled connection will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    Any,
    New,
}

impl Endpoint {
    pub(super) fn new(upstream: Upstream, counters: Arc<Counters>) -> Self {
        Self {
            upstream,
            counters,
            idle: RefCell::default(),
            http2: tokio::sync::Mutex::new(None),
            active: Cell::new(0),
            connect_failures: Cell::new(0),
            ejected_until: Cell::new(None),
        }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &Arc<str> {
        &self.upstream.address
    }

    pub(crate) fn protocol(&self) -> UpstreamProtocol {
        self.upstream.protocol
    }

    /// Requests under way.
    pub(super) fn active(&self) -> usize {
        self.active.get()
    }

    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until.get().is_some_and(|until| now < until)
    }

    /// A connection for one request.
    pub(super) async fn connection(self: &Rc<Self>, freshness: Freshness, timeout: Duration) -> io::Result<Connection> {
        let (sender, is_reused) = match self.upstream.protocol {
            UpstreamProtocol::Http1 => self.http1(freshness, timeout).await?,
            UpstreamProtocol::Http2 => self.http2(freshness, timeout).await?,
        };
        Ok(Connection::new(Rc::clone(self), sender, is_reused))
    }

    pub(super) fn begin(&self) {
        self.active.set(self.active.get() + 1);
    }

    pub(super) fn end(&self) {
        self.active.set(self.active.get().saturating_sub(1));
    }

    /// Keeps a connection for the next request.
    pub(super) fn keep(&self, sender: http1::SendRequest<RequestBody>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= IDLE_MAX {
            idle.pop_front();
        }
        idle.push_back(Idle { sender, since: Instant::now() });
    }

    pub(super) fn prune(&self, now: Instant) {
        let is_kept = |idle: &Idle| now.duration_since(idle.since) < IDLE_TIMEOUT && !idle.sender.is_closed();
        self.idle.borrow_mut().retain(is_kept);
    }

    async fn http1(&self, freshness: Freshness, timeout: Duration) -> io::Result<(Sender, bool)> {
        if freshness == Freshness::Any {
            // The newest first: it is the least likely to have been closed meanwhile, and the others get old.
            while let Some(Idle { sender, .. }) = self.pop_idle() {
                if sender.is_ready() {
                    return Ok((Sender::Http1(sender), true));
                }
            }
        }
        let stream = self.connect(timeout).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        self.drive(connection);
        Ok((Sender::Http1(sender), false))
    }

    fn pop_idle(&self) -> Option<Idle> {
        self.idle.borrow_mut().pop_back()
    }

    async fn http2(&self, freshness: Freshness, timeout: Duration) -> io::Result<(Sender, bool)> {
        let mut shared = self.http2.lock().await;
        if let Some(sender) = shared.as_ref().filter(|sender| freshness == Freshness::Any && !sender.is_closed()) {
            return Ok((Sender::Http2(sender.clone()), true));
        }
        let stream = self.connect(timeout).await?;
        let mut builder = http2::Builder::new(LocalExecutor);
        builder.timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(20)).keep_alive_timeout(timeout);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        self.drive(connection);
        *shared = Some(sender.clone());
        Ok((Sender::Http2(sender), false))
    }

    /// Runs a connection until it ends. Its owner is whoever holds the sender: without one it ends by itself.
    fn drive(&self, connection: impl Future<Output = hyper::Result<()>> + 'static) {
        let counters = Arc::clone(&self.counters);
        counters.upstream_opened();
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an upstream connection ended");
            }
            counters.upstream_closed();
        });
    }

    async fn connect(&self, timeout: Duration) -> io::Result<TcpStream> {
        let connected = tokio::time::timeout(timeout, TcpStream::connect(&*self.upstream.address)).await;
        let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match &stream {
            Ok(stream) => {
                self.connect_failures.set(0);
                self.ejected_until.set(None);
                stream.set_nodelay(true)?;
            }
            Err(error) => {
                tracing::debug!(%error, address = &*self.upstream.address, "connecting failed");
                self.eject();
            }
        }
        stream
    }

    /// Leaves the address out for a moment that doubles with every failed connect.
    fn eject(&self) {
        let failures = self.connect_failures.get();
        let ejection = EJECTION_BASE.saturating_mul(1 << failures.min(16)).min(EJECTION_MAX);
        self.connect_failures.set(failures.saturating_add(1));
        self.ejected_until.set(Some(Instant::now() + ejection));
    }
}
