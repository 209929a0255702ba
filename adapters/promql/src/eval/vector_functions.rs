//! Functions of a whole vector, or of its absence.

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::Expr;

use super::selector::{is_stale, matchers};
use super::{Evaluator, counter, instant, without_parentheses};
use crate::columns::{Column, Steps, Value};
use crate::error::Error;
use crate::labels::{Labels, METRIC_NAME};

impl Evaluator<'_> {
    pub(super) fn as_vector(&self, arg: &Expr, steps: Steps) -> Result<Vec<Column>, Error> {
        let values = self.scalar(arg, steps)?;
        Ok(vec![Column { labels: Labels::default(), values: values.into_iter().map(Some).collect() }])
    }

    pub(super) fn time_vector(&self, steps: Steps) -> Result<Vec<Column>, Error> {
        self.budget.spend(steps.len() as u64)?;
        let values = steps.times().map(|time_ms| Some(time_ms as f64 / 1000.0)).collect();
        Ok(vec![Column { labels: Labels::default(), values }])
    }

    /// The vector's value where it has exactly one, else NaN.
    pub(super) fn only_value(&self, arg: &Expr, steps: Steps) -> Result<Vec<f64>, Error> {
        let columns = self.vector(arg, steps)?;
        let at = |step: usize| {
            let mut values = columns.iter().filter_map(|column| column.values[step]);
            match (values.next(), values.next()) {
                (Some(only), None) => only,
                _ => f64::NAN,
            }
        };
        Ok((0..steps.len()).map(at).collect())
    }

    pub(super) fn absent(&self, arg: &Expr, steps: Steps) -> Result<Vec<Column>, Error> {
        let columns = self.vector(arg, steps)?;
        self.where_absent(arg, &columns, steps)
    }

    pub(super) fn absent_over_time(&self, arg: &Expr, steps: Steps) -> Result<Vec<Column>, Error> {
        let mut vector = self.range_vector(arg, "absent_over_time", None, steps)?;
        let mut present = vec![None; steps.len()];
        for series in std::mem::take(&mut vector.series) {
            let mut points = counter::into_points(series.samples);
            points.retain(|&(_, value)| !is_stale(value));
            vector.slide(&points, steps, |step, _| {
                present[step] = Some(1.0);
                Ok(())
            })?;
        }
        self.where_absent(arg, &[Column { labels: Labels::default(), values: present }], steps)
    }

    fn where_absent(&self, arg: &Expr, columns: &[Column], steps: Steps) -> Result<Vec<Column>, Error> {
        self.budget.spend(steps.len() as u64)?;
        let is_absent = |step: usize| columns.iter().all(|column| column.values[step].is_none());
        let values: Vec<Option<f64>> = (0..steps.len()).map(|step| is_absent(step).then_some(1.0)).collect();
        let column = Column { labels: absent_labels(arg), values };
        Ok(if column.values.iter().any(Option::is_some) { vec![column] } else { Vec::new() })
    }

    /// When each value was sampled, for a selector; the step's moment for everything else.
    pub(super) fn timestamp(&self, arg: &Expr, steps: Steps) -> Result<Vec<Column>, Error> {
        if let Expr::VectorSelector(selector) = without_parentheses(arg) {
            let columns = self.latest_as(selector, steps, |at_ms, _| at_ms as f64 / 1000.0)?;
            return self.map(columns, |_, seconds| Some(seconds));
        }
        let columns = self.vector(arg, steps)?;
        let times: Vec<i64> = steps.times().collect();
        self.map(columns, |step, _| Some(times[step] as f64 / 1000.0))
    }

    /// Sorted by value; a range query sorts its answer by labels anyway.
    pub(super) fn sorted(&self, arg: &Expr, descending: bool, steps: Steps) -> Result<Vec<Column>, Error> {
        let mut columns = self.vector(arg, steps)?;
        let value = |column: &Column| column.values.first().copied().flatten().unwrap_or(f64::NAN);
        columns.sort_by(|a, b| {
            let (a, b) = (value(a), value(b));
            // NaN comes last in both directions.
            let order = if descending { b.partial_cmp(&a) } else { a.partial_cmp(&b) };
            order.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        });
        Ok(columns)
    }

    pub(super) fn round(&self, args: &[Box<Expr>], steps: Steps) -> Result<Vec<Column>, Error> {
        let columns = self.vector(&args[0], steps)?;
        let nearest = args.get(1).map(|to| self.scalar(to, steps)).transpose()?;
        self.map(columns, |step, value| {
            // Dividing by the inverse, and not multiplying, gives 0.1 and not 0.1000...01.
            let inverse = 1.0 / nearest.as_ref().map_or(1.0, |to| to[step]);
            Some((value * inverse + 0.5).floor() / inverse)
        })
    }

    pub(super) fn clamp(
        &self,
        arg: &Expr,
        low: Option<&Expr>,
        high: Option<&Expr>,
        steps: Steps,
    ) -> Result<Vec<Column>, Error> {
        let columns = self.vector(arg, steps)?;
        let bound = |bound: Option<&Expr>| bound.map(|bound| self.scalar(bound, steps)).transpose();
        let (low, high) = (bound(low)?, bound(high)?);
        self.map(columns, |step, value| {
            let (low, high) = (low.as_ref().map(|low| low[step]), high.as_ref().map(|high| high[step]));
            if matches!((low, high), (Some(low), Some(high)) if high < low) {
                return None;
            }
            let value = high.map_or(value, |high| instant::min(high, value));
            Some(low.map_or(value, |low| instant::max(low, value)))
        })
    }

    pub(super) fn vector_or_scalar(&self, expr: &Expr, steps: Steps) -> Result<Value, Error> {
        match self.eval(expr, steps)? {
            Value::Text(_) => {
                Err(Error::execution(format!("`{expr}` is a text, where a vector or a number is wanted")))
            }
            value => Ok(value),
        }
    }
}

/// What the selector says for certain about a series that would match it.
fn absent_labels(arg: &Expr) -> Labels {
    let selector = match without_parentheses(arg) {
        Expr::VectorSelector(selector) => selector,
        Expr::MatrixSelector(selector) => &selector.vs,
        _ => return Labels::default(),
    };
    let all = matchers(selector).unwrap_or_default();
    let known: Vec<&Matcher> = all.iter().filter(|matcher| matcher.name != METRIC_NAME).collect();
    let is_certain = |matcher: &&Matcher| {
        matches!(matcher.op, MatchOp::Equal) && known.iter().filter(|other| other.name == matcher.name).count() == 1
    };
    let certain = known.iter().copied().filter(is_certain);
    certain.map(|matcher| (matcher.name.as_str(), matcher.value.as_str())).collect()
}
