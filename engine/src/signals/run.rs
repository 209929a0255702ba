//! Runs a signal file once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::record_batch::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::execution::context::SessionContext;
use futures::StreamExt as _;
use tollgate_policies::SignalType;

use super::{SignalFile, Value, Values};
use crate::sql::{QueryError, at_once};

/// More entities than this would be more than every reporter should have to keep.
const ENTITIES_MAX: usize = 10_000;
const TEXT_BYTES_MAX: usize = 1_024;

/// What a run gave: the signals of each entity.
pub(super) type Outcome = BTreeMap<Arc<str>, Values>;

/// Why a run gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum RunError {
    #[error("{0}")]
    Query(QueryError),
    #[error("more than {ENTITIES_MAX} entities: add a `HAVING` or a `LIMIT`")]
    TooManyEntities,
    #[error("more than one row for `{0}`: group by the first column only")]
    EntityTwice(Arc<str>),
    #[error("a text of `{0}` is longer than {TEXT_BYTES_MAX} bytes")]
    TextTooLong(Arc<str>),
}

impl<E: Into<QueryError>> From<E> for RunError {
    fn from(error: E) -> Self {
        Self::Query(error.into())
    }
}

/// Runs the query and reads its rows.
pub(super) async fn run(context: &SessionContext, file: &SignalFile) -> Result<Outcome, RunError> {
    let state = at_once(context.state());
    let frame = DataFrame::new(state.clone(), file.plan.clone());
    let mut batches = frame.execute_stream().await?;
    let mut outcome = Outcome::new();
    while let Some(batch) = batches.next().await {
        read(file, &batch?, &mut outcome)?;
        if outcome.len() > ENTITIES_MAX {
            return Err(RunError::TooManyEntities);
        }
    }
    Ok(outcome)
}

fn read(file: &SignalFile, batch: &RecordBatch, outcome: &mut Outcome) -> Result<(), RunError> {
    let entities = cast(batch.column(0), &DataType::Utf8)?;
    let entities = entities.as_string::<i32>();
    let mut rows: Vec<Values> = vec![Values::new(); batch.num_rows()];
    for ((name, signal_type), column) in file.signals.iter().zip(batch.columns().iter().skip(1)) {
        match signal_type {
            SignalType::Integer => {
                let column = cast(column, &DataType::Int64)?;
                fill(&mut rows, name, column.as_primitive::<Int64Type>().iter().map(|value| value.map(Value::Integer)));
            }
            SignalType::Text => {
                let column = cast(column, &DataType::Utf8)?;
                let texts = column.as_string::<i32>();
                if texts.iter().flatten().any(|text| text.len() > TEXT_BYTES_MAX) {
                    return Err(RunError::TextTooLong(Arc::clone(name)));
                }
                fill(&mut rows, name, texts.iter().map(|text| text.map(|text| Value::Text(text.into()))));
            }
        }
    }
    for (row, values) in rows.into_iter().enumerate() {
        // A row for no entity is nobody's: a query over requests of anonymous callers gives one.
        if entities.is_null(row) {
            continue;
        }
        let entity: Arc<str> = entities.value(row).into();
        if outcome.insert(Arc::clone(&entity), values).is_some() {
            return Err(RunError::EntityTwice(entity));
        }
    }
    Ok(())
}

/// A null is an absent signal.
fn fill(rows: &mut [Values], name: &Arc<str>, values: impl Iterator<Item = Option<Value>>) {
    for (row, value) in rows.iter_mut().zip(values) {
        if let Some(value) = value {
            row.insert(Arc::clone(name), value);
        }
    }
}
