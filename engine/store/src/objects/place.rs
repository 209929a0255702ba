//! What is written down of where sealed files are.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where sealed files are. A data directory may be moved with all that is in it, so that its path is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    Local,
    Remote { bucket: String, prefix: String, endpoint: Option<String> },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("the data directory"),
            Self::Remote { bucket, prefix, endpoint } => {
                write!(f, "`s3://{bucket}/{prefix}`")?;
                endpoint.as_ref().map_or(Ok(()), |endpoint| write!(f, " at `{endpoint}`"))
            }
        }
    }
}
