//! `tollgate serve`: the engine with its servers. [`Serving`] is what the demo runs too.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_adapters::guard::Guard;
use tollgate_adapters::lists::HttpLists;
use tollgate_adapters::otlp::Otlp;
use tollgate_adapters::remote_write::RemoteWrite;
use tollgate_engine::{Engine, EngineConfig};
use tracing::{info, warn};

use crate::cli::ServeArgs;
use crate::config::{Listen, Settings};
use crate::{logging, shutdown};

/// How long open requests may take once the engine is told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the command.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    logging::start("info");
    let settings = Settings::load(&args.config)?;
    let guard = Guard::new(settings.guard())?;
    if settings.insecure && guard.is_open() {
        warn!("listening without TLS or authentication: whoever reaches the ports is believed (`insecure: true`)");
    }
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let stop = shutdown::on_signal()?;
        let (otlp, remote_write) = (settings.export.otlp()?, settings.export.remote_write()?);
        let mut serving = Serving::start(settings.engine(), &settings.listen, guard).await?;
        serving.export(otlp, remote_write);
        info!(http = %serving.http, grpc = %serving.grpc, postgres = %serving.postgres, "ready");
        if let Some(file) = &args.ready_file {
            serving.write_ready_file(file)?;
        }
        let stopped = serving.until(stop).await;
        info!("stopped");
        stopped
    })
}

/// A running engine and its servers.
pub(crate) struct Serving {
    pub(crate) engine: Engine,
    /// Where HTTP is listened on.
    pub(crate) http: SocketAddr,
    /// Where gRPC is listened on.
    pub(crate) grpc: SocketAddr,
    /// Where PostgreSQL clients are listened for.
    pub(crate) postgres: SocketAddr,
    servers: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl Serving {
    /// Listens first, so that a port in use is known before anything is written.
    pub(crate) async fn start(config: EngineConfig, listen: &Listen, guard: Arc<Guard>) -> anyhow::Result<Self> {
        let http_listener = bind("HTTP", listen.http).await?;
        let grpc_listener = bind("gRPC", listen.grpc).await?;
        let postgres_listener = bind("PostgreSQL clients", listen.postgres).await?;
        let (http, grpc) = (http_listener.local_addr()?, grpc_listener.local_addr()?);
        let postgres = postgres_listener.local_addr()?;
        let lists = HttpLists::new().context("lists cannot be fetched")?;
        let engine = Engine::start(EngineConfig { lists: Some(Arc::new(lists)), ..config }).await?;

        let stop = CancellationToken::new();
        let mut servers = JoinSet::new();
        let stopped = || stop.clone().cancelled_owned();
        let served = tollgate_adapters::http::serve(engine.clone(), http_listener, Arc::clone(&guard), stopped());
        servers.spawn(async move { served.await.context("the HTTP server failed") });
        let served = tollgate_adapters::grpc::serve(engine.clone(), grpc_listener, Arc::clone(&guard), stopped());
        servers.spawn(async move { served.await.context("the gRPC server failed") });
        let served =
            tollgate_adapters::postgres::serve(engine.clone(), postgres_listener, Arc::clone(&guard), stopped());
        servers.spawn(async move { served.await.context("the PostgreSQL server failed") });
        let (following, stopped) = (guard.follow_files(), stopped());
        servers.spawn(async move {
            tokio::select! {
                () = following => {}
                () = stopped => {}
            }
            Ok(())
        });
        Ok(Self { engine, http, grpc, postgres, servers, stop })
    }

    /// Sends telemetry elsewhere for as long as it serves.
    pub(crate) fn export(&mut self, otlp: Option<Otlp>, remote_write: Option<RemoteWrite>) {
        let otlp = otlp.map(|otlp| otlp.run(self.engine.clone()));
        let written = remote_write.map(|written| written.run(self.engine.clone(), self.stop.clone()));
        if let Some(exporting) = otlp {
            self.servers.spawn(async move {
                exporting.await;
                Ok(())
            });
        }
        if let Some(exporting) = written {
            self.servers.spawn(async move {
                exporting.await;
                Ok(())
            });
        }
    }

    /// Serves until `stop`, then ends in order: no new connections, streams ended by the engine, open requests answered.
    pub(crate) async fn until(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let failed = tokio::select! {
            () = stop.cancelled() => None,
            ended = self.servers.join_next() => ended,
        };
        self.stop.cancel();
        self.engine.shutdown().await;
        let mut result = failed.map_or(Ok(()), |ended| ended.map_err(anyhow::Error::from).flatten());
        let open_requests = async {
            while let Some(ended) = self.servers.join_next().await {
                result = result.and(ended.map_err(anyhow::Error::from).flatten());
            }
            result
        };
        // A client that does not read its answer cannot keep the process.
        tokio::time::timeout(STOP_TIMEOUT, open_requests).await.unwrap_or(Ok(()))
    }

    fn write_ready_file(&self, file: &Path) -> anyhow::Result<()> {
        let ready = serde_json::json!({ "http": self.http, "grpc": self.grpc, "postgres": self.postgres });
        write_whole(file, &ready.to_string())
    }
}

/// Writes a file so that a reader sees all of it or nothing.
fn write_whole(file: &Path, text: &str) -> anyhow::Result<()> {
    let temporary = file.with_extension("tmp");
    std::fs::write(&temporary, text)?;
    Ok(std::fs::rename(&temporary, file)?)
}

async fn bind(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow!("port {} for {what} is in use", address.port()),
        _ => anyhow!("cannot listen on {address} for {what}: {error}"),
    })
}
