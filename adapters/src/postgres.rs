//! PostgreSQL's wire protocol, for psql, Grafana, BI tools and every driver. Reads only.
//!
//! - [`server`](self): accepts connections, on threads of their own; `connection` and `measured` hold each to its bounds;
//! - `startup`: who a client is, by certificate, SCRAM, password or its word; `running`: which query a client may cancel;
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
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tollgate_engine::Engine;

use self::running::Running;
use self::session::Sessions;
use self::startup::Startup;
use crate::guard::{Guard, Protocol};

/// Connections at a time; further ones wait for one of these to end.
const CONNECTIONS_MAX: usize = 256;
/// Threads that speak the protocol, so that encoding rows takes nothing from those that serve reporters.
const THREADS: usize = 2;

/// Serves the engine to PostgreSQL clients on `listener`, to those whom `guard` lets in, until `shutdown` is done, which ends all connections.
///
/// # Errors
/// When no threads can be started.
pub async fn serve(
    engine: Engine,
    listener: TcpListener,
    guard: Arc<Guard>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let server = Arc::new(Server::new(engine, guard));
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
    guard: Arc<Guard>,
    running: Arc<Running>,
}

impl Server {
    fn new(engine: Engine, guard: Arc<Guard>) -> Self {
        Self { sessions: Arc::new(Sessions::new(engine)), guard, running: Arc::default() }
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
        let current = self.guard.current();
        let tls = current.tls.as_ref().map(|tls| TlsAcceptor::from(tls.config(Protocol::Postgres)));
        let handlers = Handlers {
            sessions: Arc::clone(&self.sessions),
            startup: Arc::new(Startup::new(Arc::clone(&self.guard), current, Arc::clone(&self.running))),
            running: Arc::clone(&self.running),
        };
        if let Err(error) = connection::serve(socket, tls, handlers).await {
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
