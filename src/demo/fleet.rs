//! The shop's services in this process, and one proxy process in front of each.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::shop::{self, Service};

/// How long a proxy may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a proxy may take to answer what is open and send its last rows.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// One service behind its proxy.
pub(super) struct Member {
    pub(super) service: Service,
    /// Where its callers reach it.
    pub(super) inbound: SocketAddr,
    process: Child,
}

/// All of them.
pub(super) struct Fleet {
    members: Vec<Member>,
    services: JoinSet<()>,
    stop: CancellationToken,
}

/// What a proxy writes once it listens.
#[derive(Deserialize)]
struct Ready {
    inbound: SocketAddr,
    outbound: Option<SocketAddr>,
}

impl Fleet {
    /// Starts the called before the callers, because a proxy's configuration names where the called ones listen.
    pub(super) async fn start(data: &Path, engine: SocketAddr) -> anyhow::Result<Self> {
        let dir = data.join("proxies");
        std::fs::create_dir_all(&dir)?;
        let mut fleet = Self { members: Vec::new(), services: JoinSet::new(), stop: CancellationToken::new() };
        for service in [Service::Payments, Service::Catalog, Service::Search, Service::Storefront] {
            fleet.add(service, &dir, engine).await.with_context(|| format!("shop/{}", service.name()))?;
        }
        Ok(fleet)
    }

    async fn add(&mut self, service: Service, dir: &Path, engine: SocketAddr) -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let config = dir.join(format!("{}.yaml", service.name()));
        std::fs::write(&config, self.proxy_yaml(service, engine, listener.local_addr()?)?)?;
        let (process, ready) = start_proxy(&config).await?;
        self.services.spawn(shop::serve(service, listener, ready.outbound, self.stop.clone()));
        self.members.push(Member { service, inbound: ready.inbound, process });
        Ok(())
    }

    fn proxy_yaml(&self, service: Service, engine: SocketAddr, forward: SocketAddr) -> anyhow::Result<String> {
        let name = service.name();
        let routes: String = service.routes().iter().map(|route| format!("  - {route}\n")).collect();
        let mut yaml = format!(
            "# Written by `tollgate demo`.\n\
             name: {name}-1\n\
             engine: http://{engine}\n\
             service: shop/{name}\n\
             # The demo has no certificates: the callers' names are believed.\n\
             identity: header\n\
             workers: 1\n\
             inbound: {{ listen: 127.0.0.1:0, forward: {forward} }}\n\
             admin: {{ listen: 127.0.0.1:0 }}\n\
             routes:\n{routes}"
        );
        if let Some(called) = service.calls() {
            let called_at = self.inbound(called)?;
            yaml.push_str(&format!(
                "outbound: {{ listen: 127.0.0.1:0 }}\nservices:\n  shop/{}: [{called_at}]\n",
                called.name()
            ));
        }
        Ok(yaml)
    }

    /// Where a service is reached.
    pub(super) fn inbound(&self, service: Service) -> anyhow::Result<SocketAddr> {
        let member = self.members.iter().find(|member| member.service == service);
        member.map(|member| member.inbound).with_context(|| format!("shop/{} has not started", service.name()))
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// `storefront 127.0.0.1:1, …`, in the order of the calls.
    pub(super) fn addresses(&self) -> String {
        let mut members: Vec<_> = self.members.iter().collect();
        members.reverse();
        let addresses = members.iter().map(|member| format!("{} {}", member.service.name(), member.inbound));
        addresses.collect::<Vec<_>>().join(", ")
    }

    /// The name of a proxy that has ended although nobody asked it to.
    pub(super) fn ended(&mut self) -> Option<String> {
        self.members.iter_mut().find_map(|member| {
            let status = member.process.try_wait().ok().flatten()?;
            Some(format!("the proxy of shop/{} ended: {status}", member.service.name()))
        })
    }

    /// Ends the proxies in the order of the calls and waits for their last rows, then ends the services.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        for member in self.members.iter_mut().rev() {
            drop(member.process.stdin.take());
            let ended = tokio::time::timeout(STOP_TIMEOUT, member.process.wait()).await;
            let status =
                ended.with_context(|| format!("the proxy of shop/{} does not stop", member.service.name()))??;
            ensure!(status.success(), "the proxy of shop/{} ended with {status}", member.service.name());
        }
        self.stop.cancel();
        self.services.shutdown().await;
        Ok(())
    }
}

/// Starts this program as a proxy. It ends when its standard input closes, hence also when this process is killed.
async fn start_proxy(config: &Path) -> anyhow::Result<(Child, Ready)> {
    let ready_file = config.with_extension("ready.json");
    // Left by an earlier demo: it would name its addresses.
    if ready_file.exists() {
        std::fs::remove_file(&ready_file)?;
    }
    let log = config.with_extension("log");
    let mut process = Command::new(std::env::current_exe()?)
        .arg("proxy")
        .arg("--config")
        .arg(config)
        .arg("--ready-file")
        .arg(&ready_file)
        .arg("--until-stdin-closes")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(File::create(&log)?)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let ready = tokio::time::timeout(START_TIMEOUT, wait_for_ready(&mut process, &ready_file, &log)).await;
    let ready = ready.with_context(|| format!("the proxy does not start: see `{}`", log.display()))??;
    Ok((process, ready))
}

async fn wait_for_ready(process: &mut Child, ready_file: &PathBuf, log: &Path) -> anyhow::Result<Ready> {
    loop {
        if let Ok(text) = tokio::fs::read_to_string(ready_file).await {
            return Ok(serde_json::from_str(&text)?);
        }
        if let Some(status) = process.try_wait()? {
            bail!("the proxy ended with {status}: see `{}`", log.display());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
