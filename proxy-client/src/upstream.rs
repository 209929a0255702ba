//! The way to a service's addresses: which one to take, a connection to it, and the request on that connection.
//!
//! Everything here belongs to one worker thread, so there is no lock: each worker has its own connections and its own view of
//! which address is busy or broken.

mod balance;
mod connection;
mod endpoint;
mod send;

pub(crate) use connection::{Connection, LocalExecutor};
pub(crate) use endpoint::Endpoint;
pub(crate) use send::{FailureKind, Sent, send};

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::config::Upstream;
use crate::metrics::Counters;

/// The addresses of one service.
pub(crate) struct Cluster {
    endpoints: Vec<Rc<Endpoint>>,
}

impl Cluster {
    pub(crate) fn new(upstreams: &[Upstream], counters: &Arc<Counters>) -> Self {
        let endpoint = |upstream: &Upstream| Rc::new(Endpoint::new(upstream.clone(), Arc::clone(counters)));
        Self { endpoints: upstreams.iter().map(endpoint).collect() }
    }

    /// The less busy of two random addresses, leaving out those whose connects have just failed, and `avoid` where there is
    /// another one.
    pub(crate) fn pick(&self, avoid: Option<&Rc<Endpoint>>) -> Option<Rc<Endpoint>> {
        let is_avoided = |endpoint: &Rc<Endpoint>| avoid.is_some_and(|avoid| Rc::ptr_eq(avoid, endpoint));
        let now = Instant::now();
        let load =
            |endpoint: &Rc<Endpoint>| (!is_avoided(endpoint) && !endpoint.is_ejected(now)).then(|| endpoint.active());
        let index = match self.endpoints.len() {
            0 => return None,
            1 => 0,
            _ => balance::least_of_two(&self.endpoints, load)
                .or_else(|| balance::least_of_two(&self.endpoints, |endpoint| Some(endpoint.active())))?,
        };
        self.endpoints.get(index).cloned()
    }

    /// Closes connections that have been idle for too long.
    pub(crate) fn prune(&self) {
        let now = Instant::now();
        self.endpoints.iter().for_each(|endpoint| endpoint.prune(now));
    }
}
