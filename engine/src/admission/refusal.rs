//! Why a batch was refused.

use std::fmt;

use tollgate_api::v1;

/// Stable code of a refusal, as in `tollgate.v1.Rejection.code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalCode {
    /// A column that the vocabulary does not know, has with another type, or requires and did not get.
    Schema,
    /// More bytes than are taken.
    TooLarge,
    /// Not an Arrow IPC stream of one batch.
    Malformed,
    /// A value that cannot be.
    Value,
    /// No rows, or more than are taken.
    Rows,
}

impl RefusalCode {
    /// Every code.
    pub const ALL: &[Self] = &[Self::Schema, Self::TooLarge, Self::Malformed, Self::Value, Self::Rows];

    /// The word for it in protobuf and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Value => "value",
            Self::Rows => "rows",
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a batch was refused: a code for programs and a message for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// Stable code.
    pub code: RefusalCode,
    /// What was wrong and where.
    pub message: String,
}

impl Refusal {
    pub(crate) fn schema(message: impl Into<String>) -> Self {
        Self { code: RefusalCode::Schema, message: message.into() }
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self { code: RefusalCode::TooLarge, message: message.into() }
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self { code: RefusalCode::Malformed, message: message.into() }
    }

    pub(crate) fn value(message: impl Into<String>) -> Self {
        Self { code: RefusalCode::Value, message: message.into() }
    }

    pub(crate) fn rows(message: impl Into<String>) -> Self {
        Self { code: RefusalCode::Rows, message: message.into() }
    }

    /// The same on the wire, for the batch of this sequence number.
    #[must_use]
    pub fn to_rejection(&self, sequence: u64) -> v1::Rejection {
        v1::Rejection { sequence, code: self.code.as_str().to_owned(), message: self.message.clone() }
    }
}
