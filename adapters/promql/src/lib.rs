//! PromQL: a small evaluator over any source of series. It does no I/O and knows nothing of HTTP.
//!
//! [`Query::parse`], then [`Query::instant`] or [`Query::range`] over a [`Source`]. Answers are those of Prometheus 2.42, which the test
//! `oracle` asks the same questions. [`api`] reads the parameters and writes the bodies of Prometheus' HTTP API.

mod answer;
pub mod api;
mod columns;
mod error;
mod eval;
mod labels;
mod options;
mod query;
mod source;

pub use self::answer::{Answer, format_value};
pub use self::error::{Error, ErrorType};
pub use self::labels::{BUCKET, Labels, METRIC_NAME};
pub use self::options::Options;
pub use self::query::{Moments, QUERY_BYTES_MAX, Query, Range, parse_selector};
pub use self::source::{Increment, Increments, Samples, Selection, Series, Source, SourceError};
pub use promql_parser::label::{MatchOp, Matcher};
