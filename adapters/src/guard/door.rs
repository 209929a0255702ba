//! Accepts connections for HTTP and gRPC, with TLS where it is configured.
//!
//! Bound: [`HANDSHAKES_MAX`] connections that are not served yet; further ones wait.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected as AxumConnected;
use axum::serve::IncomingStream;
use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::server::Connected;

use super::{CertificateNames, Guard, Protocol};

/// Connections whose handshake is under way, or done and not taken up yet.
const HANDSHAKES_MAX: usize = 256;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that wait to be served.
const WAITING_MAX: usize = 64;

/// Who is at the other end, as far as the connection says.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) certificate: Option<Arc<CertificateNames>>,
}

/// One accepted connection.
pub(crate) struct Connection {
    stream: Transport,
    peer: Peer,
}

enum Transport {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Hands out connections whose handshake is done. Dropping it ends the handshakes that are under way.
pub(crate) struct Door {
    connections: mpsc::Receiver<(Connection, SocketAddr)>,
    address: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

impl Door {
    pub(crate) fn open(listener: TcpListener, guard: Arc<Guard>, protocol: Protocol) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, connections) = mpsc::channel(WAITING_MAX);
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, guard, protocol, sender)));
        Ok(Self { connections, address, _accepting: accepting })
    }
}

async fn accept(
    listener: TcpListener,
    guard: Arc<Guard>,
    protocol: Protocol,
    ready: mpsc::Sender<(Connection, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut handshakes = tokio::task::JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (socket, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Such as too many open files: what is open goes on, and closing some makes room.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Small answers leave at once; where that cannot be set, they leave a little later.
        let _ = socket.set_nodelay(true);
        // Read for each connection, so that a renewed certificate is used from the next one on.
        let tls = guard.current().tls.as_ref().map(|tls| tls.config(protocol));
        let ready = ready.clone();
        handshakes.spawn(async move {
            let connection = match tls {
                None => Some(Connection { stream: Transport::Clear(socket), peer: Peer { certificate: None } }),
                Some(config) => handshake(TlsAcceptor::from(config), socket, address).await,
            };
            if let Some(connection) = connection {
                // The server may be ending.
                let _ = ready.send((connection, address)).await;
            }
            drop(place);
        });
    }
}

async fn handshake(acceptor: TlsAcceptor, socket: TcpStream, address: SocketAddr) -> Option<Connection> {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => {
            let first = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let certificate = first.map(|first| Arc::new(CertificateNames::of(first)));
            Some(Connection { stream: Transport::Tls(Box::new(stream)), peer: Peer { certificate } })
        }
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

impl axum::serve::Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.connections.recv().await {
            Some(accepted) => accepted,
            // The task that accepts has ended, which it does only when the runtime does.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Stream for Door {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections.poll_recv(context).map(|accepted| accepted.map(|(connection, _)| Ok(connection)))
    }
}

impl AxumConnected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().peer.clone()
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Transport::Clear(stream) => Pin::new(stream).poll_read(cx, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Transport::Clear(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Transport::Clear(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Transport::Clear(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Transport::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Transport::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
