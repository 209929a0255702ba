//! Quantiles, and the CPU time of a process.

use std::path::Path;
use std::time::Duration;

/// Prints the median, p99 and maximum of a set of durations.
pub(crate) fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |quantile: f64| times[((times.len() - 1) as f64 * quantile).ceil() as usize].as_secs_f64() * 1e3;
    println!("{what}: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms ({} times)", at(0.5), at(0.99), at(1.0), times.len());
}

/// A number from the command line, such as `--rows=1000`.
pub(crate) fn option(name: &str, otherwise: u64) -> u64 {
    let value = |arg: String| arg.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
    std::env::args().find_map(value).unwrap_or(otherwise)
}

/// User and system time that a process and its threads have used, those that have ended included.
pub(crate) fn cpu(pid: u32) -> Duration {
    cpu_in(format!("/proc/{pid}/stat").as_ref())
}

/// User and system time in the `stat` of a process or thread.
pub(crate) fn cpu_in(stat: &Path) -> Duration {
    let stat = std::fs::read_to_string(stat).unwrap_or_default();
    // The name in parentheses may hold spaces: fields are counted from behind it.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: u64 = [11, 12].iter().filter_map(|field| fields.get(*field)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Resident memory of a process in MB.
pub(crate) fn resident_mb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1_000.0
}
