//! Range vectors: the series that a window slides over, and subqueries that make such series.

use promql_parser::parser::{Expr, MatrixSelector, SubqueryExpr};

use super::selector::{Purpose, Reference, is_stale, millis};
use super::{Evaluator, counter, without_parentheses};
use crate::answer::Answer;
use crate::columns::{Column, Steps};
use crate::error::Error;
use crate::labels::Labels;
use crate::source::{Samples, Series};

/// Series and the window over them.
pub(super) struct RangeVector {
    pub(super) series: Vec<Series>,
    pub(super) reference: Reference,
    pub(super) range_ms: i64,
}

/// What one window holds.
pub(super) struct Window<'a> {
    /// By rising time; never empty.
    pub(super) samples: &'a [(i64, f64)],
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    /// Moment of the step.
    pub(super) step_ms: i64,
}

impl Evaluator<'_> {
    pub(super) fn range_vector(
        &self,
        expr: &Expr,
        function: &'static str,
        summed_by: Option<Vec<String>>,
        steps: Steps,
    ) -> Result<RangeVector, Error> {
        match without_parentheses(expr) {
            Expr::MatrixSelector(MatrixSelector { vs, range }) => {
                let range_ms = millis(*range);
                let purpose = Purpose { function: Some(function), range_ms: Some(range_ms), summed_by };
                let (series, reference) = self.select(vs, purpose, steps)?;
                Ok(RangeVector { series, reference, range_ms })
            }
            Expr::Subquery(subquery) => self.subquery(subquery, steps),
            other => Err(Error::execution(format!("`{other}` is no range vector"))),
        }
    }

    fn subquery(&self, subquery: &SubqueryExpr, steps: Steps) -> Result<RangeVector, Error> {
        let range_ms = millis(subquery.range);
        let step_ms = subquery.step.map_or(self.options.subquery_step_ms, millis).max(1);
        let reference = self.reference(subquery.at.as_ref(), subquery.offset.as_ref());
        // Steps lie at multiples of their length, whatever the moment of the query.
        let from_ms = reference.of(steps.start_ms) - range_ms;
        let start_ms = from_ms.div_euclid(step_ms) * step_ms;
        let start_ms = if start_ms < from_ms { start_ms + step_ms } else { start_ms };
        let end_ms = reference.of(steps.end_ms);
        if end_ms < start_ms {
            return Ok(RangeVector { series: Vec::new(), reference, range_ms });
        }
        let inner = Steps { start_ms, end_ms, step_ms };
        self.budget.spend(inner.len() as u64)?;
        let series = self.vector(&subquery.expr, inner)?.into_iter().map(|column| series(column, inner)).collect();
        Ok(RangeVector { series, reference, range_ms })
    }

    /// What a range selector or subquery gives when it is the whole query.
    pub(super) fn raw(&self, expr: &Expr, steps: Steps) -> Result<Answer, Error> {
        let vector = self.range_vector(expr, "", None, steps)?;
        let end_ms = vector.reference.of(steps.start_ms);
        let within = |series: Series| {
            let points = counter::into_points(series.samples).into_iter();
            let wanted = points
                .filter(|&(at_ms, value)| (end_ms - vector.range_ms..=end_ms).contains(&at_ms) && !is_stale(value));
            (series.labels, wanted.collect::<Vec<_>>())
        };
        let series = vector.series.into_iter().map(within).filter(|(_, samples)| !samples.is_empty());
        let mut series: Vec<(Labels, Vec<(i64, f64)>)> = series.collect();
        series.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Answer::Matrix(series))
    }
}

impl RangeVector {
    /// Gives every window that is not empty to `compute`, with the number of its step.
    pub(super) fn slide(
        &self,
        points: &[(i64, f64)],
        steps: Steps,
        mut compute: impl FnMut(usize, Window<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut first, mut after) = (0, 0);
        for (step, step_ms) in steps.times().enumerate() {
            let end_ms = self.reference.of(step_ms);
            let start_ms = end_ms - self.range_ms;
            first += points[first..].partition_point(|&(at_ms, _)| at_ms < start_ms);
            after += points[after..].partition_point(|&(at_ms, _)| at_ms <= end_ms);
            if first < after {
                compute(step, Window { samples: &points[first..after], start_ms, end_ms, step_ms })?;
            }
        }
        Ok(())
    }
}

fn series(column: Column, steps: Steps) -> Series {
    let points = steps.times().zip(column.values).filter_map(|(at_ms, value)| Some((at_ms, value?)));
    Series { labels: column.labels, samples: Samples::Points(points.collect()) }
}
