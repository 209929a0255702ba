//! A real Prometheus.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use serde_json::Value;

use super::{ask, escape};
use crate::harness::{Client, Workspace, eventually};

/// A running Prometheus, killed when it is dropped.
pub(crate) struct Prometheus {
    pub(crate) address: SocketAddr,
    _process: tokio::process::Child,
}

impl Prometheus {
    /// Starts with this configuration and further arguments, and waits until it answers.
    pub(crate) async fn start(workspace: &Workspace, config: &str, arguments: &[&str]) -> Self {
        let file = workspace.path("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        // Prometheus takes no port 0.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = tokio::process::Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", workspace.path("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus is missing: run `make setup`");
        eventually("Prometheus is ready", || async {
            let answer = Client::new(address).send("GET", "/-/ready", &[], b"").await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
        Self { address, _process: process }
    }

    /// The first value of an instant query; none where there is no series.
    pub(crate) async fn value(&self, query: &str) -> Option<f64> {
        let path = format!("/api/v1/query?query={}", escape(query));
        let answer = Client::new(self.address).send("GET", &path, &[], b"").await.ok()?;
        let json: Value = serde_json::from_slice(&answer.body).ok()?;
        json["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// Waits until a query has this value.
    pub(crate) async fn wait(&self, query: &str, expected: usize) {
        eventually(&format!("{query} is {expected}"), || async {
            self.value(query).await.filter(|value| (value - expected as f64).abs() < 1e-6)
        })
        .await;
    }

    /// The `data` of an answer of the API.
    pub(crate) async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        ask(self.address, path, parameters).await
    }
}
