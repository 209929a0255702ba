//! The whole proxy: workers that serve, and a control thread that speaks with the engine.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tollgate_attributes::Direction;
use tollgate_policies::{Clock, Enforcer};

use crate::admin;
use crate::config::{Identity, ProxyConfig};
use crate::following::{Following, FollowingConfig};
use crate::listen::listen;
use crate::metrics::{Counters, ProxyMetrics};
use crate::reporting::{Reporting, ReportingConfig};
use crate::worker::Assignment;

/// What is left for the last rows, at the very least, when draining has used up `timeouts.shutdown`.
const LAST_ROWS: Duration = Duration::from_secs(2);

/// Where a proxy listens: the real ports, where the configuration says 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// Requests to the fronted service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbound: Option<SocketAddr>,
    /// Requests of the fronted service to others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbound: Option<SocketAddr>,
    /// Requests from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<SocketAddr>,
    /// Health and metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
}

/// A running proxy.
pub struct Proxy {
    addresses: Addresses,
    control: JoinHandle<anyhow::Result<()>>,
}

/// Runs a proxy until `shutdown` resolves and everything under way has ended. Blocks the thread; the proxy has its own runtimes, so
/// that it does not matter whether the caller has one.
///
/// # Errors
/// When an address cannot be listened on, or a thread cannot be started or dies.
pub fn run_proxy(config: ProxyConfig, shutdown: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
    Proxy::start(config, shutdown)?.join()
}

impl Proxy {
    /// Listens and starts all threads; returns as soon as connections are taken.
    ///
    /// # Errors
    /// When an address cannot be listened on, or a thread cannot be started.
    pub fn start(config: ProxyConfig, shutdown: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<Self> {
        warn_if_insecure(&config);
        let config = Arc::new(config);
        let mut listeners = Listeners::open(&config)?;
        let enforcer = Arc::new(Enforcer::at(Clock::system(), config.standpoint()));
        let epoch = epoch_us();
        let reporting = Reporting::new(reporting_config(&config, epoch));
        let following = Following::new(following_config(&config, epoch), Arc::clone(&enforcer));
        let drain = CancellationToken::new();
        let (ended, workers_ended) = mpsc::channel(config.workers);
        let mut counters = Vec::new();
        for index in 0..config.workers {
            let counted = Arc::new(Counters::default());
            counters.push(Arc::clone(&counted));
            let assignment = Assignment {
                config: Arc::clone(&config),
                enforcer: Arc::clone(&enforcer),
                counters: counted,
                recorder: reporting.recorder(),
                listeners: listeners.take_for_one_worker(),
                drain: drain.clone(),
            };
            let ended = ended.clone();
            thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                // The control thread only goes away after all workers.
                let _ = ended.blocking_send(assignment.run());
            })?;
        }
        let metrics = ProxyMetrics { workers: counters, reporting, following, enforcer };
        let control = Control { config, metrics, admin: listeners.admin, workers_ended, drain };
        let control = thread::Builder::new().name("control".to_owned()).spawn(move || control.run(shutdown))?;
        log(&listeners.addresses);
        Ok(Self { addresses: listeners.addresses, control })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Blocks until the proxy has shut down.
    ///
    /// # Errors
    /// When a thread died.
    pub fn join(self) -> anyhow::Result<()> {
        self.control.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the control thread died")))
    }
}

/// The thread that speaks with the engine, serves the admin listener, and ends everything in order.
struct Control {
    config: Arc<ProxyConfig>,
    metrics: ProxyMetrics,
    admin: Option<TcpListener>,
    workers_ended: mpsc::Receiver<io::Result<()>>,
    drain: CancellationToken,
}

