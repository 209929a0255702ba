//! `tollgate demo`: engine, proxies and a small shop under load, in one command.
//!
//! Everything in it is real: the engine with its servers, four services that speak HTTP, one proxy process in front of each,
//! and callers that do what callers do. It writes to its data directory and nowhere else.

mod fleet;
mod http;
mod load;
mod screen;
mod shop;
mod traffic;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio_util::sync::CancellationToken;
use tollgate_adapters::guard::Guard;
use tollgate_engine::{Engine, EngineConfig};
use tollgate_policies::Sources;

use crate::cli::DemoArgs;
use crate::config::Listen;
use crate::serve::Serving;
use crate::{logging, shutdown};
use fleet::Fleet;
use load::Load;
use screen::Screen;

/// How long the proxies may take to get their first snapshot.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs the command.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.data).with_context(|| format!("cannot create `{}`", args.data.display()))?;
    logging::start_in_file("info", &args.data.join("engine.log"))?;
    tokio::runtime::Runtime::new()?.block_on(demo(args))
}

async fn demo(args: &DemoArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let stop = shutdown::on_signal()?;
    let mut screen = Screen::new();
    let policies = policies(args)?;

    let config = EngineConfig { data: args.data.join("engine"), policies: policies.clone(), ..EngineConfig::default() };
    let listen = Listen { http: args.http, grpc: args.grpc, postgres: args.postgres };
    let serving = Serving::start(config, &listen, Guard::open()?).await?;
    let (engine, grpc) = (serving.engine.clone(), serving.grpc);
    let url = format!("http://{}", serving.http);
    screen.check(&format!("engine listens: HTTP {url}, gRPC http://{}", serving.grpc));

    let end_engine = CancellationToken::new();
    let serving_task = tokio::spawn(serving.until(end_engine.clone()));
    let shown = show(args, &mut screen, (&engine, &url, grpc), &policies, started, stop).await;
    end_engine.cancel();
    serving_task.await??;
    shown
}

/// Everything between the engine's start and its end.
async fn show(
    args: &DemoArgs,
    screen: &mut Screen,
    serving: (&Engine, &str, SocketAddr),
    policies: &Path,
    started: Instant,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (engine, url, grpc) = serving;
    let mut fleet = Fleet::start(&args.data, grpc).await?;
    screen.check(&format!("{} services, each behind its own proxy process: {}", fleet.len(), fleet.addresses()));
    ensure!(
        traffic::wait_until_enforced(engine, fleet.len(), READY_TIMEOUT).await,
        "the proxies did not get their first snapshot within {} s: see the logs in `{}`",
        READY_TIMEOUT.as_secs(),
        args.data.display()
    );
    screen.check(&format!("policies in `{}` are enforced by every proxy", policies.display()));

    let load = Load::start(&fleet)?;
    traffic::wait_for_rows(engine, started.elapsed(), READY_TIMEOUT).await?;
    screen.check(&format!("first requests are in SQL {:.1} s after the start", started.elapsed().as_secs_f64()));
    screen.text(&paste(url, policies));

    let watched = traffic::watch(engine, &mut fleet, screen, args.for_.map(|duration| duration.0), &stop).await;
    load.stop().await;
    fleet.stop().await?;
    watched?;
    screen.text(&traffic::summary(engine, started.elapsed()).await?);
    Ok(())
}

/// The directory of policies: the user's, or a copy of the starter policies that can be edited.
fn policies(args: &DemoArgs) -> anyhow::Result<PathBuf> {
    if let Some(dir) = &args.policies {
        return Ok(dir.clone());
    }
    let dir = args.data.join("policies");
    if !dir.exists() {
        Sources::starter().write(&dir).with_context(|| format!("cannot write `{}`", dir.display()))?;
    }
    Ok(dir)
}

/// Three things to try in another terminal: a query, a policy edit, an explanation.
fn paste(url: &str, policies: &Path) -> String {
    let tollgate = own_path();
    let engine = if url == "http://127.0.0.1:7400" { String::new() } else { format!(" --engine {url}") };
    let shaping = policies.join("shaping/limits.cedar");
    format!(
        "\nIn another terminal, ask what is slow:\n  \
         {tollgate} sql{engine} \"SELECT source, destination, route, count(*) AS requests, \
         approx_percentile_cont(duration_us, 0.99) AS p99_us FROM requests GROUP BY 1, 2, 3 ORDER BY 5 DESC LIMIT 10\"\n\
         tighten a limit and see it bite:\n  \
         sed -i 's|@limit(\"20/s\")|@limit(\"5/s\")|' {shaping}\n\
         and ask why requests were refused:\n  \
         {tollgate} sql{engine} \"SELECT time, source, destination, decision, reason, policies, snapshot FROM requests \
         WHERE decision <> 'allow' ORDER BY time DESC LIMIT 10\"",
        shaping = shaping.display()
    )
}

/// The path of this program, relative where it is below the current directory.
fn own_path() -> String {
    let Ok(path) = std::env::current_exe() else { return "tollgate".to_owned() };
    let below = std::env::current_dir().ok().and_then(|dir| path.strip_prefix(dir).ok().map(Path::to_owned));
    match below {
        Some(below) => format!("./{}", below.display()),
        None => path.display().to_string(),
    }
}
