//! From starting `tollgate demo`, once built, to the first request that SQL shows.

use std::time::{Duration, Instant};

use crate::figures;
use crate::harness::{Workspace, tollgate};

pub(crate) fn run() -> anyhow::Result<()> {
    let mut times = Vec::new();
    let mut whole = Vec::new();
    for _ in 0..5 {
        let workspace = Workspace::new(&[]);
        let started = Instant::now();
        let output = tollgate(&[
            "demo",
            "--for",
            "1s",
            "--http",
            "127.0.0.1:0",
            "--grpc",
            "127.0.0.1:0",
            "--postgres",
            "127.0.0.1:0",
        ])
        .current_dir(workspace.path(""))
        .output()?;
        whole.push(started.elapsed().saturating_sub(Duration::from_secs(1)));
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|line| line.contains("first requests are in SQL"));
        let seconds = line.and_then(|line| line.split_whitespace().rev().nth(4)?.parse::<f64>().ok());
        times.push(Duration::from_secs_f64(seconds.ok_or_else(|| anyhow::anyhow!("the demo failed: {text}"))?));
    }
    figures::print("demo, start to first answer in SQL", times);
    figures::print("demo, start and end together", whole);
    Ok(())
}
