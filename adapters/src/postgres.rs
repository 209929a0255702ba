//! PostgreSQL's wire protocol, for psql, Grafana, BI tools and every driver. Reads only.
//!
//! - [`server`](self): accepts connections, on threads of their own; `connection` and `measured` hold each to its bounds;
//! - `startup`: who a client is, SCRAM or trust; `running`: which query a client may cancel;
//! - `statement`: text to statements, of which only queries reach the engine; `names`: what PostgreSQL calls their columns;
//! - `query`: the simple protocol, `prepared`: the extended one, `copy`: `COPY … TO STDOUT`;
//! - `types`: Arrow to PostgreSQL's types, `catalog` and `functions`: what clients look for in a PostgreSQL.

mod catalog;
mod connection;
mod copy;
mod error;
mod functions;
mod measured;
mod names;
mod prepared;
mod query;
mod relations;
mod routines;
mod running;
mod session;
mod settings;
mod startup;
mod statement;
mod types;

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tollgate_engine::Engine;

use self::running::Running;
use self::session::Sessions;
use self::startup::{Credentials, Startup};

/// Connections at a time; further ones wait for one of these to end.
const CONNECTIONS_MAX: usize = 256;
/// Threads that speak the protocol, so that encoding rows takes nothing from those that serve reporters.
const THREADS: usize = 2;

/// How clients are received.
#[derive(Default)]
pub struct PostgresOptions {
    /// Certificate and key; without them connections are in the clear.
    pub tls: Option<Arc<ServerConfig>>,
    /// Names and their tokens; with none, whoever connects is believed.
    pub tokens: Vec<(String, String)>,
}

/// Reads a certificate chain and its key, both PEM.
///
/// # Errors
/// Names the file that cannot be used.
pub fn tls(cert: &Path, key: &Path) -> io::Result<Arc<ServerConfig>> {
    let failed = |file: &Path, error: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("`{}` cannot be used for TLS: {error}", file.display()))
    };
    let chain =
        CertificateDer::pem_file_iter(cert).and_then(Iterator::collect).map_err(|error| failed(cert, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| failed(cert, &error))?.with_no_client_auth();
    let mut config = config.with_single_cert(chain, private).map_err(|error| failed(key, &error))?;
    // What clients name that begin with TLS at once.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(Arc::new(config))
}

/// Serves the engine to PostgreSQL clients on `listener` until `shutdown` is done, which ends all connections.
///
/// # Errors
/// When the catalog cannot be set up, or no threads can be started.
pub async fn serve(
    engine: Engine,
    listener: TcpListener,
    options: PostgresOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let server = Arc::new(Server::new(engine, options)?);
    let threads = Threads::start()?;
    let acceptor = Arc::clone(&server);
    let accepting = threads.0.as_ref().map(|runtime| runtime.spawn(acceptor.accept(listener)));
    shutdown.await;
    if let Some(accepting) = accepting {
        accepting.abort();
    }
    Ok(())
}

struct Server {
    sessions: Arc<Sessions>,
    credentials: Option<Arc<Credentials>>,
    running: Arc<Running>,
    tls: Option<TlsAcceptor>,
}

impl Server {
    fn new(engine: Engine, options: PostgresOptions) -> io::Result<Self> {
        let sessions = Sessions::new(engine).map_err(io::Error::other)?;
        let credentials = match options.tokens.is_empty() {
            true => None,
            false => Some(Arc::new(Credentials::new(options.tokens)?)),
        };
        let tls = options.tls.map(TlsAcceptor::from);
        Ok(Self { sessions: Arc::new(sessions), credentials, running: Arc::default(), tls })
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((socket, _)) => {
                    let server = Arc::clone(&self);
                    connections.spawn(async move {
                        server.serve(socket).await;
                        drop(place);
                    });
                }
                // Such as too many open files: what is open goes on, and closing some makes room.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn serve(&self, socket: TcpStream) {
        let handlers = Handlers {
            sessions: Arc::clone(&self.sessions),
            startup: Arc::new(Startup::new(self.credentials.as_ref(), Arc::clone(&self.running), self.tls.is_some())),
            running: Arc::clone(&self.running),
        };
        if let Err(error) = connection::serve(socket, self.tls.clone(), handlers).await {
            tracing::debug!(%error, "a PostgreSQL connection broke");
        }
    }
}

/// What one connection is handled by. The startup handler holds the state of its authentication.
struct Handlers {
    sessions: Arc<Sessions>,
    startup: Arc<Startup>,
    running: Arc<Running>,
}

/// The runtime of the connections. It is dropped where tasks run, which must not wait for its threads.
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        Ok(Self(Some(builder.worker_threads(THREADS).thread_name("tollgate-postgres").enable_all().build()?)))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
