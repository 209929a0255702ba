//! One connection of a caller: HTTP/1.1, or HTTP/2 by prior knowledge, told apart by its first bytes.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tollgate_attributes::Direction;

use super::{Peer, Worker};
use crate::handle::handle;
use crate::upstream::LocalExecutor;

/// How the preface of HTTP/2 begins (RFC 9113 section 3.4); no method of HTTP/1.1 is `PRI`.
const PREFACE: &[u8; 4] = b"PRI ";
/// Between looks at a connection whose first bytes come one by one.
const SNIFF_PAUSE: Duration = Duration::from_millis(5);
const KEEP_ALIVE: Duration = Duration::from_secs(20);

enum Protocol {
    Http1,
    Http2,
}

/// Serves a connection until it ends; after `drain`, until the requests under way have ended.
pub(super) async fn serve(
    worker: Rc<Worker>,
    direction: Direction,
    peer: Rc<Peer>,
    stream: TcpStream,
    drain: CancellationToken,
) -> Result<(), Box<dyn std::error::Error>> {
    stream.set_nodelay(true)?;
    let idle = worker.config.timeouts.idle;
    let protocol = tokio::select! {
        protocol = tokio::time::timeout(idle, sniff(&stream)) => protocol??,
        () = drain.cancelled() => return Ok(()),
    };
    let io = TokioIo::new(stream);
    let service = service_fn(move |request| handle(&worker, direction, &peer, request));
    match protocol {
        Protocol::Http1 => {
            let mut builder = http1::Builder::new();
            // The same timeout ends idle connections, since it runs from the end of the last request.
            builder.timer(TokioTimer::new()).header_read_timeout(idle);
            let mut connection = pin!(builder.serve_connection(io, service));
            tokio::select! {
                ended = connection.as_mut() => return Ok(ended?),
                () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            Ok(connection.await?)
        }
        Protocol::Http2 => {
            let mut builder = http2::Builder::new(LocalExecutor);
            builder.timer(TokioTimer::new()).keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(KEEP_ALIVE);
            let mut connection = pin!(builder.serve_connection(io, service));
            tokio::select! {
                ended = connection.as_mut() => return Ok(ended?),
                () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            Ok(connection.await?)
        }
    }
}

/// Looks at the first bytes and leaves them where they are.
async fn sniff(stream: &TcpStream) -> io::Result<Protocol> {
    let mut first = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut first).await?;
        let is_preface = first.iter().zip(PREFACE).take(seen).all(|(byte, expected)| byte == expected);
        match seen {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if !is_preface => return Ok(Protocol::Http1),
            _ if seen == PREFACE.len() => return Ok(Protocol::Http2),
            // The socket stays readable, so that waiting for it would spin.
            _ => tokio::time::sleep(SNIFF_PAUSE).await,
        }
    }
}
