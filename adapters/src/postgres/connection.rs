//! One connection: reads messages, has them handled, and holds the client to its bounds, none of which the protocol has.
//!
//! | | |
//! |---|---|
//! | [`INTRODUCTION_BYTES_MAX`] | one message of a client that has not introduced itself; then [`MESSAGE_BYTES_MAX`] |
//! | [`NAMES_MAX`], [`TEXT_BYTES_MAX`] | prepared statements, and all of their texts; as many portals |
//!
//! A message that claims to be longer ends the connection before it is read.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use datafusion_postgres::pgwire::api::store::PortalStore;
use datafusion_postgres::pgwire::api::{
    ClientInfo as _, ClientPortalStore as _, ErrorHandler as _, NoopHandler, PgWireConnectionState,
};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::extendedquery::TARGET_TYPE_BYTE_STATEMENT;
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use datafusion_postgres::pgwire::tokio::server::{
    PgWireMessageServerCodec, negotiate_tls, process_error, process_message,
};
use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::codec::{Framed, FramedParts};

use super::Handlers;
use super::error::{Fatal, error, fatal};
use super::measured::Measured;
use super::prepared::Prepared;
use crate::guard::CertificateNames;

/// Longest message before a client has introduced itself.
const INTRODUCTION_BYTES_MAX: usize = 16 << 10;
/// Longest message after that: a query of the longest text, or its parameters.
const MESSAGE_BYTES_MAX: usize = 2 << 20;
/// Prepared statements with a name, and portals.
const NAMES_MAX: usize = 1_024;
/// Texts of all prepared statements of a connection.
const TEXT_BYTES_MAX: usize = 8 << 20;
/// How long an introduction may take.
const INTRODUCTION_FOR: Duration = Duration::from_secs(60);

type Socket<T> = Framed<T, PgWireMessageServerCodec<Prepared>>;

/// Serves a client until it leaves, or breaks a bound.
pub(super) async fn serve(socket: TcpStream, tls: Option<TlsAcceptor>, handlers: Handlers) -> io::Result<()> {
    let mut introduced = pin!(tokio::time::sleep(INTRODUCTION_FOR));
    let negotiated = tokio::select! {
        () = &mut introduced => return Ok(()),
        negotiated = negotiate_tls::<Prepared>(socket, tls) => negotiated?,
    };
    // A client that begins with TLS where there is none.
    let Some(negotiated) = negotiated else { return Ok(()) };
    // What the connection is wrapped in below has no certificates to show.
    let certificate = negotiated.client_certificates().and_then(<[_]>::first).map(CertificateNames::of);
    handlers.startup.note(certificate);
    let old = negotiated.into_parts();
    let mut parts = FramedParts::new(Measured::new(old.io, INTRODUCTION_BYTES_MAX), old.codec);
    parts.io.note(&old.read_buf)?;
    (parts.read_buf, parts.write_buf) = (old.read_buf, old.write_buf);
    let mut socket = Framed::from_parts(parts);
    let mut names = Names::default();
    loop {
        let Some(message) = next(&mut socket, introduced.as_mut()).await else { return Ok(()) };
        let message = match message {
            Ok(PgWireFrontendMessage::Terminate(_)) => return Ok(()),
            Ok(message) => message,
            Err(broken) => return refuse(&mut socket, broken).await,
        };
        let is_extended = match socket.state() {
            PgWireConnectionState::CopyInProgress(is_extended) => is_extended,
            _ => message.is_extended_query(),
        };
        let handled = match names.note(&message, socket.portal_store()) {
            Ok(()) => handle(message, &mut socket, &handlers).await,
            Err(too_many) => Err(too_many),
        };
        if let Err(mut failed) = handled {
            Fatal.on_error(&socket, &mut failed);
            process_error(&mut socket, failed, is_extended).await?;
        }
        if matches!(socket.state(), PgWireConnectionState::ReadyForQuery) {
            socket.get_mut().set_max(MESSAGE_BYTES_MAX);
        }
    }
}

