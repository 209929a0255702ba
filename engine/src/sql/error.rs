//! What can be wrong with a query, in words that say what to do.

use std::fmt;

use arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

use crate::suggest::closest;

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueryErrorKind {
    /// The text is no SQL.
    Syntax,
    /// A name or a type is wrong.
    Plan,
    /// The statement would change something.
    ReadOnly,
    /// It would read what the one who asks may not.
    Denied,
    /// It returns more rows than a query may.
    Rows,
    /// It needs more memory than queries may take.
    Memory,
    /// It took longer than a query may.
    Time,
    /// It failed on the way, such as by dividing by zero.
    Execution,
}

impl QueryErrorKind {
    /// The word for it in metrics and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Plan => "plan",
            Self::ReadOnly => "read_only",
            Self::Denied => "denied",
            Self::Rows => "rows",
            Self::Memory => "memory",
            Self::Time => "time",
            Self::Execution => "execution",
        }
    }
}

/// Why a query was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryError {
    /// What kind of thing went wrong.
    pub kind: QueryErrorKind,
    /// What went wrong, in one line where possible.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Line and column in the query, from 1.
    pub position: Option<(usize, usize)>,
}

impl QueryError {
    pub(crate) fn new(kind: QueryErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), help: None, position: None }
    }

    pub(crate) fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> QueryErrorKind {
        self.kind
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "; help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for QueryError {}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        let position = error.diagnostic().and_then(|diagnostic| diagnostic.span).map(|span| {
            (usize::try_from(span.start.line).unwrap_or(0), usize::try_from(span.start.column).unwrap_or(0))
        });
        let converted = convert(error.find_root());
        Self { position: converted.position.or(position), ..converted }
    }
}

impl From<ArrowError> for QueryError {
    fn from(error: ArrowError) -> Self {
        Self::new(QueryErrorKind::Execution, first_line(&error.to_string()))
    }
}

fn convert(error: &DataFusionError) -> QueryError {
    match error {
        DataFusionError::External(inner) => match inner.downcast_ref::<QueryError>() {
            Some(error) => error.clone(),
            None => QueryError::new(QueryErrorKind::Execution, inner.to_string()),
        },
        DataFusionError::SQL(error, _) => syntax(&error.to_string()),
        DataFusionError::SchemaError(error, _) => schema(error),
        DataFusionError::Plan(message) => plan(message),
        DataFusionError::NotImplemented(message) => QueryError::new(QueryErrorKind::Plan, first_line(message)),
        DataFusionError::ResourcesExhausted(message) => memory(message),
        DataFusionError::Collection(errors) => errors.first().map_or_else(
            || QueryError::new(QueryErrorKind::Plan, "the query is wrong"),
            |first| convert(first.find_root()),
        ),
        other => QueryError::new(QueryErrorKind::Execution, first_line(&other.strip_backtrace())),
    }
}

/// The parser writes the place at the end of its message.
fn syntax(message: &str) -> QueryError {
    let message = message.trim_start_matches("sql parser error: ");
    let (text, place) = message.split_once(" at Line: ").unwrap_or((message, ""));
    let mut numbers = place.split(", Column: ").map(|number| {
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<usize>().ok()
    });
    let position = numbers.next().flatten().zip(numbers.next().flatten());
    QueryError { position, ..QueryError::new(QueryErrorKind::Syntax, first_line(text)) }
}

fn schema(error: &SchemaError) -> QueryError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            unknown_column(&field.name, valid_fields.iter().map(|valid| valid.name.as_str()))
        }
        other => QueryError::new(QueryErrorKind::Plan, first_line(&other.to_string())),
    }
}

/// The error for a name that no column has.
pub(crate) fn unknown_column<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> QueryError {
    let error = QueryError::new(QueryErrorKind::Plan, format!("unknown column `{name}`"));
    match closest(name, known) {
        Some(known) => error.with_help(format!("did you mean `{known}`?")),
        None => error,
    }
}

const TABLES: [&str; 22] = [
    "requests",
    "traffic",
    "traffic_1s",
    "traffic_1m",
    "traffic_1h",
    "policy_traffic_1m",
    "signals",
    "policies",
    "entities",
    "leases",
    "lists",
    "reporters",
    "services",
    "services_now",
    "edges",
    "denied",
    "limited",
    "top_talkers",
    "decisions",
    "storage",
    "storage_files",
    "information_schema",
];

fn plan(message: &str) -> QueryError {
    let unknown_table = message.strip_prefix("table '").and_then(|rest| rest.strip_suffix("' not found"));
    if let Some(path) = unknown_table {
        let name = path.rsplit('.').next().unwrap_or(path);
        let error = QueryError::new(QueryErrorKind::Plan, format!("unknown table `{name}`"));
        return match closest(name, TABLES) {
            Some(known) => error.with_help(format!("did you mean `{known}`?")),
            None => error.with_help(format!("there are `{}`", TABLES.join("`, `"))),
        };
    }
    let changes = ["DDL not supported", "DML not supported", "Statement not supported"];
    if changes.iter().any(|start| message.starts_with(start)) {
        return QueryError::new(QueryErrorKind::ReadOnly, "only queries are answered: nothing can be changed with SQL");
    }
    QueryError::new(QueryErrorKind::Plan, first_line(message))
}

fn memory(message: &str) -> QueryError {
    QueryError::new(
        QueryErrorKind::Memory,
        format!("the query needs more memory than there is: {}", first_line(message)),
    )
    .with_help("narrow it by `time`, group by fewer columns, or raise `memory.queries`")
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}
