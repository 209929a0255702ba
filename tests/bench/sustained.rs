//! Rows per second from reporters over gRPC until they are synced, counted, visible and sealed, and where the time goes.
//!
//! `--seconds=60`, `--rate=0` (rows/s, 0 for as many as possible), `--streams=4`, `--rows=8192` (of a batch), `--queries` (the starter
//! signals run, and two dashboards are open).

mod panels;
mod sealed;
mod threads;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use self::threads::CpuByThread;
use crate::figures;
use crate::harness::{Engine, Workspace, tollgate};

const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);\n";
/// How often memory is looked at.
const TICK: Duration = Duration::from_secs(1);

pub(crate) async fn run() -> anyhow::Result<()> {
    let with_queries = std::env::args().any(|arg| arg == "--queries");
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    if with_queries {
        tollgate_policies::Sources::starter().write(&workspace.policies())?;
    }
    let engine = Engine::start(&workspace).await;
    let mut reporters = Reporters::start(&engine).await?;

    let before = (CpuByThread::of(engine.pid()), figures::cpu(reporters.pid()?), figures::cpu(std::process::id()));
    let panels = with_queries.then(|| panels::open(engine.http));
    reporters.begin().await?;
    let watched = watch_memory(engine.pid(), &mut reporters).await?;
    let refreshed = match panels {
        Some(panels) => Some(panels.close().await?),
        None => None,
    };
    let engine_cpu = CpuByThread::of(engine.pid()).since(&before.0);
    // The process ends with its output: what it used is in what its parent waited for.
    let reporters_cpu = reporters.cpu_at_end.saturating_sub(before.1);
    let measuring_cpu = figures::cpu(std::process::id()).saturating_sub(before.2);

    let (rows, seconds) = (watched.number("rows"), watched.number("seconds"));
    let per_million = |cpu: Duration| cpu.as_secs_f64() * 1e6 / rows;
    println!(
        "sustained: {:.0} rows/s for {seconds:.1} s{}, {:.0} bytes a row on the wire, acknowledged after {:.1} ms (p99 {:.1} ms)",
        rows / seconds,
        if with_queries { " with signals and dashboards" } else { "" },
        watched.number("bytes") / rows,
        watched.number("ack_ms_p50"),
        watched.number("ack_ms_p99"),
    );
    println!(
        "sustained: CPU s per million rows: engine {:.2}, reporters {:.2}; measuring took {:.2} besides",
        per_million(engine_cpu.total()),
        per_million(reporters_cpu),
        per_million(measuring_cpu)
    );
    for (thread, cpu) in engine_cpu.by_thread() {
        println!("sustained:   {thread:<18} {:.3}", per_million(cpu));
    }
    println!("sustained: resident MB of the engine: {}", watched.memory());
    if let Some(refreshed) = refreshed {
        println!("sustained: {refreshed}");
    }
    check(&engine, rows as i64).await?;
    sealed::report(&engine, &workspace.path("data")).await
}

/// Every acknowledged row is there once, and counted once.
async fn check(engine: &Engine, rows: i64) -> anyhow::Result<()> {
    for (what, query) in [
        ("kept", "SELECT count(*) FROM requests"),
        ("counted by second", "SELECT CAST(sum(requests) AS BIGINT) FROM traffic_1s"),
        ("counted by hour", "SELECT CAST(sum(requests) AS BIGINT) FROM traffic_1h"),
    ] {
        let found = engine.number(query).await;
        anyhow::ensure!(found == rows, "{rows} rows were acknowledged and {found} are {what}");
    }
    Ok(())
}

/// `tollgate-reporters`, from beside the program under test.
struct Reporters {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    cpu_at_end: Duration,
}

impl Reporters {
    async fn start(engine: &Engine) -> anyhow::Result<Self> {
        let binary = Path::new(tollgate(&[]).get_program()).with_file_name("tollgate-reporters");
        let mut command = Command::new(&binary);
        command.arg("--engine").arg(format!("http://{}", engine.grpc));
        let known = ["--seconds=", "--rate=", "--streams=", "--rows="];
        command.args(std::env::args().filter(|arg| known.iter().any(|known| arg.starts_with(known))));
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command
            .spawn()
            .with_context(|| format!("`{}`: build it with `cargo build -p tollgate-reporters`", binary.display()))?;
        let mut lines = BufReader::new(process.stdout.take().context("no output")?).lines();
        let ready = lines.next_line().await?;
        anyhow::ensure!(ready.as_deref() == Some("ready"), "the reporters do not start: {ready:?}");
        Ok(Self { process, lines, cpu_at_end: Duration::ZERO })
    }

    fn pid(&self) -> anyhow::Result<u32> {
        self.process.id().context("the reporters have ended")
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        let stdin = self.process.stdin.as_mut().context("no input")?;
        Ok(stdin.write_all(b"begin\n").await?)
    }

    /// The result, once there is one.
    async fn result(&mut self) -> anyhow::Result<Value> {
        let line = self.lines.next_line().await?.context("the reporters failed")?;
        Ok(serde_json::from_str(&line)?)
    }
}

/// What the reporters say, and the engine's memory in MB, second by second.
struct Watched {
    result: Value,
    memory_mb: Vec<f64>,
}

impl Watched {
    fn number(&self, name: &str) -> f64 {
        self.result[name].as_f64().unwrap_or_default()
    }

    /// At up to twelve moments, equally far apart, and the most there ever was.
    fn memory(&self) -> String {
        let step = self.memory_mb.len().div_ceil(12).max(1);
        let shown: Vec<_> = self.memory_mb.iter().step_by(step).map(|mb| format!("{mb:.0}")).collect();
        let most = self.memory_mb.iter().copied().fold(0.0, f64::max);
        format!("{} (each {step} s), at most {most:.0}", shown.join(" "))
    }
}

async fn watch_memory(engine: u32, reporters: &mut Reporters) -> anyhow::Result<Watched> {
    let pid = reporters.pid()?;
    let mut memory_mb = Vec::new();
    let started = Instant::now();
    let result = loop {
        let next = started + TICK * (memory_mb.len() as u32 + 1);
        tokio::select! {
            result = reporters.result() => break result?,
            () = tokio::time::sleep_until(next.into()) => {
                memory_mb.push(figures::resident_mb(engine));
                // It does not wait to be asked before it ends.
                reporters.cpu_at_end = figures::cpu(pid);
            }
        }
    };
    Ok(Watched { result, memory_mb })
}
