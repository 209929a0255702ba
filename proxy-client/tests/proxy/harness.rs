//! A proxy in front of a backend, and the engine behind it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio_util::sync::CancellationToken;
use tollgate_proxy_client::{Addresses, Proxy, ProxyConfig};

use crate::engine::Engine;

pub(crate) const PERMIT_ALL: &str = "permit (principal, action, resource);";

pub(crate) struct Running {
    pub(crate) addresses: Addresses,
    stop: CancellationToken,
    proxy: Option<Proxy>,
}

impl Running {
    /// A proxy with this configuration. `name` and `service` need not be given.
    pub(crate) fn start(engine: SocketAddr, yaml: &str) -> Self {
        let workers = if yaml.contains("workers:") { "" } else { "workers: 2" };
        let yaml = format!("name: catalog-1\nservice: shop/catalog\n{workers}\nengine: http://{engine}\n{yaml}");
        let config = ProxyConfig::parse(Path::new("proxy.yaml"), &yaml).unwrap_or_else(|error| panic!("{error}"));
        let stop = CancellationToken::new();
        let proxy = Proxy::start(config, stop.clone().cancelled_owned()).unwrap();
        Self { addresses: *proxy.addresses(), stop, proxy: Some(proxy) }
    }

    /// A proxy in front of a backend, once it has its first snapshot.
    pub(crate) async fn inbound(engine: &Engine, backend: SocketAddr, more: &str) -> Self {
        let running = Self::start(engine.address, &inbound_yaml(backend, more));
        engine.wait(|received| received.acknowledged.iter().any(|version| *version > 0)).await;
        running
    }

    pub(crate) fn inbound_address(&self) -> SocketAddr {
        self.addresses.inbound.unwrap()
    }

    pub(crate) fn begin_to_stop(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let proxy = self.proxy.take().unwrap();
        tokio::task::spawn_blocking(|| proxy.join()).await.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn inbound_yaml(backend: impl std::fmt::Display, more: &str) -> String {
    format!(
        "inbound: {{ listen: 127.0.0.1:0, forward: \"{backend}\" }}\n\
         admin: {{ listen: 127.0.0.1:0 }}\n{more}\n"
    )
}

/// An address where nobody listens, and nobody else in this process will: every call has a loopback address of its own.
pub(crate) fn nowhere() -> SocketAddr {
    static CALLS: AtomicU8 = AtomicU8::new(1);
    let ip = [127, 77, 0, CALLS.fetch_add(1, Ordering::SeqCst)];
    std::net::TcpListener::bind((Ipv4Addr::from(ip), 0)).unwrap().local_addr().unwrap()
}
