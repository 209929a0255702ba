//! Walks an expression's tree. Every node is evaluated once, for all steps together.

mod aggregate;
mod counter;
mod functions;
mod histogram;
mod instant;
mod label_functions;
mod matching;
mod operators;
mod over_time;
mod range_vector;
mod selector;
mod vector_functions;

use promql_parser::parser::value::ValueType;
use promql_parser::parser::{Expr, ParenExpr};

use crate::answer::Answer;
use crate::columns::{Column, Output, Steps, Value};
use crate::error::Error;
use crate::options::{Budget, Options};
use crate::query::Range;
use crate::source::Source;

pub(crate) use self::selector::{FAR_MS, matchers};

/// One evaluation of one query.
pub(crate) struct Evaluator<'a> {
    source: &'a dyn Source,
    options: Options,
    budget: Budget,
    /// The query as it was written, for messages.
    text: &'a str,
    /// The whole query's first and last moment, for `@ start()` and `@ end()`.
    bounds: Steps,
}

impl<'a> Evaluator<'a> {
    pub(crate) const fn new(source: &'a dyn Source, options: Options, text: &'a str) -> Self {
        Self { source, options, budget: Budget::new(options), text, bounds: Steps::one(0) }
    }

    pub(crate) fn instant(mut self, expr: &Expr, time_ms: i64) -> Result<Answer, Error> {
        self.bounds = Steps::one(time_ms);
        let expr = without_parentheses(expr);
        if expr.value_type() == ValueType::Matrix {
            return self.raw(expr, self.bounds);
        }
        Ok(match self.eval(expr, self.bounds)? {
            Value::Scalar(values) => Answer::Scalar(time_ms, values.first().copied().unwrap_or(f64::NAN)),
            Value::Text(text) => Answer::Text(time_ms, text),
            Value::Vector(columns) => Answer::vector(time_ms, columns),
        })
    }

    pub(crate) fn range(mut self, expr: &Expr, range: Range) -> Result<Answer, Error> {
        let steps = Steps { start_ms: range.start_ms, end_ms: range.end_ms, step_ms: range.step_ms };
        self.bounds = steps;
        let columns = match self.eval(expr, steps)? {
            Value::Vector(columns) => columns,
            Value::Scalar(values) => {
                vec![Column { labels: crate::Labels::default(), values: values.into_iter().map(Some).collect() }]
            }
            Value::Text(_) => Vec::new(),
        };
        Ok(Answer::matrix(steps, columns))
    }

    fn eval(&self, expr: &Expr, steps: Steps) -> Result<Value, Error> {
        match expr {
            Expr::NumberLiteral(number) => self.constant(number.val, steps),
            Expr::StringLiteral(text) => Ok(Value::Text(text.val.clone())),
            Expr::Paren(inner) => self.eval(&inner.expr, steps),
            Expr::VectorSelector(selector) => Ok(Value::Vector(self.latest(selector, steps)?)),
            Expr::Unary(negated) => self.negate(&negated.expr, steps),
            Expr::Binary(binary) => self.binary(binary, steps),
            Expr::Aggregate(aggregate) => Ok(Value::Vector(self.aggregate(aggregate, steps)?)),
            Expr::Call(call) => self.call(call, steps),
            Expr::MatrixSelector(_) | Expr::Subquery(_) => {
                Err(Error::execution("a range vector stands where an instant vector or a number is wanted"))
            }
            Expr::Extension(_) => Err(self.unsupported("an extension", "")),
        }
    }

    fn vector(&self, expr: &Expr, steps: Steps) -> Result<Vec<Column>, Error> {
        match self.eval(expr, steps)? {
            Value::Vector(columns) => Ok(columns),
            Value::Scalar(_) | Value::Text(_) => Err(Error::execution(format!("`{expr}` is no instant vector"))),
        }
    }

    fn scalar(&self, expr: &Expr, steps: Steps) -> Result<Vec<f64>, Error> {
        match self.eval(expr, steps)? {
            Value::Scalar(values) => Ok(values),
            Value::Vector(_) | Value::Text(_) => Err(Error::execution(format!("`{expr}` is no scalar"))),
        }
    }

    fn text(expr: &Expr) -> Result<&str, Error> {
        match without_parentheses(expr) {
            Expr::StringLiteral(text) => Ok(&text.val),
            _ => Err(Error::execution(format!("`{expr}` is no text"))),
        }
    }

    fn constant(&self, value: f64, steps: Steps) -> Result<Value, Error> {
        self.budget.spend(steps.len() as u64)?;
        Ok(Value::Scalar(vec![value; steps.len()]))
    }

    fn negate(&self, expr: &Expr, steps: Steps) -> Result<Value, Error> {
        match self.eval(expr, steps)? {
            Value::Scalar(values) => Ok(Value::Scalar(values.into_iter().map(|value| -value).collect())),
            Value::Vector(columns) => Ok(Value::Vector(self.map(columns, |_, value| Some(-value))?)),
            Value::Text(_) => Err(Error::execution(format!("`{expr}` is neither a vector nor a number"))),
        }
    }

    /// Changes each value, given its step, and takes away the metrics' names.
    fn map(&self, columns: Vec<Column>, change: impl Fn(usize, f64) -> Option<f64>) -> Result<Vec<Column>, Error> {
        let Some(steps) = columns.first().map(|column| column.values.len()) else { return Ok(columns) };
        let mut output = Output::new(&self.budget, steps);
        for mut column in columns {
            for (step, value) in column.values.iter_mut().enumerate() {
                *value = value.and_then(|value| change(step, value));
            }
            output.add(column.labels.without_name(), &column.values)?;
        }
        Ok(output.finish())
    }

    fn output(&self, steps: Steps) -> Output<'_> {
        Output::new(&self.budget, steps.len())
    }

    /// `word` is what to look for in the query; empty where the place is unknown.
    fn unsupported(&self, what: impl Into<String>, word: &str) -> Error {
        let at = (!word.is_empty()).then(|| self.text.to_ascii_lowercase().find(&word.to_ascii_lowercase())).flatten();
        let place = at.map(|at| format!(" (character {} of the query)", self.text[..at].chars().count() + 1));
        Error::Unsupported { what: what.into(), place: place.unwrap_or_default() }
    }
}

fn without_parentheses(mut expr: &Expr) -> &Expr {
    while let Expr::Paren(ParenExpr { expr: inner }) = expr {
        expr = inner;
    }
    expr
}