/// The next message; `None` when the client has gone, or has not introduced itself in time.
async fn next<T>(
    socket: &mut Socket<T>,
    introduced: impl Future<Output = ()>,
) -> Option<Result<PgWireFrontendMessage, PgWireError>>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    match socket.state() {
        PgWireConnectionState::AwaitingStartup | PgWireConnectionState::AuthenticationInProgress => tokio::select! {
            () = introduced => None,
            message = socket.next() => message,
        },
        _ => socket.next().await,
    }
}

async fn handle<T>(message: PgWireFrontendMessage, socket: &mut Socket<T>, handlers: &Handlers) -> PgWireResult<()>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + Sync + 'static,
{
    process_message(
        message,
        socket,
        Arc::clone(&handlers.startup),
        Arc::clone(&handlers.sessions),
        Arc::clone(&handlers.sessions),
        // Nobody copies anything in.
        Arc::new(NoopHandler),
        Arc::clone(&handlers.running),
    )
    .await
}

/// Tells a client why nothing more is read of what it sends.
async fn refuse<T>(socket: &mut Socket<Measured<T>>, broken: PgWireError) -> io::Result<()>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let why = match socket.get_ref().too_long() {
        Some(too_long) => fatal("54000", too_long.to_string()),
        None => match broken {
            PgWireError::IoError(error) => return Err(error),
            other => fatal("08P01", other.to_string()),
        },
    };
    socket
        .send(PgWireBackendMessage::ErrorResponse(datafusion_postgres::pgwire::error::ErrorInfo::from(why).into()))
        .await?;
    socket.close().await
}

/// What a client has prepared by name.
#[derive(Default)]
struct Names {
    /// The length of each statement's text.
    statements: HashMap<String, usize>,
    portals: HashMap<String, usize>,
}

impl Names {
    /// Notes what a message makes or gives up. An error says that there would be too much of it.
    fn note(&mut self, message: &PgWireFrontendMessage, store: &impl PortalStore) -> PgWireResult<()> {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        match message {
            PgWireFrontendMessage::Parse(parse) => {
                let known = |name: &str| store.get_statement(name).is_some();
                let text_bytes = parse.query.len();
                add(&mut self.statements, name(&parse.name), text_bytes, known, "prepared statements")
            }
            PgWireFrontendMessage::Bind(bind) => {
                let known = |name: &str| store.get_portal(name).is_some();
                let bytes = bind.parameters.iter().flatten().map(bytes::Bytes::len).sum();
                add(&mut self.portals, name(&bind.portal_name), bytes, known, "portals")
            }
            PgWireFrontendMessage::Close(close) if close.target_type == TARGET_TYPE_BYTE_STATEMENT => {
                self.statements.remove(&name(&close.name));
                Ok(())
            }
            PgWireFrontendMessage::Close(close) => {
                self.portals.remove(&name(&close.name));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn add(
    names: &mut HashMap<String, usize>,
    name: String,
    bytes: usize,
    is_known: impl Fn(&str) -> bool,
    what: &str,
) -> PgWireResult<()> {
    names.remove(&name);
    let is_full = |names: &HashMap<String, usize>| {
        names.len() >= NAMES_MAX || names.values().sum::<usize>() + bytes > TEXT_BYTES_MAX
    };
    if is_full(names) {
        // Some were given up in other ways: by an error, by `DEALLOCATE`, at the end of a transaction.
        names.retain(|name, _| is_known(name));
    }
    if is_full(names) {
        return Err(error("54000", format!("there are too many {what}: close those that are not needed")));
    }
    names.insert(name, bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_names_are_kept_as_there_may_be() {
        let mut names = HashMap::new();
        let mut add = |name: usize, bytes: usize, known: bool| {
            add(&mut names, name.to_string(), bytes, |_| known, "prepared statements").is_ok()
        };
        assert!((0..NAMES_MAX).all(|name| add(name, 10, true)));
        assert!(!add(NAMES_MAX, 10, true), "one too many");
        assert!(add(7, 20, true), "one that is replaced");
        assert!(add(NAMES_MAX, 10, false), "the others are gone");
        assert!(!add(1, TEXT_BYTES_MAX, true), "too much text");
    }
}