impl Control {
    fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.supervise(shutdown))
    }

    async fn supervise(mut self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let stop = CancellationToken::new();
        let (reporting, following) = (self.metrics.reporting.clone(), self.metrics.following.clone());
        let mut follow = tokio::spawn({
            let stop = stop.clone();
            async move { following.run(stop).await }
        });
        let mut report = tokio::spawn({
            let (reporting, stop) = (reporting.clone(), stop.clone());
            async move { reporting.run(stop).await }
        });
        let admin = admin::Admin::new(Arc::clone(&self.config), self.metrics, self.drain.clone());
        let admin = self.admin.map(|listener| tokio::spawn(admin::serve(listener, admin)));

        // A worker only ends after the drain has begun; one that ends earlier takes the proxy down, since its share of the
        // connections would go nowhere.
        let early = tokio::select! {
            () = shutdown => None,
            ended = self.workers_ended.recv() => Some(ended),
        };
        tracing::info!("draining");
        self.drain.cancel();
        let drained_by = tokio::time::Instant::now() + self.config.timeouts.shutdown;
        let remaining = self.config.workers - usize::from(early.is_some());
        let mut outcome = early.map_or(Ok(()), |ended| Err(died(ended)));
        for _ in 0..remaining {
            if let Some(Err(error)) = self.workers_ended.recv().await {
                outcome = outcome.and(Err(error.into()));
            }
        }
        stop.cancel();
        let flushed_by = drained_by.max(tokio::time::Instant::now() + LAST_ROWS);
        if tokio::time::timeout_at(flushed_by, &mut report).await.is_err() {
            let lost = reporting.state().rows;
            tracing::warn!(rows = lost, "the engine did not take the last rows");
            report.abort();
        }
        // The workers have ended: nothing is enforced here any more, and the engine is told so.
        if tokio::time::timeout_at(flushed_by.max(tokio::time::Instant::now() + LAST_ROWS), &mut follow).await.is_err()
        {
            follow.abort();
        }
        if let Some(admin) = admin {
            admin.abort();
        }
        outcome
    }
}

fn died(ended: Option<io::Result<()>>) -> anyhow::Error {
    match ended {
        Some(Err(error)) => anyhow::Error::from(error).context("a worker could not start"),
        _ => anyhow::anyhow!("a worker died"),
    }
}

/// Listeners of all workers, opened before any of them starts.
struct Listeners {
    addresses: Addresses,
    by_direction: Vec<(Direction, Vec<TcpListener>)>,
    admin: Option<TcpListener>,
}

impl Listeners {
    fn open(config: &ProxyConfig) -> anyhow::Result<Self> {
        let wanted = [
            (Direction::Inbound, "inbound.listen", config.inbound.as_ref().map(|inbound| inbound.listen)),
            (Direction::Outbound, "outbound.listen", config.outbound),
            (Direction::Gateway, "gateway.listen", config.gateway),
        ];
        let mut addresses = Addresses::default();
        let mut by_direction = Vec::new();
        for (direction, key, address) in wanted {
            let Some(address) = address else { continue };
            let listeners = listen(key, address, config.workers)?;
            let real = listeners.first().map(TcpListener::local_addr).transpose()?;
            match direction {
                Direction::Inbound => addresses.inbound = real,
                Direction::Outbound => addresses.outbound = real,
                Direction::Gateway => addresses.gateway = real,
            }
            by_direction.push((direction, listeners));
        }
        let admin = config.admin.map(|address| listen("admin.listen", address, 1)).transpose()?;
        let admin = admin.and_then(|mut listeners| listeners.pop());
        addresses.admin = admin.as_ref().map(TcpListener::local_addr).transpose()?;
        Ok(Self { addresses, by_direction, admin })
    }

    fn take_for_one_worker(&mut self) -> Vec<(Direction, TcpListener)> {
        let each = self.by_direction.iter_mut();
        each.filter_map(|(direction, listeners)| Some((*direction, listeners.pop()?))).collect()
    }
}

fn log(addresses: &Addresses) {
    let Addresses { inbound, outbound, gateway, admin } = *addresses;
    let [inbound, outbound, gateway, admin] =
        [inbound, outbound, gateway, admin].map(|address| address.map(tracing::field::display));
    tracing::info!(inbound, outbound, gateway, admin, "listening");
}

fn warn_if_insecure(config: &ProxyConfig) {
    if config.identity == Identity::Header {
        tracing::warn!(
            "`identity: header` is insecure: whoever reaches the inbound port may call himself anything by `x-tollgate-source`"
        );
    }
}

fn agent() -> String {
    concat!("tollgate-proxy/", env!("CARGO_PKG_VERSION")).to_owned()
}

fn reporting_config(config: &ProxyConfig, epoch: u64) -> ReportingConfig {
    ReportingConfig {
        engine: config.engine.clone(),
        reporter: config.name.clone(),
        epoch,
        agent: agent(),
        batch: config.buffers.batch,
        bytes_max: config.buffers.bytes_max,
    }
}

fn following_config(config: &ProxyConfig, epoch: u64) -> FollowingConfig {
    FollowingConfig {
        engine: config.engine.clone(),
        reporter: config.name.clone(),
        epoch,
        agent: agent(),
        standpoint: config.standpoint(),
    }
}

fn epoch_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
