//! What was pushed to whom, when, why, and when it was acknowledged. The table `decisions`.
//!
//! Bound: the newest 20,000 pushes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clock::WallTime;
use crate::columns;
use crate::sql::StateTable;

const PUSHES_MAX: usize = 20_000;

/// One snapshot that was pushed to one reporter.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) version: u64,
    pub(crate) reporter: Arc<str>,
    /// What changed first of all that it carries: `connected`, `policies`, `lists`, `signals` or `leases`.
    pub(crate) cause: &'static str,
    /// What it carries.
    pub(crate) parts: Vec<&'static str>,
    /// When that change was made.
    pub(crate) changed: Moment,
    pub(crate) pushed: Moment,
    /// Microseconds since the epoch; 0 until it is acknowledged.
    acknowledged_us: AtomicI64,
    latency_us: AtomicI64,
}

/// A moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) wall: WallTime,
    pub(crate) instant: Instant,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { wall: WallTime::now(), instant: Instant::now() }
    }
}

impl Push {
    pub(crate) fn new(
        version: u64,
        reporter: Arc<str>,
        cause: &'static str,
        parts: Vec<&'static str>,
        changed: Moment,
    ) -> Self {
        let (acknowledged_us, latency_us) = (AtomicI64::new(0), AtomicI64::new(0));
        Self { version, reporter, cause, parts, changed, pushed: Moment::now(), acknowledged_us, latency_us }
    }

    /// The reporter enforces it; returns how long that took since the change, in microseconds.
    pub(crate) fn acknowledge(&self) -> i64 {
        let latency_us = i64::try_from(self.changed.instant.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.latency_us.store(latency_us, Ordering::Relaxed);
        self.acknowledged_us.store(WallTime::now().us, Ordering::Release);
        latency_us
    }

    fn acknowledged(&self) -> Option<(WallTime, i64)> {
        let us = self.acknowledged_us.load(Ordering::Acquire);
        (us != 0).then(|| (WallTime { us }, self.latency_us.load(Ordering::Relaxed)))
    }
}

/// The newest pushes.
#[derive(Debug, Default)]
pub(crate) struct DecisionLog {
    pushes: Mutex<VecDeque<Arc<Push>>>,
}

impl DecisionLog {
    pub(crate) fn push(&self, push: Arc<Push>) {
        let mut pushes = self.pushes.lock();
        if pushes.len() == PUSHES_MAX {
            pushes.pop_front();
        }
        pushes.push_back(push);
    }
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    columns::schema(&[
        ("version", DataType::Int64),
        ("time", columns::time_type()),
        ("reporter", DataType::Utf8),
        ("cause", DataType::Utf8),
        ("parts", columns::texts_type()),
        ("pushed_at", columns::time_type()),
        ("acknowledged_at", columns::time_type()),
        ("latency_us", DataType::Int64),
    ])
});

impl StateTable for DecisionLog {
    fn schema(&self) -> SchemaRef {
        SCHEMA.clone()
    }

    fn rows(&self) -> Result<RecordBatch, ArrowError> {
        let pushes: Vec<Arc<Push>> = self.pushes.lock().iter().cloned().collect();
        let acknowledged: Vec<_> = pushes.iter().map(|push| push.acknowledged()).collect();
        RecordBatch::try_new(
            SCHEMA.clone(),
            vec![
                columns::counts(pushes.iter().map(|push| push.version)),
                columns::times(pushes.iter().map(|push| Some(push.changed.wall))),
                columns::texts(pushes.iter().map(|push| Some(&push.reporter))),
                columns::texts(pushes.iter().map(|push| Some(push.cause))),
                columns::lists(pushes.iter().map(|push| push.parts.clone())),
                columns::times(pushes.iter().map(|push| Some(push.pushed.wall))),
                columns::times(acknowledged.iter().map(|known| known.map(|(time, _)| time))),
                columns::integers(acknowledged.iter().map(|known| known.map(|(_, latency_us)| latency_us))),
            ],
        )
    }
}
