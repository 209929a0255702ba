//! How queries are evaluated and how much they may take.

use std::cell::Cell;
use std::time::Instant;

use crate::error::Error;

/// Points of one series that a range query may ask for, as in Prometheus.
pub(crate) const POINTS_MAX: i64 = 11_000;

/// Rules for one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How old the newest sample of a series may be for the series still to have a value.
    pub lookback_ms: i64,
    /// Step of a subquery that names none.
    pub subquery_step_ms: i64,
    /// Series that one selector may give.
    pub series_max: u64,
    /// Samples that may be read and computed. A computed one takes 16 bytes.
    pub samples_max: u64,
    /// When to give up.
    pub deadline: Option<Instant>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lookback_ms: 300_000,
            subquery_step_ms: 60_000,
            series_max: 50_000,
            samples_max: 20_000_000,
            deadline: None,
        }
    }
}

/// What is left of a query's share.
pub(crate) struct Budget {
    samples_left: Cell<u64>,
    options: Options,
}

impl Budget {
    pub(crate) const fn new(options: Options) -> Self {
        Self { samples_left: Cell::new(options.samples_max), options }
    }

    /// Takes samples before they are read or computed, and looks at the clock.
    pub(crate) fn spend(&self, samples: u64) -> Result<(), Error> {
        let Some(left) = self.samples_left.get().checked_sub(samples) else {
            let advice = "ask for fewer series, a shorter span or a longer step";
            return Err(Error::Limit { what: "samples", max: self.options.samples_max, advice });
        };
        self.samples_left.set(left);
        self.in_time()
    }

    /// Refuses a selector that gives too much.
    pub(crate) fn series(&self, series: usize) -> Result<(), Error> {
        if series as u64 > self.options.series_max {
            let advice = "narrow the selector down by more labels";
            return Err(Error::Limit { what: "series", max: self.options.series_max, advice });
        }
        Ok(())
    }

    fn in_time(&self) -> Result<(), Error> {
        match self.options.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Error::Timeout),
            _ => Ok(()),
        }
    }
}
