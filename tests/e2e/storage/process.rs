//! A reporter as a process of its own, which can be killed at any moment: this test binary, run as one test that only reports.
//!
//! It writes down what it sends before it does, and what was acknowledged after it was: both outlive it.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::process::{Child, Command};

use super::reporter::{Reporter, Sent, first_number};

const NAME: &str = "TOLLGATE_REPORTER";
const GRPC: &str = "TOLLGATE_REPORTER_GRPC";
const NOTES: &str = "TOLLGATE_REPORTER_NOTES";
const FIRST: &str = "TOLLGATE_REPORTER_FIRST";
/// Numbers of batches that one process may use.
const NUMBERS: u64 = 1_000_000;

/// A running reporter.
pub(super) struct Process {
    child: Child,
    notes: PathBuf,
}

impl Process {
    /// Starts the `count`th one.
    pub(super) fn start(name: &str, grpc: SocketAddr, dir: &Path, count: u64) -> Self {
        let notes = dir.join(format!("{name}-{count}.notes"));
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storage::process::reports_until_it_is_killed", "--ignored", "--nocapture"])
            .env(NAME, name)
            .env(GRPC, grpc.to_string())
            .env(NOTES, &notes)
            .env(FIRST, ((count + 1) * NUMBERS).to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, notes }
    }

    /// `kill -9`; returns what it sent.
    pub(super) async fn kill(mut self) -> Vec<Sent> {
        self.child.kill().await.unwrap();
        read(&self.notes)
    }
}

/// What a process writes down.
pub(super) struct Notes(File);

impl Notes {
    pub(super) fn sent(&mut self, sent: &Sent) {
        // One call of the system for each line: a killed process leaves whole lines, but for the last.
        self.0.write_all(format!("sent {} {}\n", sent.number, sent.rows).as_bytes()).unwrap();
    }

    pub(super) fn acknowledged(&mut self, sent: &Sent) {
        self.0.write_all(format!("kept {}\n", sent.number).as_bytes()).unwrap();
    }
}

fn read(notes: &Path) -> Vec<Sent> {
    let mut all: Vec<Sent> = Vec::new();
    let text = fs::read_to_string(notes).unwrap_or_default();
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["sent", number, rows] => {
                let (number, rows) = (number.parse().unwrap(), rows.parse().unwrap());
                all.push(Sent { number, rows, is_acknowledged: false });
            }
            ["kept", number] => {
                let number: u64 = number.parse().unwrap();
                all.iter_mut().rev().find(|sent| sent.number == number).unwrap().is_acknowledged = true;
            }
            _ => panic!("{line}"),
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a process of another test"]
async fn reports_until_it_is_killed() {
    let variable = |name: &str| std::env::var(name).ok();
    let (Some(name), Some(notes)) = (variable(NAME), variable(NOTES)) else { return };
    first_number(variable(FIRST).unwrap().parse().unwrap());
    let reporter = Reporter::new(name, variable(GRPC).unwrap().parse().unwrap());
    let reporter = reporter.noted_in(Notes(File::create(notes).unwrap()));
    reporter.run(Arc::new(AtomicBool::new(false))).await;
}
