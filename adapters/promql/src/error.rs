//! What can be wrong with a query.

use crate::source::SourceError;

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is no PromQL, or no query of the kind that is asked for.
    #[error("{0}")]
    BadData(String),
    /// PromQL that this evaluator does not know.
    #[error("{what} is not supported{place}")]
    Unsupported {
        /// The function, operator or modifier.
        what: String,
        /// Where it stands: empty, or ` (character 12 of the query)`.
        place: String,
    },
    /// A parameter beside the query is wrong.
    #[error("invalid parameter \"{name}\": {reason}")]
    Parameter {
        /// Name of the parameter.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The data does not fit the query, such as two series where one is wanted.
    #[error("{0}")]
    Execution(String),
    /// The query would read or compute more than it may.
    #[error("the query needs more than {max} {what}; {advice}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How many there may be.
        max: u64,
        /// What to do.
        advice: &'static str,
    },
    /// The time for the query has run out.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// The series could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Kinds of errors, by the names that the HTTP API gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorType {
    /// The request is wrong.
    BadData,
    /// The query is right and cannot be answered.
    Execution,
    /// It took too long.
    Timeout,
    /// It is the server's fault.
    Internal,
}

impl ErrorType {
    /// Status code of the HTTP response.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadData => 400,
            Self::Execution => 422,
            Self::Timeout => 503,
            Self::Internal => 500,
        }
    }
}

impl Error {
    /// Kind of the error.
    #[must_use]
    pub const fn error_type(&self) -> ErrorType {
        match self {
            Self::BadData(_) | Self::Parameter { .. } => ErrorType::BadData,
            Self::Unsupported { .. } | Self::Execution(_) | Self::Limit { .. } => ErrorType::Execution,
            Self::Timeout => ErrorType::Timeout,
            Self::Source(_) => ErrorType::Internal,
        }
    }

    pub(crate) fn execution(message: impl Into<String>) -> Self {
        Self::Execution(message.into())
    }

    pub(crate) fn same_labels() -> Self {
        Self::execution("vector cannot contain metrics with the same labelset")
    }
}
