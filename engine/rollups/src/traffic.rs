//! `traffic`: requests, bytes, errors and durations by direction, source, destination, route, method, status, decision and
//! mutual TLS.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::cell::{Cell, KeyColumn};
use crate::error::RollupError;
use crate::histogram::{Histogram, HistogramBuilder, HistogramColumns};
use crate::key::{DECISION, DESTINATION, DIRECTION, Fold, METHOD, MTLS, ROUTE, SOURCE, STATUS};
use crate::rows::{column, integers};
use crate::status::{EXACT_MASK, MTLS_MASK};
use crate::tables::traffic_schema;

/// What a key of `traffic` gives up, step by step.
pub(crate) const STEPS: [Fold; 3] = [
    Fold::of(&[ROUTE]),
    Fold::clearing(EXACT_MASK, &[ROUTE, SOURCE]),
    Fold::clearing(EXACT_MASK | MTLS_MASK, &[ROUTE, SOURCE, DESTINATION, METHOD]),
];

/// Numbers of one row of `traffic`. Sums saturate at 2^63 - 1.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    requests: i64,
    request_bytes: i64,
    response_bytes: i64,
    errors: i64,
    duration_sum_us: i64,
    duration_min_us: i64,
    duration_max_us: i64,
    histogram: Histogram,
}

/// What one request adds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observation {
    pub(crate) weight: i64,
    pub(crate) request_bytes: i64,
    pub(crate) response_bytes: i64,
    pub(crate) duration_us: i64,
    pub(crate) is_error: bool,
}

impl Tally {
    #[inline]
    pub(crate) fn count(&mut self, seen: Observation) {
        let weighted = |value: i64| value.max(0).saturating_mul(seen.weight);
        self.requests = self.requests.saturating_add(seen.weight);
        self.request_bytes = self.request_bytes.saturating_add(weighted(seen.request_bytes));
        self.response_bytes = self.response_bytes.saturating_add(weighted(seen.response_bytes));
        self.errors = self.errors.saturating_add(if seen.is_error { seen.weight } else { 0 });
        let duration_us = seen.duration_us.max(0);
        self.duration_sum_us = self.duration_sum_us.saturating_add(weighted(duration_us));
        self.duration_min_us = self.duration_min_us.min(duration_us);
        self.duration_max_us = self.duration_max_us.max(duration_us);
        self.histogram.record(duration_us, seen.weight);
    }

    /// Everything but the histogram.
    fn absorb_numbers(&mut self, other: Numbers) {
        self.requests = self.requests.saturating_add(other.requests);
        self.request_bytes = self.request_bytes.saturating_add(other.request_bytes);
        self.response_bytes = self.response_bytes.saturating_add(other.response_bytes);
        self.errors = self.errors.saturating_add(other.errors);
        self.duration_sum_us = self.duration_sum_us.saturating_add(other.duration_sum_us);
        self.duration_min_us = self.duration_min_us.min(other.duration_min_us);
        self.duration_max_us = self.duration_max_us.max(other.duration_max_us);
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            requests: 0,
            request_bytes: 0,
            response_bytes: 0,
            errors: 0,
            duration_sum_us: 0,
            duration_min_us: i64::MAX,
            duration_max_us: 0,
            histogram: Histogram::default(),
        }
    }
}

/// The columns of numbers, each generic over what holds it.
macro_rules! numbers {
    ($($name:ident),*) => {
        #[derive(Debug, Clone, Copy)]
        struct Numbers { $($name: i64),* }

        /// Columns of `traffic` being written.
        #[derive(Debug, Default)]
        pub(crate) struct TallyValues { $($name: Vec<i64>,)* histogram: HistogramBuilder }

        /// Columns of `traffic` being read.
        #[derive(Debug)]
        pub(crate) struct TallyColumns<'a> { $($name: &'a [i64],)* histogram: HistogramColumns<'a> }

        impl From<&Tally> for Numbers {
            fn from(tally: &Tally) -> Self {
                Self { $($name: tally.$name),* }
            }
        }

        impl TallyValues {
            fn push(&mut self, tally: &Tally) {
                $(self.$name.push(tally.$name);)*
                self.histogram.push(Some(tally.histogram.view()));
            }

            fn finish(self) -> Result<Vec<ArrayRef>, ArrowError> {
                let histogram = self.histogram.finish()?;
                Ok(vec![
                    $(Arc::new(Int64Array::from(self.$name)),)*
                    histogram.offsets, histogram.counts, histogram.zeros,
                ])
            }
        }

        impl<'a> TallyColumns<'a> {
            fn try_new(rows: &'a RecordBatch) -> Result<Self, RollupError> {
                let histogram = HistogramColumns::try_new(
                    column(rows, "duration_offset")?,
                    column(rows, "duration_counts")?,
                    column(rows, "duration_zero")?,
                )?;
                Ok(Self { $($name: integers(rows, stringify!($name))?,)* histogram })
            }

            fn numbers(&self, row: usize) -> Numbers {
                Numbers { $($name: self.$name[row]),* }
            }
        }
    };
}

numbers!(requests, request_bytes, response_bytes, errors, duration_sum_us, duration_min_us, duration_max_us);

impl Cell for Tally {
    type Values = TallyValues;
    type Columns<'a> = TallyColumns<'a>;

    const KEYS: &'static [(&'static str, KeyColumn)] = &[
        ("direction", KeyColumn::Texts(DIRECTION)),
        ("source", KeyColumn::Texts(SOURCE)),
        ("destination", KeyColumn::Texts(DESTINATION)),
        ("route", KeyColumn::Texts(ROUTE)),
        ("method", KeyColumn::Texts(METHOD)),
        ("status_class", KeyColumn::Class(STATUS)),
        ("status", KeyColumn::Status(STATUS)),
        ("decision", KeyColumn::Texts(DECISION)),
        ("is_mtls", KeyColumn::Flag(MTLS)),
    ];

    fn schema() -> SchemaRef {
        traffic_schema()
    }

    fn requests(&self) -> i64 {
        self.requests
    }

    fn heap_bytes(&self) -> usize {
        self.histogram.heap_bytes()
    }

    fn clear(&mut self) {
        let mut histogram = std::mem::take(&mut self.histogram);
        histogram.clear();
        *self = Self { histogram, ..Self::default() };
    }

    fn absorb(&mut self, other: &Self) {
        self.absorb_numbers(other.into());
        self.histogram.absorb(other.histogram.view());
    }

    fn push(&self, values: &mut TallyValues) {
        values.push(self);
    }

    fn finish(values: TallyValues) -> Result<Vec<ArrayRef>, ArrowError> {
        values.finish()
    }

    fn columns(rows: &RecordBatch) -> Result<TallyColumns<'_>, RollupError> {
        TallyColumns::try_new(rows)
    }

    fn absorb_row(&mut self, columns: &TallyColumns<'_>, row: usize) -> Result<(), RollupError> {
        if let Some(view) = columns.histogram.get(row)? {
            self.histogram.absorb(view);
        }
        self.absorb_numbers(columns.numbers(row));
        Ok(())
    }
}
