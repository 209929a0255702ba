//! Selectors: which series, of which moment.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{AtModifier, Offset, VectorSelector};

use super::{Evaluator, counter};
use crate::columns::{Column, Steps};
use crate::error::Error;
use crate::labels::METRIC_NAME;
use crate::source::{Samples, Selection, Series};

/// Bits of the value with which Prometheus marks the end of a series.
const STALE: u64 = 0x7ff0_0000_0000_0002;
/// Times and durations beyond this, 31,000 years, are cut off, so that sums of a few of them stay in range.
pub(crate) const FAR_MS: i64 = 1_000_000_000_000_000;

/// All matchers of a selector, its name among them; what is not supported of it otherwise.
pub(crate) fn matchers(selector: &VectorSelector) -> Result<Vec<Matcher>, String> {
    if !selector.matchers.or_matchers.is_empty() {
        return Err("`or` between matchers".to_owned());
    }
    let name = selector.name.iter().map(|name| Matcher::new(MatchOp::Equal, METRIC_NAME, name));
    Ok(name.chain(selector.matchers.matchers.iter().cloned()).collect())
}

pub(super) fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(FAR_MS).min(FAR_MS)
}

/// From a step's moment to the one that a selector or subquery looks at: `offset` and `@`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reference {
    at_ms: Option<i64>,
    offset_ms: i64,
}

impl Reference {
    pub(super) fn of(self, step_ms: i64) -> i64 {
        self.at_ms.unwrap_or(step_ms) - self.offset_ms
    }

    /// The moments of all steps. With `@` they are one and the same.
    pub(super) fn times(self, steps: Steps) -> impl Iterator<Item = i64> {
        steps.times().map(move |step_ms| self.of(step_ms))
    }

    /// Whether every step looks at the same moment.
    pub(super) const fn is_fixed(self) -> bool {
        self.at_ms.is_some()
    }
}

/// What a selector is for.
pub(super) struct Purpose {
    pub(super) function: Option<&'static str>,
    pub(super) range_ms: Option<i64>,
    pub(super) summed_by: Option<Vec<String>>,
}

impl Evaluator<'_> {
    pub(super) fn reference(&self, at: Option<&AtModifier>, offset: Option<&Offset>) -> Reference {
        let at_ms = at.map(|at| match at {
            AtModifier::Start => self.bounds.start_ms,
            AtModifier::End => self.bounds.end_ms,
            AtModifier::At(time) => since_epoch(*time),
        });
        let offset_ms = match offset {
            None => 0,
            Some(Offset::Pos(offset)) => millis(*offset),
            Some(Offset::Neg(offset)) => -millis(*offset),
        };
        Reference { at_ms, offset_ms }
    }

    /// Reads the series of a selector, for all steps.
    pub(super) fn select(
        &self,
        selector: &VectorSelector,
        purpose: Purpose,
        steps: Steps,
    ) -> Result<(Vec<Series>, Reference), Error> {
        let matchers = matchers(selector).map_err(|what| self.unsupported(what, ""))?;
        let reference = self.reference(selector.at.as_ref(), selector.offset.as_ref());
        let window_ms = self.options.lookback_ms.max(purpose.range_ms.unwrap_or(0));
        let selection = Selection {
            matchers,
            start_ms: reference.of(steps.start_ms) - window_ms,
            end_ms: reference.of(steps.end_ms),
            step_ms: if reference.is_fixed() { 0 } else { steps.step_ms },
            range_ms: purpose.range_ms,
            totals: !purpose.function.is_some_and(counter::is_growth),
            function: purpose.function,
            summed_by: purpose.summed_by,
        };
        let series = self.source.select(&selection)?;
        self.budget.series(series.len())?;
        self.budget.spend(series.iter().map(|series| size(&series.samples)).sum())?;
        Ok((series, reference))
    }

    /// The newest value of each series at each step.
    pub(super) fn latest(&self, selector: &VectorSelector, steps: Steps) -> Result<Vec<Column>, Error> {
        self.latest_as(selector, steps, |_, value| value)
    }

    /// As [`Self::latest`], with what becomes of each sample.
    pub(super) fn latest_as(
        &self,
        selector: &VectorSelector,
        steps: Steps,
        read: impl Fn(i64, f64) -> f64,
    ) -> Result<Vec<Column>, Error> {
        let purpose = Purpose { function: None, range_ms: None, summed_by: None };
        let (series, reference) = self.select(selector, purpose, steps)?;
        let mut output = self.output(steps);
        for series in series {
            let column = output.column(series.labels)?;
            let points = counter::into_points(series.samples);
            let mut next = 0;
            for (step, time_ms) in reference.times(steps).enumerate() {
                next += points[next..].partition_point(|&(at_ms, _)| at_ms <= time_ms);
                let newest = next.checked_sub(1).map(|last| points[last]);
                let fresh =
                    newest.filter(|&(at_ms, value)| at_ms >= time_ms - self.options.lookback_ms && !is_stale(value));
                if let Some((at_ms, value)) = fresh {
                    output.put(column, step, read(at_ms, value))?;
                }
            }
        }
        Ok(output.finish())
    }
}

fn since_epoch(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

fn size(samples: &Samples) -> u64 {
    match samples {
        Samples::Points(points) => points.len() as u64,
        Samples::Increments(counter) => counter.intervals.len() as u64,
    }
}
