//! Calls of functions, by name.

use promql_parser::parser::{Call, Expr};

use super::range_vector::RangeVector;
use super::selector::is_stale;
use super::{Evaluator, counter, instant, over_time};
use crate::columns::{Column, Output, Steps, Value};
use crate::error::Error;
use crate::labels::Labels;
use crate::source::Samples;

impl Evaluator<'_> {
    pub(super) fn call(&self, call: &Call, steps: Steps) -> Result<Value, Error> {
        self.call_summed(call, None, steps)
    }

    /// A call whose series are added up afterwards, for all that the query looks at, by these labels.
    pub(super) fn call_summed(
        &self,
        call: &Call,
        summed_by: Option<Vec<String>>,
        steps: Steps,
    ) -> Result<Value, Error> {
        let name = call.func.name;
        let args = &call.args.args;
        match name {
            "time" => self.moments(steps, |time_ms| time_ms as f64 / 1000.0),
            "pi" => self.constant(std::f64::consts::PI, steps),
            "scalar" => Ok(Value::Scalar(self.only_value(&args[0], steps)?)),
            "vector" => Ok(Value::Vector(self.as_vector(&args[0], steps)?)),
            _ if over_time::find(name).is_some() => Ok(Value::Vector(self.over_time(name, args, summed_by, steps)?)),
            _ => match self.vector_function(name, args, steps)? {
                Some(columns) => Ok(Value::Vector(columns)),
                None => Err(self.unsupported(format!("the function `{name}`"), name)),
            },
        }
    }

    fn vector_function(&self, name: &str, args: &[Box<Expr>], steps: Steps) -> Result<Option<Vec<Column>>, Error> {
        Ok(Some(match name {
            "absent" => self.absent(&args[0], steps)?,
            "absent_over_time" => self.absent_over_time(&args[0], steps)?,
            "timestamp" => self.timestamp(&args[0], steps)?,
            "sort" | "sort_desc" => self.sorted(&args[0], name == "sort_desc", steps)?,
            "label_replace" => self.label_replace(args, steps)?,
            "label_join" => self.label_join(args, steps)?,
            "histogram_quantile" => self.histogram_quantile(&args[0], &args[1], steps)?,
            "round" => self.round(args, steps)?,
            "clamp" => self.clamp(&args[0], Some(&args[1]), Some(&args[2]), steps)?,
            "clamp_min" => self.clamp(&args[0], Some(&args[1]), None, steps)?,
            "clamp_max" => self.clamp(&args[0], None, Some(&args[1]), steps)?,
            _ => {
                if let Some(change) = instant::of_number(name) {
                    let columns = self.vector(&args[0], steps)?;
                    return Ok(Some(self.map(columns, |_, value| Some(change(value)))?));
                }
                let Some(read) = instant::of_time(name) else { return Ok(None) };
                let columns = match args.first() {
                    Some(arg) => self.vector(arg, steps)?,
                    None => self.time_vector(steps)?,
                };
                self.map(columns, |_, seconds| read(seconds))?
            }
        }))
    }

    /// A function of windows over series.
    fn over_time(
        &self,
        name: &'static str,
        args: &[Box<Expr>],
        summed_by: Option<Vec<String>>,
        steps: Steps,
    ) -> Result<Vec<Column>, Error> {
        // `quantile_over_time` has its number first, `predict_linear` last.
        let (vector, number) = match args {
            [number, vector] if name == "quantile_over_time" => (vector, Some(number)),
            [vector, number] => (vector, Some(number)),
            [vector, ..] => (vector, None),
            [] => return Err(Error::execution(format!("`{name}` has no arguments"))),
        };
        let numbers = number.map(|number| self.scalar(number, steps)).transpose()?;
        let mut vector = self.range_vector(vector, name, summed_by, steps)?;
        let mut output = self.output(steps);
        for series in std::mem::take(&mut vector.series) {
            let keeps_name = matches!(name, "last_over_time" | "first_over_time");
            let labels = if keeps_name { series.labels } else { series.labels.without_name() };
            let target = (&mut output, labels);
            self.one_over_time(name, numbers.as_deref(), &vector, series.samples, target, steps)?;
        }
        Ok(output.finish())
    }

    fn one_over_time(
        &self,
        name: &str,
        numbers: Option<&[f64]>,
        vector: &RangeVector,
        samples: Samples,
        (output, labels): (&mut Output<'_>, Labels),
        steps: Steps,
    ) -> Result<(), Error> {
        let column = output.column(labels)?;
        if let Samples::Increments(increments) = &samples
            && counter::is_growth(name)
        {
            let growth = counter::Growth::new(increments, vector.range_ms, self.options.lookback_ms);
            for (step, time_ms) in vector.reference.times(steps).enumerate() {
                if let Some(value) = growth.at(name, time_ms) {
                    output.put(column, step, value)?;
                }
            }
            return Ok(());
        }
        let mut points = counter::into_points(samples);
        points.retain(|&(_, value)| !is_stale(value));
        let Some(function) = over_time::find(name) else { return Ok(()) };
        vector.slide(&points, steps, |step, window| {
            let number = numbers.map_or(f64::NAN, |numbers| numbers[step]);
            function(&window, number).map_or(Ok(()), |value| output.put(column, step, value))
        })
    }

    fn moments(&self, steps: Steps, read: impl Fn(i64) -> f64) -> Result<Value, Error> {
        self.budget.spend(steps.len() as u64)?;
        Ok(Value::Scalar(steps.times().map(read).collect()))
    }
}
