//! What the signals were. The table `signals`.
//!
//! Bound: the newest 200,000 values.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parking_lot::Mutex;

use super::{SignalFile, Value, run::Outcome};
use crate::clock::WallTime;
use crate::columns;
use crate::sql::StateTable;

const VALUES_MAX: usize = 200_000;

/// The newest values of all signals.
#[derive(Default)]
pub(crate) struct SignalHistory {
    samples: Mutex<VecDeque<Sample>>,
}

#[derive(Clone)]
struct Sample {
    time: WallTime,
    file: Arc<SignalFile>,
    entity: Arc<str>,
    signal: Arc<str>,
    value: Value,
}

impl SignalHistory {
    /// Adds what one run gave.
    pub(super) fn append(&self, time: WallTime, file: &Arc<SignalFile>, outcome: &Outcome) {
        let mut samples = self.samples.lock();
        for (entity, values) in outcome {
            for (signal, value) in values {
                let (entity, signal) = (Arc::clone(entity), Arc::clone(signal));
                samples.push_back(Sample { time, file: Arc::clone(file), entity, signal, value: value.clone() });
            }
        }
        let excess = samples.len().saturating_sub(VALUES_MAX);
        samples.drain(..excess);
    }
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    columns::schema(&[
        ("time", columns::time_type()),
        ("entity_type", DataType::Utf8),
        ("entity", DataType::Utf8),
        ("signal", DataType::Utf8),
        ("integer", DataType::Int64),
        ("text", DataType::Utf8),
    ])
});

impl StateTable for SignalHistory {
    fn schema(&self) -> SchemaRef {
        SCHEMA.clone()
    }

    fn rows(&self) -> Result<RecordBatch, ArrowError> {
        let samples: Vec<Sample> = self.samples.lock().iter().cloned().collect();
        let integer = |sample: &Sample| match sample.value {
            Value::Integer(integer) => Some(integer),
            Value::Text(_) => None,
        };
        let text = |sample: &Sample| match &sample.value {
            Value::Integer(_) => None,
            Value::Text(text) => Some(Arc::clone(text)),
        };
        RecordBatch::try_new(
            SCHEMA.clone(),
            vec![
                columns::times(samples.iter().map(|sample| Some(sample.time))),
                columns::texts(samples.iter().map(|sample| Some(&sample.file.entity_type))),
                columns::texts(samples.iter().map(|sample| Some(&sample.entity))),
                columns::texts(samples.iter().map(|sample| Some(&sample.signal))),
                columns::integers(samples.iter().map(integer)),
                columns::texts(samples.iter().map(text)),
            ],
        )
    }
}
