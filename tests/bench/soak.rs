//! Resident memory of the engine over minutes at half of the rate that it takes at most, with signals and a look at it each second.
//!
//! `--minutes=10`, and `--rate=N` rows/s instead of half of what was measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::figures;
use crate::harness::{Engine, Workspace};
use crate::mesh::{self, BATCH_ROWS, Mesh};

const REPORTERS: u64 = 2;
/// For how long the top rate is measured.
const TOP: Duration = Duration::from_secs(20);
const QUERY: &str = "SELECT destination, CAST(sum(requests) AS BIGINT) AS requests FROM traffic \
                     WHERE time > now() - INTERVAL '5 minutes' GROUP BY destination";

pub(crate) async fn run() -> anyhow::Result<()> {
    let minutes = figures::option("minutes", 10);
    let workspace = Workspace::new(&[]);
    tollgate_policies::Sources::starter().write(&workspace.policies())?;
    let engine = Arc::new(Engine::start(&workspace).await);
    let rate = match figures::option("rate", 0) {
        0 => {
            let (rows, took) = send(&engine, 1, TOP, None, &Arc::default()).await?;
            let top = rows as f64 / took.as_secs_f64();
            println!("soak: at most {top:.0} rows/s for {:.0} s, reporters included", took.as_secs_f64());
            (top / 2.0) as u64
        }
        rate => rate,
    };
    let length = Duration::from_secs(60 * minutes);
    let watching = tokio::spawn(watch(Arc::clone(&engine), length));
    let sent = Arc::new(AtomicU64::new(0));
    let (rows, took) = send(&engine, 2, length, Some(rate), &sent).await?;
    let resident = watching.await??;
    println!("soak: {rows} rows at {:.0} rows/s, {rate} asked for", rows as f64 / took.as_secs_f64());
    println!("\n| minute | resident MB, least | most |\n|---|---|---|");
    for (minute, samples) in resident.iter().enumerate() {
        let least = samples.iter().copied().fold(f64::MAX, f64::min);
        let most = samples.iter().copied().fold(0.0, f64::max);
        println!("| {} | {least:.0} | {most:.0} |", minute + 1);
    }
    let kept = engine.number("SELECT CAST(sum(rows) AS BIGINT) FROM reporters").await;
    println!(
        "\nsoak: the engine has kept {kept} rows, {} files",
        engine.number("SELECT count(*) FROM storage_files").await
    );
    Ok(())
}

/// Sends from all reporters. Returns rows and how long it took.
async fn send(
    engine: &Engine,
    epoch: u64,
    length: Duration,
    rate: Option<u64>,
    sent: &Arc<AtomicU64>,
) -> anyhow::Result<(u64, Duration)> {
    let started = Instant::now();
    let reporters: Vec<_> = (0..REPORTERS)
        .map(|number| {
            let (grpc, name, sent) = (engine.grpc.to_string(), format!("soak-{number}"), Arc::clone(sent));
            tokio::spawn(async move {
                let mut mesh = Mesh::new(&name, epoch * 100 + number);
                let every =
                    rate.map(|rate| Duration::from_secs_f64(BATCH_ROWS as f64 * REPORTERS as f64 / rate as f64));
                let mut due = started;
                mesh::report(grpc, name, epoch, move || {
                    if started.elapsed() >= length {
                        return Ok(None);
                    }
                    if let Some(every) = every {
                        due += every;
                    }
                    sent.fetch_add(1, Ordering::Relaxed);
                    mesh.remembered.clear();
                    let now_us = mesh::now_us()?;
                    Ok(Some((due, mesh.batch(now_us - 100_000, now_us)?)))
                })
                .await
            })
        })
        .collect();
    let mut batches = 0;
    for reporter in reporters {
        batches += reporter.await??;
    }
    Ok((batches * BATCH_ROWS as u64, started.elapsed()))
}

/// Resident memory each second, by minute.
async fn watch(engine: Arc<Engine>, length: Duration) -> anyhow::Result<Vec<Vec<f64>>> {
    let started = Instant::now();
    let mut minutes: Vec<Vec<f64>> = Vec::new();
    let mut rhythm = tokio::time::interval(Duration::from_secs(1));
    while started.elapsed() < length {
        rhythm.tick().await;
        let _ = engine.sql(QUERY).await;
        let minute = (started.elapsed().as_secs() / 60) as usize;
        minutes.resize_with(minutes.len().max(minute + 1), Vec::new);
        minutes[minute].push(figures::resident_mb(engine.pid()));
    }
    Ok(minutes)
}
