//! Fetches the lists that policies read: bounded in size and time, and only what has changed since.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::header::{ETAG, IF_NONE_MATCH};
use reqwest::{Client, StatusCode, redirect};
use tollgate_engine::{FetchList, FetchedList, LIST_BYTES_MAX};

const CONNECT: Duration = Duration::from_secs(5);
/// For all of it. A list that takes longer is tried again, and the last good one holds.
const FETCH: Duration = Duration::from_secs(60);
const REDIRECTS_MAX: usize = 3;

/// Lists from HTTP and HTTPS.
#[derive(Debug, Clone)]
pub struct HttpLists {
    client: Client,
}

impl HttpLists {
    /// A client of its own.
    ///
    /// # Errors
    /// When there is no TLS to be had, such as without any root certificate.
    pub fn new() -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .timeout(FETCH)
            .redirect(redirect::Policy::custom(follow))
            // Another host must not learn what stands in the query, such as a key.
            .referer(false)
            .user_agent(concat!("tollgate-engine/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client })
    }

    async fn get(client: Client, url: String, tag: Option<String>) -> Result<FetchedList, String> {
        let request = client.get(url);
        let request = tag.into_iter().fold(request, |request, tag| request.header(IF_NONE_MATCH, tag));
        let mut response = request.send().await.map_err(said)?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(FetchedList::Unchanged);
        }
        if response.status() != StatusCode::OK {
            return Err(format!("answered {}", response.status()));
        }
        let too_large = || format!("larger than {} MiB", LIST_BYTES_MAX >> 20);
        if response.content_length().is_some_and(|length| length > LIST_BYTES_MAX as u64) {
            return Err(too_large());
        }
        let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let mut bytes = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(said)? {
            if bytes.len() + chunk.len() > LIST_BYTES_MAX {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(FetchedList::Entries { bytes: Bytes::from(bytes), tag })
    }
}

impl FetchList for HttpLists {
    fn fetch(&self, url: String, tag: Option<String>) -> BoxFuture<'static, Result<FetchedList, String>> {
        Self::get(self.client.clone(), url, tag).boxed()
    }
}

/// What was asked for in secret is not fetched in the open.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let was_secret = attempt.previous().iter().any(|url| url.scheme() == "https");
    if attempt.previous().len() > REDIRECTS_MAX {
        attempt.error("too many redirects")
    } else if was_secret && attempt.url().scheme() != "https" {
        attempt.error("redirected from https to http")
    } else {
        attempt.follow()
    }
}

/// With its causes, and without the address, which may hold a secret.
fn said(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
