//! HTTP towards a receiver: its certificates, headers and answers.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use super::ExportError;
use super::retry::{self, Failure, Protocol};

pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const USER_AGENT: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));
/// Longest answer that is read; what is longer is no answer of a receiver.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A client for one receiver. Redirects are not followed: headers hold secrets.
pub(crate) fn new(endpoint: &str, ca: Option<&Path>, headers: HeaderMap) -> Result<reqwest::Client, ExportError> {
    check(endpoint)?;
    let mut client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .user_agent(USER_AGENT)
        .default_headers(headers)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(file) = ca {
        let unreadable =
            |error: reqwest::Error| ExportError::Ca { file: file.display().to_string(), why: causes(&error) };
        for certificate in reqwest::Certificate::from_pem_bundle(&read(file)?).map_err(unreadable)? {
            client = client.add_root_certificate(certificate);
        }
        client = client.tls_built_in_root_certs(false);
    }
    client.build().map_err(|error| wrong(endpoint, causes(&error)))
}

/// Whether it is a URL that something can be sent to.
pub(crate) fn check(endpoint: &str) -> Result<(), ExportError> {
    if !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
        return Err(wrong(endpoint, "write it as http://HOST:PORT or https://HOST:PORT"));
    }
    let url = reqwest::Url::parse(endpoint).map_err(|error| wrong(endpoint, error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        let why = "it holds a name or a password: send them in `headers`, which are not printed";
        return Err(wrong(endpoint, why));
    }
    Ok(())
}

/// What is wrong with an endpoint.
pub(crate) fn wrong(endpoint: &str, why: impl Into<String>) -> ExportError {
    ExportError::Endpoint { endpoint: shown(endpoint), why: why.into() }
}

/// An endpoint for people: without what it may hold of secrets, which is name and password and the query.
#[must_use]
pub fn shown(endpoint: &str) -> String {
    let (rest, query) = match endpoint.split_once(['?', '#']) {
        Some((rest, _)) => (rest, "?…"),
        None => (endpoint, ""),
    };
    match rest.rsplit_once('@') {
        None => format!("{rest}{query}"),
        Some((before, host)) => {
            let scheme = before.find("://").map_or("", |end| &before[..end + 3]);
            format!("{scheme}…@{host}{query}")
        }
    }
}

/// Headers, which are not shown where requests are logged.
pub(crate) fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, ExportError> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let wrong = |why: String| ExportError::Header { name: name.clone(), why };
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let mut value = HeaderValue::from_str(value).map_err(|error| wrong(error.to_string()))?;
        value.set_sensitive(true);
        headers.append(key, value);
    }
    Ok(headers)
}

pub(crate) fn read(file: &Path) -> Result<Vec<u8>, ExportError> {
    std::fs::read(file).map_err(|error| ExportError::Ca { file: file.display().to_string(), why: error.to_string() })
}

/// Sends a request and gives the body of its answer.
pub(crate) async fn send(request: reqwest::RequestBuilder, protocol: Protocol) -> Result<Vec<u8>, Failure> {
    let answer = request.send().await;
    // Its URL may hold a token, and is known to whoever reads the log.
    let failed = |error: reqwest::Error| causes(&error.without_url());
    let mut answer = answer.map_err(|error| Failure { is_retryable: true, after: None, why: failed(error) })?;
    let status = answer.status();
    let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = Vec::new();
    while let Ok(Some(part)) = answer.chunk().await {
        if body.len() + part.len() > ANSWER_BYTES_MAX {
            break;
        }
        body.extend_from_slice(&part);
    }
    match status.is_success() {
        true => Ok(body),
        false => Err(retry::of_http(protocol, status.as_u16(), after.map(Duration::from_secs), &body)),
    }
}

/// An error with what it comes from, on one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_an_endpoint_tells_no_secret() {
        for endpoint in [
            "https://user:secret@host:99999/",
            "https://user:secret@host/",
            "prometheus://user:secret@host",
            "user:secret@host",
            "https://host:99999/?token=secret",
            "http://host:99999/#secret",
        ] {
            let said = check(endpoint).unwrap_err().to_string();
            assert!(said.contains("host") && !said.contains("secret"), "{said}");
        }
        assert!(check("https://host/path").is_ok());
    }
}
