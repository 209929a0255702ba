//! `tollgate-reporters`: stands in for the proxies of a mesh in benchmarks. Each stream has a thread, a connection and rows of its
//! own, encoded as `tollgate-proxy` encodes them. It links neither engine nor DataFusion.
//!
//! It says `ready` once rows are made and streams are open, begins when it is sent a line, and ends with one line of JSON.

mod rows;
mod stream;

use std::io::{BufRead as _, Write as _};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use clap::Parser;

use self::stream::{Plan, Sent};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Streams realistic rows to an engine, as fast as it acknowledges them.
#[derive(Debug, Parser)]
#[command(name = "tollgate-reporters", version)]
struct Args {
    /// The engine's gRPC address, such as `http://127.0.0.1:7401`
    #[arg(long)]
    engine: String,
    /// Streams, each a reporter
    #[arg(long, default_value_t = 4)]
    streams: u32,
    /// How long rows are sent
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Most rows per second of all streams together; 0 for no such limit
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Rows of a batch
    #[arg(long, default_value_t = 8_192)]
    rows: u32,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(args.streams > 0 && args.rows > 0, "`--streams` and `--rows` are at least 1");
    let plan = Plan {
        engine: args.engine,
        for_: Duration::from_secs(args.seconds),
        rows: args.rows,
        batches_per_s: (args.rate > 0).then(|| args.rate as f64 / f64::from(args.rows) / f64::from(args.streams)),
    };
    // Streams are ready at the first crossing and begin at the second.
    let barrier = Arc::new(Barrier::new(args.streams as usize + 1));
    let start = |number: u32| {
        let (plan, barrier) = (plan.clone(), Arc::clone(&barrier));
        let run = move || run(number, &plan, &barrier);
        thread::Builder::new().name(format!("reporter-{number}")).spawn(run)
    };
    let streams = (0..args.streams).map(start).collect::<Result<Vec<_>, _>>()?;
    barrier.wait();
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    let started = Instant::now();
    barrier.wait();

    let mut all = Sent::default();
    for stream in streams {
        let sent = stream.join().map_err(|_| anyhow!("a stream panicked"))?.context("a stream failed")?;
        all.add(sent);
    }
    let seconds = started.elapsed().as_secs_f64();
    all.waits.sort_unstable();
    let wait_ms = |quantile: f64| {
        let at = (all.waits.len().saturating_sub(1) as f64 * quantile) as usize;
        all.waits.get(at).map_or(0.0, |wait| wait.as_secs_f64() * 1e3)
    };
    let result = serde_json::json!({
        "rows": all.rows, "bytes": all.bytes, "seconds": seconds, "ack_ms_p50": wait_ms(0.5), "ack_ms_p99": wait_ms(0.99),
    });
    println!("{result}");
    Ok(())
}

/// A stream from the making of its rows to its last acknowledgement, on this thread alone.
fn run(number: u32, plan: &Plan, barrier: &Barrier) -> anyhow::Result<Sent> {
    let prepared = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("a runtime")
        .and_then(|runtime| runtime.block_on(stream::open(number, plan)).map(|stream| (runtime, stream)));
    // Also after a failure: the others wait.
    barrier.wait();
    barrier.wait();
    let (runtime, stream) = prepared?;
    runtime.block_on(stream.send(plan))
}
