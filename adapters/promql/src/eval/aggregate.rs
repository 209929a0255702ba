//! Aggregation over series: `sum by (..)` and its like.

use std::collections::HashMap;

use promql_parser::parser::token::{
    self, T_AVG, T_BOTTOMK, T_COUNT, T_COUNT_VALUES, T_GROUP, T_MAX, T_MIN, T_QUANTILE, T_STDDEV, T_STDVAR, T_SUM,
    T_TOPK,
};
use promql_parser::parser::{AggregateExpr, Expr, LabelModifier};

use super::{Evaluator, counter, without_parentheses};
use crate::columns::{Column, Steps, Value};
use crate::error::Error;
use crate::labels::Labels;

/// The columns that an aggregation takes together, and their common labels.
type Group<'a> = (Labels, Vec<&'a Column>);

impl Evaluator<'_> {
    pub(super) fn aggregate(&self, aggregate: &AggregateExpr, steps: Steps) -> Result<Vec<Column>, Error> {
        let columns = self.aggregated(aggregate, steps)?;
        let groups = groups(&columns, aggregate.modifier.as_ref());
        let numbers = match &aggregate.param {
            Some(param) if aggregate.op.id() != T_COUNT_VALUES => Some(self.scalar(param, steps)?),
            _ => None,
        };
        match (aggregate.op.id(), numbers, &aggregate.param) {
            (op @ (T_TOPK | T_BOTTOMK), Some(numbers), _) => self.extremes(op == T_TOPK, &numbers, groups, steps),
            (T_QUANTILE, Some(numbers), _) => {
                self.fold(groups, steps, |step, values| Some(quantile(numbers[step], values)))
            }
            (T_COUNT_VALUES, _, Some(label)) => self.count_values(Self::text(label)?, groups, steps),
            (op, ..) => match folder(op) {
                Some(fold) => self.fold(groups, steps, |_, values| Some(fold(values))),
                None => {
                    let name = aggregate.op.to_string();
                    Err(self.unsupported(format!("the aggregation `{name}`"), &name))
                }
            },
        }
    }

    /// The operand. A sum of a counter's growth tells the source which labels matter.
    fn aggregated(&self, aggregate: &AggregateExpr, steps: Steps) -> Result<Vec<Column>, Error> {
        let summed_by = match (&aggregate.modifier, aggregate.op.id()) {
            (None, T_SUM) => Some(Vec::new()),
            (Some(LabelModifier::Include(labels)), T_SUM) => Some(labels.labels.clone()),
            _ => None,
        };
        match without_parentheses(&aggregate.expr) {
            Expr::Call(call) if counter::is_growth(call.func.name) => match self.call_summed(call, summed_by, steps)? {
                Value::Vector(columns) => Ok(columns),
                Value::Scalar(_) | Value::Text(_) => Ok(Vec::new()),
            },
            operand => self.vector(operand, steps),
        }
    }

    fn fold(
        &self,
        groups: Vec<Group<'_>>,
        steps: Steps,
        fold: impl Fn(usize, &mut [f64]) -> Option<f64>,
    ) -> Result<Vec<Column>, Error> {
        let mut output = self.output(steps);
        let mut values = Vec::new();
        for (labels, members) in groups {
            let column = output.column(labels)?;
            for step in 0..steps.len() {
                values.clear();
                values.extend(members.iter().filter_map(|member| member.values[step]));
                if let Some(value) = (!values.is_empty()).then(|| fold(step, &mut values)).flatten() {
                    output.put(column, step, value)?;
                }
            }
        }
        Ok(output.finish())
    }

    fn extremes(&self, top: bool, numbers: &[f64], groups: Vec<Group<'_>>, steps: Steps) -> Result<Vec<Column>, Error> {
        let mut output = self.output(steps);
        for (_, members) in groups {
            for (step, number) in numbers.iter().enumerate() {
                let present = members.iter().filter_map(|member| Some((member.values[step]?, *member)));
                let mut ranked: Vec<(f64, &Column)> = present.collect();
                ranked.sort_by(|(a, _), (b, _)| {
                    let order = if top { b.partial_cmp(a) } else { a.partial_cmp(b) };
                    order.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
                });
                for (value, member) in ranked.into_iter().take(how_many(*number)?) {
                    let column = output.column(member.labels.clone())?;
                    output.put(column, step, value)?;
                }
            }
        }
        Ok(output.finish())
    }

    fn count_values(&self, label: &str, groups: Vec<Group<'_>>, steps: Steps) -> Result<Vec<Column>, Error> {
        let mut output = self.output(steps);
        for (labels, members) in groups {
            for step in 0..steps.len() {
                let mut counts: HashMap<String, f64> = HashMap::new();
                for value in members.iter().filter_map(|member| member.values[step]) {
                    *counts.entry(plain(value)).or_default() += 1.0;
                }
                for (value, count) in counts {
                    let mut labels = labels.clone();
                    labels.set(label, value);
                    let column = output.column(labels)?;
                    output.put(column, step, count)?;
                }
            }
        }
        Ok(output.finish())
    }
}

/// Digits without an exponent, however many that takes.
fn plain(value: f64) -> String {
    if value.is_infinite() { crate::format_value(value) } else { value.to_string() }
}

fn how_many(number: f64) -> Result<usize, Error> {
    if number.is_nan() || number.abs() >= i64::MAX as f64 {
        return Err(Error::execution(format!("Scalar value {} overflows int64", crate::format_value(number))));
    }
    Ok(usize::try_from(number as i64).unwrap_or(0))
}

fn groups<'a>(columns: &'a [Column], modifier: Option<&LabelModifier>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut index: HashMap<Labels, usize> = HashMap::new();
    for column in columns {
        let labels = match modifier {
            None => Labels::default(),
            Some(LabelModifier::Include(names)) => column.labels.keep(&names.labels),
            Some(LabelModifier::Exclude(names)) => column.labels.without(&names.labels),
        };
        let at = *index.entry(labels).or_insert_with_key(|labels| {
            groups.push((labels.clone(), Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(column);
    }
    groups
}

fn folder(op: token::TokenId) -> Option<fn(&[f64]) -> f64> {
    Some(match op {
        T_SUM => |values| values.iter().sum(),
        T_AVG => mean,
        T_COUNT => |values| values.len() as f64,
        T_GROUP => |_| 1.0,
        T_MIN => |values| values.iter().copied().fold(f64::NAN, |a, b| if b < a || a.is_nan() { b } else { a }),
        T_MAX => |values| values.iter().copied().fold(f64::NAN, |a, b| if b > a || a.is_nan() { b } else { a }),
        T_STDDEV => |values| variance(values).sqrt(),
        T_STDVAR => variance,
        _ => return None,
    })
}

/// As a running mean, which cannot overflow.
fn mean(values: &[f64]) -> f64 {
    let (mut mean, mut count) = (0.0_f64, 0.0);
    for &value in values {
        count += 1.0;
        if mean.is_infinite() && (value.is_finite() || value == mean) {
            continue;
        }
        mean += value / count - mean / count;
    }
    mean
}

/// Welford's method.
fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - mean;
        mean += delta / count;
        squares += delta * (value - mean);
    }
    squares / count
}

/// Between the two values whose ranks are nearest. NaN counts as the smallest.
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = rank.floor() as usize;
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[(lower + 1).min(last)] * weight
}
