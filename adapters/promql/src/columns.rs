//! What an expression is at each step of a query.

use std::collections::HashMap;

use crate::error::Error;
use crate::labels::Labels;
use crate::options::Budget;

/// The moments at which an expression is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// 0 where there is one moment only.
    pub(crate) step_ms: i64,
}

impl Steps {
    pub(crate) const fn one(time_ms: i64) -> Self {
        Self { start_ms: time_ms, end_ms: time_ms, step_ms: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        let count = if self.step_ms > 0 { (self.end_ms - self.start_ms) / self.step_ms + 1 } else { 1 };
        usize::try_from(count).unwrap_or(0)
    }

    pub(crate) fn times(self) -> impl Iterator<Item = i64> {
        (0_i64..).take(self.len()).map(move |index| self.start_ms + index * self.step_ms)
    }
}

/// One series' value at each step, where it has one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) labels: Labels,
    pub(crate) values: Vec<Option<f64>>,
}

/// What an expression that is no range vector is at each step.
#[derive(Debug)]
pub(crate) enum Value {
    Scalar(Vec<f64>),
    Vector(Vec<Column>),
    Text(String),
}

/// Collects columns. Series that have the same labels become one, as long as they never have a value at the same step.
pub(crate) struct Output<'a> {
    budget: &'a Budget,
    steps: usize,
    columns: Vec<Column>,
    index: HashMap<Labels, usize>,
}

impl<'a> Output<'a> {
    pub(crate) fn new(budget: &'a Budget, steps: usize) -> Self {
        Self { budget, steps, columns: Vec::new(), index: HashMap::new() }
    }

    /// Place of the column with these labels.
    pub(crate) fn column(&mut self, labels: Labels) -> Result<usize, Error> {
        if let Some(&at) = self.index.get(&labels) {
            return Ok(at);
        }
        self.budget.spend(self.steps as u64)?;
        let at = self.columns.len();
        self.columns.push(Column { labels: labels.clone(), values: vec![None; self.steps] });
        self.index.insert(labels, at);
        Ok(at)
    }

    /// Sets one value.
    pub(crate) fn put(&mut self, column: usize, step: usize, value: f64) -> Result<(), Error> {
        match &mut self.columns[column].values[step] {
            Some(_) => Err(Error::same_labels()),
            cell => {
                *cell = Some(value);
                Ok(())
            }
        }
    }

    /// Adds what a series became under these labels.
    pub(crate) fn add(&mut self, labels: Labels, values: &[Option<f64>]) -> Result<(), Error> {
        let column = self.column(labels)?;
        for (step, value) in values.iter().enumerate() {
            if let Some(value) = value {
                self.put(column, step, *value)?;
            }
        }
        Ok(())
    }

    /// Those that have a value anywhere.
    pub(crate) fn finish(self) -> Vec<Column> {
        self.columns.into_iter().filter(|column| column.values.iter().any(Option::is_some)).collect()
    }
}
