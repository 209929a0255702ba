//! SeaweedFS, a real S3-compatible store, as a process of its own.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::harness::{Client, pypi};

const BUCKET: &str = "telemetry";
/// How long it may take to start.
const START: Duration = Duration::from_secs(90);

/// Master, volume server, filer and S3 gateway in one process. What it stores outlives it, until this is dropped.
pub(super) struct Weed {
    dir: TempDir,
    ports: Ports,
    process: Option<Child>,
}

struct Ports {
    master: [u16; 2],
    volume: [u16; 2],
    filer: [u16; 2],
    s3: [u16; 2],
}

impl Ports {
    /// All of them are taken at the same time, so that each is another one.
    fn free() -> Self {
        let listeners: Vec<_> = (0..8).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let mut ports = listeners.iter().map(|listener| listener.local_addr().unwrap().port());
        let mut pair = || [ports.next().unwrap(), ports.next().unwrap()];
        Self { master: pair(), volume: pair(), filer: pair(), s3: pair() }
    }
}

impl Weed {
    /// Starts it, with an empty bucket.
    pub(super) async fn start() -> Self {
        let mut weed = Self { dir: TempDir::new().unwrap(), ports: Ports::free(), process: None };
        weed.resume().await;
        weed
    }

    /// What goes into `tollgate.yaml`.
    pub(super) fn settings(&self) -> String {
        let port = self.ports.s3[0];
        format!("storage: {{ url: 's3://{BUCKET}/e2e', endpoint: 'http://127.0.0.1:{port}', region: us-east-1 }}\n")
    }

    /// `kill -9`.
    pub(super) async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await.unwrap();
        }
    }

    /// Starts it with what it has stored.
    pub(super) async fn resume(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(program());
        command.args(["-logtostderr", "server", "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1", "-filer", "-s3"]);
        command.args(["-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=20"]);
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-dir"]).arg(self.dir.path());
        let Ports { master, volume, filer, s3 } = &self.ports;
        for (name, [http, grpc]) in [("master", master), ("volume", volume), ("filer", filer), ("s3", s3)] {
            command.arg(format!("-{name}.port={http}")).arg(format!("-{name}.port.grpc={grpc}"));
        }
        for name in ["filer", "s3"] {
            command.arg(format!("-{name}.localSocket={}", self.dir.path().join(format!("{name}.sock")).display()));
        }
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn();
        self.process =
            Some(process.unwrap_or_else(|error| panic!("`weed`: {error}; install the peers with tests/setup.sh")));
        // Its parts find each other one after the other, which takes a while.
        let deadline = Instant::now() + START;
        while !self.is_there().await {
            assert!(Instant::now() < deadline, "weed does not store objects after {} s", START.as_secs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Makes the bucket, and an object in it.
    async fn is_there(&self) -> bool {
        let status = async |port: u16, method: &str, path: &str, body: &[u8]| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            Client::new(address).send(method, path, &[], body).await.map_or(0, |answer| answer.status)
        };
        // A bucket is a directory of the filer: an empty `POST` makes one, and says 409 when it is there.
        let bucket = status(self.ports.filer[0], "POST", &format!("/buckets/{BUCKET}/"), b"").await;
        matches!(bucket, 201 | 409)
            && status(self.ports.s3[0], "PUT", &format!("/{BUCKET}/probe"), b"there").await == 200
    }
}

/// Where `tests/setup.sh` puts it, or wherever it is.
fn program() -> PathBuf {
    let installed = pypi::program("weed");
    if installed.is_file() { installed } else { "weed".into() }
}
