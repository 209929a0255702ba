//! What each endpoint is asked.

use promql_parser::label::Matcher;

use super::Parameters;
use super::time::{parse_duration, parse_time};
use crate::error::Error;
use crate::query::{Query, Range, parse_selector};

/// Selectors that one request may hold.
const SELECTORS_MAX: usize = 64;

/// `/api/v1/query`
#[derive(Debug, Clone, PartialEq)]
pub struct InstantRequest {
    /// What to evaluate.
    pub query: Query,
    /// When, in milliseconds since the epoch.
    pub time_ms: i64,
    /// How long it may take, where the client says so.
    pub timeout_ms: Option<i64>,
}

/// `/api/v1/query_range`
#[derive(Debug, Clone, PartialEq)]
pub struct RangeRequest {
    /// What to evaluate.
    pub query: Query,
    /// When; not checked before it is evaluated.
    pub range: Range,
    /// How long it may take, where the client says so.
    pub timeout_ms: Option<i64>,
}

/// `/api/v1/series`, `/api/v1/labels` and `/api/v1/label/<name>/values`
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesRequest {
    /// Series that match any of these are asked for; all of them where it is empty.
    pub selectors: Vec<Vec<Matcher>>,
    /// Milliseconds since the epoch, where the client says so.
    pub start_ms: Option<i64>,
    /// Milliseconds since the epoch, where the client says so.
    pub end_ms: Option<i64>,
    /// How many results to give at most.
    pub limit: Option<usize>,
}

/// `/api/v1/query_exemplars`
#[derive(Debug, Clone, PartialEq)]
pub struct ExemplarsRequest {
    /// The query whose series' exemplars are asked for.
    pub query: Query,
    /// Milliseconds since the epoch.
    pub start_ms: i64,
    /// Milliseconds since the epoch.
    pub end_ms: i64,
}

impl InstantRequest {
    /// Reads the parameters; `now_ms` is the moment where they name none.
    ///
    /// # Errors
    /// [`Error::Parameter`] or [`Error::BadData`].
    pub fn read(parameters: &Parameters, now_ms: i64) -> Result<Self, Error> {
        let time_ms = parameters.read("time", parse_time)?.unwrap_or(now_ms);
        Ok(Self { query: query(parameters)?, time_ms, timeout_ms: parameters.read("timeout", parse_duration)? })
    }
}

impl RangeRequest {
    /// Reads the parameters.
    ///
    /// # Errors
    /// [`Error::Parameter`] or [`Error::BadData`].
    pub fn read(parameters: &Parameters) -> Result<Self, Error> {
        let range = Range {
            start_ms: parameters.require("start", parse_time)?,
            end_ms: parameters.require("end", parse_time)?,
            step_ms: parameters.require("step", parse_duration)?,
        };
        Ok(Self { query: query(parameters)?, range, timeout_ms: parameters.read("timeout", parse_duration)? })
    }
}

impl SeriesRequest {
    /// Reads the parameters. `/api/v1/series` wants a selector, the others do not: see [`Self::require_selector`].
    ///
    /// # Errors
    /// [`Error::Parameter`] or [`Error::BadData`].
    pub fn read(parameters: &Parameters) -> Result<Self, Error> {
        if parameters.all("match[]").count() > SELECTORS_MAX {
            let reason = format!("there are more than {SELECTORS_MAX} selectors");
            return Err(Error::Parameter { name: "match[]", reason });
        }
        let (start_ms, end_ms) = (parameters.read("start", parse_time)?, parameters.read("end", parse_time)?);
        if let (Some(start_ms), Some(end_ms)) = (start_ms, end_ms) {
            check_order(start_ms, end_ms)?;
        }
        let selector = |text: &str| parse_selector(text).map_err(|error| wrong_selector(&error));
        Ok(Self {
            selectors: parameters.all("match[]").map(selector).collect::<Result<_, _>>()?,
            start_ms,
            end_ms,
            limit: parameters.read("limit", limit)?.filter(|limit| *limit > 0),
        })
    }

    /// Refuses a request without any selector.
    ///
    /// # Errors
    /// [`Error::BadData`] in Prometheus' words.
    pub fn require_selector(self) -> Result<Self, Error> {
        if self.selectors.is_empty() {
            return Err(Error::BadData("no match[] parameter provided".to_owned()));
        }
        Ok(self)
    }
}

impl ExemplarsRequest {
    /// Reads the parameters.
    ///
    /// # Errors
    /// [`Error::Parameter`] or [`Error::BadData`].
    pub fn read(parameters: &Parameters) -> Result<Self, Error> {
        let (start_ms, end_ms) = (parameters.require("start", parse_time)?, parameters.require("end", parse_time)?);
        check_order(start_ms, end_ms)?;
        Ok(Self { query: query(parameters)?, start_ms, end_ms })
    }
}

/// Whether a label may have this name.
///
/// # Errors
/// [`Error::BadData`] in Prometheus' words.
pub fn check_label_name(name: &str) -> Result<(), Error> {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_name = name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit());
    if is_name { Ok(()) } else { Err(Error::BadData(format!("invalid label name: {name:?}"))) }
}

fn query(parameters: &Parameters) -> Result<Query, Error> {
    let text = parameters.require("query", |text| Ok(text.to_owned()))?;
    Query::parse(&text).map_err(|error| match error {
        Error::BadData(reason) => Error::Parameter { name: "query", reason },
        other => other,
    })
}

fn wrong_selector(error: &Error) -> Error {
    Error::Parameter { name: "match[]", reason: error.to_string() }
}

fn check_order(start_ms: i64, end_ms: i64) -> Result<(), Error> {
    if end_ms < start_ms {
        let reason = "end timestamp must not be before start time".to_owned();
        return Err(Error::Parameter { name: "end", reason });
    }
    Ok(())
}

fn limit(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("cannot parse {text:?} to a whole number"))
}
