//! Names an S3-compatible store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use super::{Remote, failed};
use crate::StoreError;

/// An S3-compatible store. What is not said is taken from the environment (`AWS_REGION`, `AWS_ACCESS_KEY_ID`, ..) or from
/// the machine's role.
#[derive(Clone, Default)]
pub struct S3 {
    /// Where it is, if not at Amazon: `http://127.0.0.1:8333`. Without `https` the connection is not encrypted.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// The bucket, which has to be there.
    pub bucket: String,
    /// What all keys begin with.
    pub prefix: String,
    /// Name of the access key.
    pub access_key_id: Option<String>,
    /// The access key.
    pub secret_access_key: Option<String>,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, region, bucket, prefix, .. } = self;
        f.debug_struct("S3")
            .field("endpoint", endpoint)
            .field("region", region)
            .field("bucket", bucket)
            .field("prefix", prefix)
            .finish_non_exhaustive()
    }
}

/// How long one request may take: a part of 16 MiB over a slow line.
const REQUEST: Duration = Duration::from_secs(30);
/// How often, and for how long, one is tried again. It bridges a moment; what fails after that is said, and seals and compaction are
/// tried again by the store. Longer, and the state of the storage would say for minutes that all is well, and queries would hang.
const TRIES: usize = 5;
const RETRIES: Duration = Duration::from_secs(10);

impl Remote {
    /// The store that the description names. Nothing is sent yet.
    ///
    /// # Errors
    /// When the description is not complete.
    pub fn s3(s3: &S3) -> Result<Self, StoreError> {
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&s3.bucket);
        if let Some(endpoint) = &s3.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &s3.region {
            builder = builder.with_region(region);
        }
        if let (Some(id), Some(secret)) = (&s3.access_key_id, &s3.secret_access_key) {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        }
        // It may be the environment's.
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        let allow_http = s3.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let client = ClientOptions::new().with_timeout(REQUEST).with_allow_http(allow_http);
        let retry = RetryConfig { backoff: BackoffConfig::default(), max_retries: TRIES, retry_timeout: RETRIES };
        let store = builder.with_client_options(client).with_retry(retry).build();
        let store = store.map_err(|source| failed("open", &Path::default(), &s3.bucket, source))?;
        Ok(Self { store: Arc::new(store), bucket: s3.bucket.clone(), endpoint, prefix: Path::from(s3.prefix.as_str()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_without_its_secrets() {
        let s3 = S3 {
            endpoint: Some("http://127.0.0.1:8333".into()),
            region: Some("us-east-1".into()),
            bucket: "telemetry".into(),
            prefix: "prod/a".into(),
            access_key_id: Some("any".into()),
            secret_access_key: Some("hidden".into()),
        };
        let remote = Remote::s3(&s3).unwrap();
        assert_eq!(remote.prefix.as_ref(), "prod/a");
        assert_eq!(remote.place().to_string(), "`s3://telemetry/prod/a` at `http://127.0.0.1:8333`");
        assert!(!format!("{s3:?} {remote:?}").contains("hidden"));
    }
}
