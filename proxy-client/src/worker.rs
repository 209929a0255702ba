//! A worker: one thread with its own runtime, listeners, connections and batch. Workers share nothing that a request has to wait
//! for; the kernel spreads connections over their listeners.

mod accept;
mod serve;

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::runtime::LocalOptions;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tollgate_attributes::{Direction, Row};
use tollgate_policies::Enforcer;

use crate::config::ProxyConfig;
use crate::destinations::Destinations;
use crate::metrics::Counters;
use crate::names::ServiceName;
use crate::reporting::{Recorded, Recorder};
use crate::upstream::Cluster;
use crate::wanted_headers::WantedHeaders;

/// Where a proxy says for whom it speaks. Believed only with `identity: header`.
pub(crate) const SOURCE: HeaderName = HeaderName::from_static("x-tollgate-source");
/// The version of that service.
pub(crate) const SOURCE_VERSION: HeaderName = HeaderName::from_static("x-tollgate-source-version");

const PRUNE_INTERVAL: Duration = Duration::from_secs(5);

/// What a worker's requests share.
pub(crate) struct Worker {
    pub(crate) config: Arc<ProxyConfig>,
    pub(crate) enforcer: Arc<Enforcer>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) wanted: WantedHeaders,
    /// The fronted service.
    pub(crate) fronted: Option<Rc<Cluster>>,
    pub(crate) destinations: Destinations,
    source: Option<HeaderValue>,
    source_version: Option<HeaderValue>,
    recorder: RefCell<Recorder>,
    /// A batch has begun to age.
    aging: Notify,
}

/// The caller's end of a connection.
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    pub(crate) text: String,
}

/// What a worker thread is given.
pub(crate) struct Assignment {
    pub(crate) config: Arc<ProxyConfig>,
    pub(crate) enforcer: Arc<Enforcer>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) recorder: Recorder,
    pub(crate) listeners: Vec<(Direction, TcpListener)>,
    /// When it is cancelled, no connection is accepted any more, and those that are open end with the request under way.
    pub(crate) drain: CancellationToken,
}

impl Assignment {
    /// Works until the drain has ended or has taken too long. The last rows leave at the end.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        let listeners = std::mem::take(&mut self.listeners);
        let drain = self.drain.clone();
        runtime.block_on(async {
            let worker = Rc::new(Worker::new(self));
            let aging = tokio::task::spawn_local(flush_when_old(Rc::clone(&worker)));
            let pruning = tokio::task::spawn_local(prune_regularly(Rc::clone(&worker)));
            let ended = accept::run(&worker, listeners, &drain).await;
            aging.abort();
            pruning.abort();
            ended
        })
        // What is still under way is dropped with the runtime, and its rows with it into the recorder, which leaves last.
    }
}

impl Worker {
    fn new(assignment: Assignment) -> Self {
        let Assignment { config, enforcer, counters, recorder, .. } = assignment;
        let cluster = |upstreams: &[_]| Rc::new(Cluster::new(upstreams, &counters));
        let header = |text: &str| HeaderValue::from_str(text).ok();
        Self {
            wanted: WantedHeaders::new(&config.headers),
            fronted: config.inbound.as_ref().map(|inbound| cluster(std::slice::from_ref(&inbound.forward))),
            destinations: Destinations::of(&config, cluster),
            source: config.service.as_ref().map(ServiceName::as_str).and_then(header),
            source_version: Some(config.version.as_str()).filter(|version| !version.is_empty()).and_then(header),
            recorder: RefCell::new(recorder),
            aging: Notify::new(),
            config,
            enforcer,
            counters: Arc::clone(&counters),
        }
    }

    pub(crate) fn record(&self, row: &Row<'_>) {
        if self.recorder.borrow_mut().record(row) == Recorded::First {
            self.aging.notify_one();
        }
    }

    /// Says in a request on its way out for whom it goes, whatever the application wrote there.
    pub(crate) fn sign(&self, headers: &mut HeaderMap) {
        for (name, value) in [(SOURCE, &self.source), (SOURCE_VERSION, &self.source_version)] {
            match value {
                Some(value) => drop(headers.insert(name, value.clone())),
                None => drop(headers.remove(name)),
            }
        }
    }
}

impl Peer {
    fn new(address: SocketAddr) -> Self {
        let address = address.ip().to_canonical();
        Self { address, text: address.to_string() }
    }
}

/// Sends a batch when its first row has become old. Without rows, nothing wakes up.
async fn flush_when_old(worker: Rc<Worker>) {
    loop {
        worker.aging.notified().await;
        tokio::time::sleep(worker.config.buffers.batch_age).await;
        worker.recorder.borrow_mut().flush();
    }
}

async fn prune_regularly(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(PRUNE_INTERVAL).await;
        worker.destinations.prune();
        worker.fronted.iter().for_each(|cluster| cluster.prune());
    }
}
