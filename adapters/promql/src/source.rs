//! Where series come from, and the two forms in which they come.

use promql_parser::label::Matcher;

use crate::labels::Labels;

/// Anything that holds series.
///
/// One call for each selector of a query, whatever the number of steps. A source that has to wait for its data can ask
/// [`crate::Query::selections`] beforehand what it will be asked for.
pub trait Source {
    /// The series that match. Those without a sample in the span may be left out.
    ///
    /// # Errors
    /// If the data cannot be read.
    fn select(&self, selection: &Selection) -> Result<Vec<Series>, SourceError>;
}

/// Which series a query reads, of which span, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selection {
    /// All of them have to match; the metric's name is one of them. A label that a series lacks matches as an empty text.
    pub matchers: Vec<Matcher>,
    /// First moment that counts.
    pub start_ms: i64,
    /// Last moment that counts.
    pub end_ms: i64,
    /// Distance of the moments at which the query is evaluated; 0 where there is only one.
    pub step_ms: i64,
    /// Length of the window, for a range selector.
    pub range_ms: Option<i64>,
    /// The function to which the series go first.
    pub function: Option<&'static str>,
    /// Whether a counter's value since its beginning matters, and not only its growth within the span.
    pub totals: bool,
    /// Where it is known, the only labels whose values the query looks at: series that do not differ in these are added up. A source
    /// that gives [`Samples::Increments`] may add them up itself, and so read less.
    pub summed_by: Option<Vec<String>>,
}

impl Selection {
    /// Whether a series with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.is_match(labels.get(&matcher.name)))
    }
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What names it.
    pub labels: Labels,
    /// Its values.
    pub samples: Samples,
}

/// The two forms of a series' values.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    /// What was read from a gauge or a counter at some moments: milliseconds since the epoch and value, by rising time.
    Points(Vec<(i64, f64)>),
    /// What a counter grew by, interval by interval.
    Increments(Increments),
}

/// A counter kept as increments: `rate`, `increase` and `irate` of it are exact, not extrapolated; everything else sees the
/// running total, with a sample at the end of each interval.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Increments {
    /// What the counter had before the first interval; 0 where nobody asked for totals.
    pub before: f64,
    /// Intervals by rising time, without overlaps. Idle ones may be missing.
    pub intervals: Vec<Increment>,
    /// Intervals that end later may still grow; `irate` leaves them out. `i64::MAX` where all are complete.
    pub complete_until_ms: i64,
}

/// One interval of a counter: from its start up to, not including, its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Increment {
    /// Milliseconds since the epoch.
    pub start_ms: i64,
    /// Milliseconds since the epoch.
    pub end_ms: i64,
    /// What the counter grew by.
    pub by: f64,
}

/// Series could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What went wrong.
    pub message: String,
}
