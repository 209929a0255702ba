//! A pooled HTTP/1.1 client, for the demo's services and callers.

use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Most connections that wait for reuse; what is more is closed.
const IDLE_MAX: usize = 64;

/// Connections to one address.
pub(super) struct Client {
    address: SocketAddr,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, idle: Mutex::new(Vec::new()) }
    }

    /// Sends one request, reads the whole answer and returns its status.
    pub(super) async fn send(
        &self,
        method: Method,
        host: &str,
        path: &str,
        headers: HeaderMap,
    ) -> anyhow::Result<StatusCode> {
        let mut request = Request::builder().method(method).uri(path).body(Full::new(Bytes::new()))?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(hyper::header::HOST, host.parse()?);
        let mut sender = self.connection().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        response.into_body().collect().await?;
        if sender.ready().await.is_ok() {
            self.keep(sender);
        }
        Ok(status)
    }

    async fn connection(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        while let Some(sender) = self.idle.lock().ok().and_then(|mut idle| idle.pop()) {
            if sender.is_ready() {
                return Ok(sender);
            }
        }
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // The connection ends when its sender is dropped.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        if let Ok(mut idle) = self.idle.lock()
            && idle.len() < IDLE_MAX
        {
            idle.push(sender);
        }
    }
}
