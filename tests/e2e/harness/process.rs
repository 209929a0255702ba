//! The engine and proxies as processes of this build. Each is killed when its guard is dropped.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;

use super::{Answer, PATIENCE, eventually_within, get, until};

/// A command line of the program under test: of this build, or the one that `TOLLGATE_BINARY` names, which is how benchmarks
/// measure a release without building themselves as one.
pub(crate) fn tollgate(args: &[&str]) -> Command {
    let binary = std::env::var_os("TOLLGATE_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_tollgate").into());
    let mut command = Command::new(binary);
    command.args(args);
    for name in ["LOG", "ENGINE", "TOKEN_FILE", "CA", "CERT", "KEY"] {
        command.env_remove(format!("TOLLGATE_{name}"));
    }
    // Object stores of the tests take any; real ones must not be reached from here.
    command.env("AWS_ACCESS_KEY_ID", "any").env("AWS_SECRET_ACCESS_KEY", "any");
    command
}

/// A directory of its own, with a directory of policies.
pub(crate) struct Workspace {
    dir: TempDir,
}

impl Workspace {
    /// With these policies: pairs of a path below the policy directory and a text.
    pub(crate) fn new(policies: &[(&str, &str)]) -> Self {
        let workspace = Self { dir: TempDir::new().unwrap() };
        fs::create_dir_all(workspace.policies()).unwrap();
        for (path, text) in policies {
            workspace.write_policy(path, text);
        }
        workspace
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn policies(&self) -> PathBuf {
        self.path("policies")
    }

    /// Writes a policy file as an editor does: whole, by renaming.
    pub(crate) fn write_policy(&self, path: &str, text: &str) {
        let file = self.policies().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let temporary = file.with_extension("new~");
        fs::write(&temporary, text).unwrap();
        fs::rename(&temporary, &file).unwrap();
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }
}

/// A running `tollgate serve`.
pub(crate) struct Engine {
    process: Child,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) postgres: SocketAddr,
}

impl Engine {
    pub(crate) async fn start(workspace: &Workspace) -> Self {
        Self::start_at(workspace, "127.0.0.1:0".parse().unwrap(), "").await
    }

    /// Starts with gRPC at this address and with further settings.
    pub(crate) async fn start_at(workspace: &Workspace, grpc: SocketAddr, settings: &str) -> Self {
        Self::start_within(PATIENCE, workspace, grpc, settings).await
    }

    /// The same for one that has much to read before it is ready.
    pub(crate) async fn start_within(
        patience: Duration,
        workspace: &Workspace,
        grpc: SocketAddr,
        settings: &str,
    ) -> Self {
        let config = workspace.path("tollgate.yaml");
        let yaml = format!(
            "data: {}\npolicies: {}\nlisten: {{ http: 127.0.0.1:0, grpc: {grpc}, postgres: 127.0.0.1:0 }}\n{settings}",
            workspace.path("data").display(),
            workspace.policies().display()
        );
        fs::write(&config, yaml).unwrap();
        let (process, ready) = start(patience, workspace, "serve", &config, "engine").await;
        let address = |key| address(&ready, key);
        Self { process, http: address("http"), grpc: address("grpc"), postgres: address("postgres") }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        get(self.http, path).await
    }

    /// The rows of a query as JSON objects; its error as text.
    pub(crate) async fn try_sql(&self, query: &str) -> Result<Vec<Value>, String> {
        let answer = super::Client::new(self.http).send("POST", "/v1/sql", &[], query.as_bytes()).await.unwrap();
        let json: Value = serde_json::from_slice(&answer.body).unwrap();
        match json {
            Value::Array(rows) if answer.status == 200 => Ok(rows),
            other => Err(other["detail"].as_str().unwrap_or("no detail").to_owned()),
        }
    }

    pub(crate) async fn sql(&self, query: &str) -> Vec<Value> {
        self.try_sql(query).await.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The one number that a query gives.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        let rows = self.sql(query).await;
        rows[0].as_object().unwrap().values().next().unwrap().as_i64().unwrap_or(0)
    }

