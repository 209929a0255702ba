//! Leaves out batches and files that a filter on the time rules out, without looking into them.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use tollgate_store::{HotBatch, SealedFile};

/// Rows of which the earliest and latest time are known.
pub(super) trait Timed {
    /// Earliest and latest time of a row, in microseconds since the epoch.
    fn times_us(&self) -> (i64, i64);
    fn rows(&self) -> u64;
}

impl Timed for HotBatch {
    fn times_us(&self) -> (i64, i64) {
        (self.time_min_us, self.time_max_us)
    }

    fn rows(&self) -> u64 {
        self.rows.num_rows() as u64
    }
}

impl Timed for SealedFile {
    fn times_us(&self) -> (i64, i64) {
        (self.time_min_us, self.time_max_us)
    }

    fn rows(&self) -> u64 {
        self.rows
    }
}

/// What a query's filters say about the time.
pub(super) struct TimeFilter {
    time: &'static str,
    predicate: Option<PruningPredicate>,
}

impl TimeFilter {
    pub(super) fn new(session: &dyn Session, filters: &[Expr], schema: SchemaRef, time: &'static str) -> Result<Self> {
        let is_on_time = |filter: &&Expr| filter.column_refs().iter().any(|column| column.name == time);
        let Some(filter) = conjunction(filters.iter().filter(is_on_time).cloned()) else {
            return Ok(Self { time, predicate: None });
        };
        let filter = session.create_physical_expr(filter, &DFSchema::try_from(Arc::clone(&schema))?)?;
        let predicate = PruningPredicateBuilder::new().with_file_schema(schema).try_build(filter)?;
        Ok(Self { time, predicate: Some(predicate) })
    }

    /// Those that may hold a row which passes the filters, newest first: whoever asks for the last rows is soon done.
    pub(super) fn newest<T: Timed>(&self, all: &[Arc<T>]) -> Result<Vec<Arc<T>>> {
        let mut kept: Vec<Arc<T>> = match &self.predicate {
            None => all.to_vec(),
            Some(predicate) => {
                let kept = predicate.prune(&Bounds { all, time: self.time })?;
                all.iter().zip(kept).filter(|(_, keep)| *keep).map(|(rows, _)| Arc::clone(rows)).collect()
            }
        };
        kept.sort_by_key(|rows| std::cmp::Reverse(rows.times_us().1));
        Ok(kept)
    }
}

/// What is known about each without looking into it.
struct Bounds<'a, T> {
    all: &'a [Arc<T>],
    time: &'a str,
}

impl<T: Timed> Bounds<'_, T> {
    fn times(&self, column: &Column, bound: fn((i64, i64)) -> i64) -> Option<ArrayRef> {
        if column.name != self.time {
            return None;
        }
        let times = self.all.iter().map(|rows| bound(rows.times_us()));
        Some(Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")))
    }
}

impl<T: Timed> PruningStatistics for Bounds<'_, T> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.times(column, |(earliest, _)| earliest)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.times(column, |(_, latest)| latest)
    }

    fn num_containers(&self) -> usize {
        self.all.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        (column.name == self.time).then(|| Arc::new(UInt64Array::from(vec![0; self.all.len()])) as ArrayRef)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.all.iter().map(|rows| rows.rows()))))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
