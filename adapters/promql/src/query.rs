//! A parsed query, and what can be done with it.

mod text;

use std::cell::RefCell;

use promql_parser::label::Matcher;
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{self, Expr};

use crate::answer::Answer;
use crate::error::Error;
use crate::eval::{Evaluator, FAR_MS};
use crate::options::{Options, POINTS_MAX};
use crate::source::{Selection, Series, Source, SourceError};

/// A query longer than this is refused.
pub const QUERY_BYTES_MAX: usize = 64 * 1024;

/// One PromQL expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    expr: Expr,
    text: String,
}

/// The moments of a range query: `start_ms`, and every `step_ms` after it up to `end_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Milliseconds since the epoch.
    pub start_ms: i64,
    /// Milliseconds since the epoch.
    pub end_ms: i64,
    /// Above 0.
    pub step_ms: i64,
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// [`Error::BadData`] if it is no PromQL, or far too long or too deeply nested.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(Self { expr: parse(text)?, text: text.to_owned() })
    }

    /// The answer at one moment.
    ///
    /// # Errors
    /// If the query is not supported, does not fit the data, or takes too much.
    pub fn instant(&self, source: &dyn Source, time_ms: i64, options: &Options) -> Result<Answer, Error> {
        Evaluator::new(source, *options, &self.text).instant(&self.expr, time_ms.clamp(-FAR_MS, FAR_MS))
    }

    /// The answer at each step of a range.
    ///
    /// # Errors
    /// As [`Query::instant`]; also if the range is empty or has more than 11,000 steps, or if the query is a range vector or a text.
    pub fn range(&self, source: &dyn Source, range: Range, options: &Options) -> Result<Answer, Error> {
        range.check()?;
        let found = match self.expr.value_type() {
            ValueType::Scalar | ValueType::Vector => {
                return Evaluator::new(source, *options, &self.text).range(&self.expr, range);
            }
            ValueType::Matrix => "range vector",
            ValueType::String => "string",
        };
        let reason = format!("invalid expression type \"{found}\" for range query, must be Scalar or instant Vector");
        Err(Error::BadData(reason))
    }

    /// Everything that [`Query::instant`], or [`Query::range`] where a range is given, will ask its source for.
    ///
    /// # Errors
    /// As those two, as far as an empty source shows it.
    pub fn selections(&self, at: Moments, options: &Options) -> Result<Vec<Selection>, Error> {
        let recorder = Recorder::default();
        match at {
            Moments::One(time_ms) => self.instant(&recorder, time_ms, options)?,
            Moments::Each(range) => self.range(&recorder, range, options)?,
        };
        Ok(recorder.selections.into_inner())
    }
}

/// When a query is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moments {
    /// At one moment, in milliseconds since the epoch.
    One(i64),
    /// At each step.
    Each(Range),
}

impl Range {
    fn check(&self) -> Result<(), Error> {
        let parameter = |name, reason: &str| Err(Error::Parameter { name, reason: reason.to_owned() });
        if self.end_ms < self.start_ms {
            return parameter("end", "end timestamp must not be before start time");
        }
        if self.step_ms <= 0 {
            let reason = "zero or negative query resolution step widths are not accepted. Try a positive integer";
            return parameter("step", reason);
        }
        if self.start_ms < -FAR_MS || self.end_ms > FAR_MS || self.step_ms > FAR_MS {
            return parameter("end", "the range lies too far from now");
        }
        if (self.end_ms - self.start_ms) / self.step_ms > POINTS_MAX {
            let reason = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
            return Err(Error::BadData(reason.to_owned()));
        }
        Ok(())
    }
}

/// The matchers of a selector such as `up{job="a"}`: what `match[]` holds.
///
/// # Errors
/// [`Error::BadData`] if the text is something else.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, Error> {
    match parse(text)? {
        Expr::VectorSelector(selector) if selector.offset.is_none() && selector.at.is_none() => {
            crate::eval::matchers(&selector).map_err(|what| Error::Unsupported { what, place: format!(" in `{text}`") })
        }
        _ => Err(Error::BadData(format!("`{text}` is no series selector; write one such as `up{{job=\"a\"}}`"))),
    }
}

fn parse(text: &str) -> Result<Expr, Error> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(Error::BadData(format!("the query is longer than {QUERY_BYTES_MAX} bytes")));
    }
    text::check(text)?;
    parser::parse(text).map_err(|reason| Error::BadData(format!("{reason} in `{}`", excerpt(text))))
}

fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(200).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

/// Has no series, and remembers what it was asked for.
#[derive(Default)]
struct Recorder {
    selections: RefCell<Vec<Selection>>,
}

impl Source for Recorder {
    fn select(&self, selection: &Selection) -> Result<Vec<Series>, SourceError> {
        let mut selections = self.selections.borrow_mut();
        if !selections.contains(selection) {
            selections.push(selection.clone());
        }
        Ok(Vec::new())
    }
}
