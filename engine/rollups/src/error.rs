//! What can be wrong with rows that are to be counted.

use arrow::error::ArrowError;

use crate::histogram::HistogramError;

/// Why rows were not counted. Nothing of a batch is counted when this is returned.
#[derive(Debug, thiserror::Error)]
pub enum RollupError {
    /// A column is missing or of another type.
    #[error("the rows have no column `{column}` of type {expected}: pass batches with the schema of the table")]
    Column {
        /// Its name.
        column: &'static str,
        /// What was expected, in words.
        expected: &'static str,
    },
    /// A row's histogram cannot be.
    #[error(transparent)]
    Histogram(#[from] HistogramError),
    /// Arrow's own.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

impl From<RollupError> for ArrowError {
    fn from(error: RollupError) -> Self {
        match error {
            RollupError::Arrow(error) => error,
            other => Self::ExternalError(Box::new(other)),
        }
    }
}