    /// Waits until that many reporters enforce the newest snapshot of the policies.
    pub(crate) async fn wait_enforced(&self, reporters: usize) {
        let query = "SELECT count(*) FROM reporters WHERE connected AND acknowledged_version > 0";
        until("reporters enforce a snapshot", || async { self.number(query).await >= reporters as i64 }).await;
    }

    #[allow(dead_code, reason = "only the benchmarks ask")]
    pub(crate) fn pid(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    /// SIGTERM; the process has to end by itself, with exit code 0.
    pub(crate) async fn stop(mut self) {
        terminate(&mut self.process).await;
    }
}

/// A running `tollgate proxy`.
pub(crate) struct Proxy {
    process: Child,
    pub(crate) inbound: Option<SocketAddr>,
    pub(crate) outbound: Option<SocketAddr>,
    pub(crate) gateway: Option<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
}

impl Proxy {
    /// Starts with this `proxy.yaml`.
    pub(crate) async fn start(workspace: &Workspace, name: &str, yaml: &str) -> Self {
        let config = workspace.path(&format!("{name}.yaml"));
        fs::write(&config, yaml).unwrap();
        let (process, ready) = start(PATIENCE, workspace, "proxy", &config, name).await;
        let optional = |key: &str| ready[key].as_str().map(|text| text.parse().unwrap());
        let [inbound, outbound, gateway, admin] = ["inbound", "outbound", "gateway", "admin"].map(optional);
        Self { process, inbound, outbound, gateway, admin }
    }

    /// In front of one service, believing its callers' names.
    pub(crate) async fn in_front_of(
        workspace: &Workspace,
        engine: &Engine,
        name: &str,
        service: &str,
        forward: SocketAddr,
    ) -> Self {
        let yaml = format!(
            "name: {name}\nengine: http://{}\nservice: {service}\nidentity: header\nworkers: 1\n\
             inbound: {{ listen: 127.0.0.1:0, forward: {forward} }}\nadmin: {{ listen: 127.0.0.1:0 }}\n\
             routes: [\"/items/{{id}}\", \"/\"]\n",
            engine.grpc
        );
        Self::start(workspace, name, &yaml).await
    }

    pub(crate) fn inbound(&self) -> SocketAddr {
        self.inbound.expect("the proxy has an inbound listener")
    }

    pub(crate) fn outbound(&self) -> SocketAddr {
        self.outbound.expect("the proxy has an outbound listener")
    }

    #[allow(dead_code, reason = "the benchmarks have none")]
    pub(crate) fn gateway(&self) -> SocketAddr {
        self.gateway.expect("the proxy has a gateway listener")
    }

    #[allow(dead_code, reason = "only the benchmarks ask")]
    pub(crate) fn pid(&self) -> u32 {
        self.process.id().unwrap()
    }

    pub(crate) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    pub(crate) async fn stop(mut self) {
        terminate(&mut self.process).await;
    }
}

async fn start(patience: Duration, workspace: &Workspace, command: &str, config: &Path, name: &str) -> (Child, Value) {
    let ready_file = workspace.path(&format!("{name}.ready.json"));
    let _ = fs::remove_file(&ready_file);
    let log = File::options().create(true).append(true).open(workspace.path(&format!("{name}.log"))).unwrap();
    let mut command_line = tollgate(&[command, "--config"]);
    command_line
        .arg(config)
        .arg("--ready-file")
        .arg(&ready_file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    let mut process = tokio::process::Command::from(command_line).kill_on_drop(true).spawn().unwrap();
    let ready = eventually_within(patience, &format!("{name} is ready"), || {
        let ended = process.try_wait().unwrap();
        assert!(ended.is_none(), "{name} ended: {ended:?}\n{}", workspace.log(name));
        let text = fs::read_to_string(&ready_file);
        async move { text.ok().and_then(|text| serde_json::from_str(&text).ok()) }
    })
    .await;
    (process, ready)
}

fn address(ready: &Value, key: &str) -> SocketAddr {
    ready[key].as_str().unwrap().parse().unwrap()
}

async fn terminate(process: &mut Child) {
    let pid = process.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = tokio::time::timeout(PATIENCE.min(Duration::from_secs(20)), process.wait()).await;
    let status = status.expect("the process does not end after SIGTERM").unwrap();
    assert!(status.success(), "ended with {status}");
}
