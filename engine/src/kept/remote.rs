//! An S3-compatible store in place of the local directory.

use object_store::path::Path;
use tollgate_store::{Remote, S3};

use crate::engine::EngineError;

/// Where sealed files go instead of the data directory. Credentials come from the environment (`AWS_ACCESS_KEY_ID` and so on).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteConfig {
    /// `s3://bucket/prefix`
    pub url: String,
    /// Of another store than Amazon's: `http://127.0.0.1:8333`.
    pub endpoint: Option<String>,
    /// Region.
    pub region: Option<String>,
}

/// Why an object store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address is none.
    #[error("`{0}` is no object store: write s3://BUCKET or s3://BUCKET/PREFIX")]
    Url(String),
}

impl RemoteConfig {
    /// Bucket and prefix.
    ///
    /// # Errors
    /// When the address is none of an S3-compatible store.
    pub fn place(&self) -> Result<(&str, Path), RemoteError> {
        let wrong = || RemoteError::Url(self.url.clone());
        let rest = self.url.strip_prefix("s3://").ok_or_else(wrong)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = Path::parse(prefix).map_err(|_| wrong())?;
        if bucket.is_empty() { Err(wrong()) } else { Ok((bucket, prefix)) }
    }

    /// The store. Nothing is sent yet.
    pub(super) fn open(&self) -> Result<Remote, EngineError> {
        let (bucket, prefix) = self.place()?;
        let (endpoint, region) = (self.endpoint.clone(), self.region.clone());
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_string());
        Ok(Remote::s3(&S3 { endpoint, region, bucket, prefix, ..S3::default() })?)
    }
}
