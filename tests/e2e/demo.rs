//! `tollgate demo`, as a new user runs it.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use crate::harness::{Workspace, tollgate};

#[tokio::test(flavor = "multi_thread")]
async fn ends_by_itself_with_a_summary_and_leaves_only_its_directory() {
    let workspace = Workspace::new(&[]);
    let dir = workspace.path("cwd");
    fs::create_dir(&dir).unwrap();
    let mut command = tollgate(&[
        "demo",
        "--for",
        "8s",
        "--http",
        "127.0.0.1:0",
        "--grpc",
        "127.0.0.1:0",
        "--postgres",
        "127.0.0.1:0",
    ]);
    command.current_dir(&dir);
    let started = Instant::now();
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let took = started.elapsed();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));

    assert_eq!(text.matches('✓').count(), 4, "{text}");
    assert!(text.contains("tollgate sql") && text.contains("sed -i"), "{text}");
    let total = text.rsplit("caller").next().unwrap();
    let row = |caller: &str, called: &str| -> Vec<f64> {
        let line = total.lines().find(|line| line.contains(caller) && line.contains(called));
        let line = line.unwrap_or_else(|| panic!("no row for {caller} -> {called} in\n{text}"));
        line.split('|').skip(2).map(|cell| cell.trim().parse().unwrap_or(f64::NAN)).collect()
    };
    // requests, success %, p50, p99, allowed, denied, limited
    let paying = row("customers/paying", "shop/storefront");
    assert!(paying[0] > 100.0 && paying[1] == 100.0 && paying[5] == 0.0 && paying[6] == 0.0, "{text}");
    let free = row("customers/free", "shop/storefront");
    // A machine that is too slow for the demo's load may not reach the limit of 20/s.
    let is_under_the_limit = free[0] < 20.0 * took.as_secs_f64();
    assert!(free[4] > 0.0 && (free[6] > 0.0 || is_under_the_limit), "the free tier is limited:\n{text}");
    let intruder = row("unknown/intruder", "shop/payments");
    assert!(intruder[4] == 0.0 && intruder[5] > 0.0, "the intruder is denied:\n{text}");
    assert!(row("shop/catalog", "shop/payments")[4] > 0.0, "{text}");
    assert!(text.contains("0 lost"), "{text}");

    let left: BTreeSet<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, BTreeSet::from(["tollgate-demo".into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_a_port_in_use_in_one_line() {
    let workspace = Workspace::new(&[]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command =
        tollgate(&["demo", "--for", "5s", "--http", &address, "--grpc", "127.0.0.1:0", "--postgres", "127.0.0.1:0"]);
    command.current_dir(workspace.path(""));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.trim_end(), format!("tollgate: port {} for HTTP is in use", taken.local_addr().unwrap().port()));
}
