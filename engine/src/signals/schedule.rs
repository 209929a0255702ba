//! Runs every signal file in its rhythm and publishes what changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::context::SessionContext;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::run::{self, Outcome};
use super::{SignalFile, SignalHistory, SignalState, Values};
use crate::clock::WallTime;
use crate::metrics::{Metrics, SignalOutcome};

/// A run that takes longer than this, and longer than its rhythm, is ended.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How much later the scheduler gives up on a file that does not notice its own limit.
const GRACE: Duration = Duration::from_millis(250);

/// How a signal file is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileStatus {
    /// Relative to the policy directory.
    pub file: String,
    /// Runs so far.
    pub runs: u64,
    /// Runs that failed; the signals of the file were absent until the next one that did not.
    pub errors: u64,
    /// Why the newest run failed.
    pub error: Option<String>,
    /// When it ran last.
    pub ran_at: Option<WallTime>,
    /// Entities that have signals by it.
    pub entities: usize,
}

/// The signal files and what they gave.
pub(crate) struct Scheduler {
    context: SessionContext,
    queries: Handle,
    metrics: Arc<Metrics>,
    history: Arc<SignalHistory>,
    status: Mutex<BTreeMap<String, FileStatus>>,
}

/// One file between its runs.
struct Slot {
    file: Arc<SignalFile>,
    due: Instant,
    outcome: Outcome,
}

impl Scheduler {
    pub(crate) fn new(
        context: SessionContext,
        queries: Handle,
        metrics: Arc<Metrics>,
        history: Arc<SignalHistory>,
    ) -> Self {
        Self { context, queries, metrics, history, status: Mutex::default() }
    }

    /// How each file is doing.
    pub(crate) fn status(&self) -> Vec<FileStatus> {
        self.status.lock().values().cloned().collect()
    }

    /// Runs for ever: the files of the day, each when it is due. `publish` gets all signals whenever some have changed.
    pub(crate) async fn run(
        &self,
        mut files: watch::Receiver<Arc<Vec<Arc<SignalFile>>>>,
        publish: impl Fn(SignalState),
    ) {
        let mut slots: Vec<Slot> = Vec::new();
        let mut published = SignalState::new();
        self.take_over(&mut slots, &files.borrow_and_update());
        loop {
            for slot in slots.iter_mut().filter(|slot| slot.due <= Instant::now()) {
                slot.outcome = self.run_file(&slot.file).await;
                slot.due = next_due(slot.due, slot.file.every);
            }
            let state = merge(&slots, &published);
            if state != published {
                published = state.clone();
                publish(state);
            }
            let next = slots.iter().map(|slot| slot.due).min();
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                changed = files.changed() => match changed {
                    Ok(()) => self.take_over(&mut slots, &files.borrow_and_update()),
                    Err(_) => return,
                },
            }
        }
    }

    /// Goes on with the files of a new load. What a file of the same path gave stays until its next run, which is at once.
    fn take_over(&self, slots: &mut Vec<Slot>, files: &[Arc<SignalFile>]) {
        let mut old = std::mem::take(slots);
        for file in files {
            let before = old.iter().position(|slot| slot.file.path == file.path).map(|index| old.swap_remove(index));
            let is_same = before.as_ref().is_some_and(|slot| slot.file.entity_type == file.entity_type);
            let outcome = before.filter(|_| is_same).map(|slot| slot.outcome).unwrap_or_default();
            slots.push(Slot { file: Arc::clone(file), due: Instant::now(), outcome });
        }
        self.status.lock().retain(|path, _| files.iter().any(|file| file.path == *path));
    }

    /// Runs one file on the threads of queries; an error leaves its signals absent.
    async fn run_file(&self, file: &Arc<SignalFile>) -> Outcome {
        let (context, task_file) = (self.context.clone(), Arc::clone(file));
        let start = Instant::now();
        let limit = TIMEOUT.max(file.every);
        let task = self.queries.spawn(async move { timeout(limit, run::run(&context, &task_file)).await });
        // An operator that computes without a pause keeps the task from seeing its own limit, hence the second one.
        let ended = timeout(limit + GRACE, AbortOnDropHandle::new(task)).await.unwrap_or_else(|late| Ok(Err(late)));
        let (label, result) = match ended {
            Ok(Ok(Ok(outcome))) => (SignalOutcome::Ok, Ok(outcome)),
            Ok(Ok(Err(error))) => (SignalOutcome::Error, Err(error.to_string())),
            Ok(Err(_)) => (SignalOutcome::Timeout, Err(format!("took longer than {} s", limit.as_secs_f64()))),
            Err(error) => (SignalOutcome::Error, Err(error.to_string())),
        };
        self.metrics.signal_run(label, start.elapsed());
        self.note(file, &result);
        let outcome = result.unwrap_or_default();
        self.history.append(WallTime::now(), file, &outcome);
        outcome
    }

    fn note(&self, file: &SignalFile, result: &Result<Outcome, String>) {
        let mut status = self.status.lock();
        let status = status.entry(file.path.clone()).or_insert_with(|| FileStatus {
            file: file.path.clone(),
            runs: 0,
            errors: 0,
            error: None,
            ran_at: None,
            entities: 0,
        });
        status.runs += 1;
        status.ran_at = Some(WallTime::now());
        status.entities = result.as_ref().map_or(0, Outcome::len);
        let error = result.as_ref().err().cloned();
        status.errors += u64::from(error.is_some());
        if let Some(error) = &error
            && status.error.is_none()
        {
            tracing::warn!(file = file.path, %error, "signals are absent until their query succeeds again");
        }
        status.error = error;
    }
}

/// In step with the rhythm; a run that took longer than it is not made up for.
fn next_due(due: Instant, every: Duration) -> Instant {
    let now = Instant::now();
    let next = due + every;
    if next > now { next } else { now + every }
}

/// All signals by entity. What has not changed is shared with what was published before.
fn merge(slots: &[Slot], published: &SignalState) -> SignalState {
    let mut merged: BTreeMap<_, Values> = BTreeMap::new();
    for slot in slots {
        let entity_type: Arc<str> = slot.file.entity_type.as_str().into();
        for (entity, values) in &slot.outcome {
            let key = (Arc::clone(&entity_type), Arc::clone(entity));
            merged.entry(key).or_default().extend(values.iter().map(|(name, value)| (Arc::clone(name), value.clone())));
        }
    }
    let share = |(key, values): (super::EntityKey, Values)| {
        let before = published.get(&key).filter(|before| ***before == values).cloned();
        (key, before.unwrap_or_else(|| Arc::new(values)))
    };
    merged.into_iter().filter(|(_, values)| !values.is_empty()).map(share).collect()
}
