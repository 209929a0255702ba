//! One request to one of a service's addresses, with the few repetitions that are safe.

use std::rc::Rc;
use std::sync::Arc;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri, Version};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::Cluster;
use super::connection::Connection;
use super::endpoint::{Endpoint, Freshness};
use crate::body::RequestBody;
use crate::config::{Timeouts, UpstreamProtocol};

/// A response whose body is still to come.
pub(crate) struct Sent {
    pub(crate) response: Response<Incoming>,
    pub(crate) connection: Connection,
    pub(crate) address: Arc<str>,
    pub(crate) attempts: i16,
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) address: Option<Arc<str>>,
    pub(crate) attempts: i16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// No address could be connected to.
    Connect,
    /// The connection broke before the response came.
    Reset,
    /// The response took too long.
    Timeout,
    /// The caller's own body was malformed.
    BadBody,
}

/// Sends a request and waits for the head of its response. The request's target is in origin form, its `Host` is set.
///
/// A failed connect is tried again at another address, since nothing was sent. A pooled connection may have been closed by the
/// other side at the very moment of sending: then the request is sent once more on a new connection, provided that hyper gave it
/// back unsent, or that it has no body and its method is idempotent (RFC 9110 section 9.2.2).
pub(crate) async fn send(
    cluster: &Cluster,
    mut request: Request<RequestBody>,
    timeouts: &Timeouts,
) -> Result<Sent, Failure> {
    let deadline = Instant::now() + timeouts.upstream;
    let progress = request.body().progress();
    let mut freshness = Freshness::Any;
    let mut attempts = 0;
    loop {
        let connected = timeout_at(deadline, connect(cluster, freshness, timeouts, attempts)).await;
        let late = |_| Failure { kind: FailureKind::Timeout, address: None, attempts };
        let (endpoint, mut connection) = connected.map_err(late)??;
        address_to(&endpoint, &mut request);
        let again = (connection.is_reused() && is_repeatable(&request)).then(|| copy_of(&request));
        attempts += 1;
        let fail = |kind, attempts| Failure { kind, address: Some(Arc::clone(endpoint.address())), attempts };
        let mut error = match timeout_at(deadline, connection.send(request)).await {
            Ok(Ok(response)) => {
                return Ok(Sent { response, connection, address: Arc::clone(endpoint.address()), attempts });
            }
            Ok(Err(error)) => error,
            Err(_) => return Err(fail(FailureKind::Timeout, attempts)),
        };
        if progress.has_failed() {
            return Err(fail(FailureKind::BadBody, attempts));
        }
        tracing::debug!(error = %error.error(), address = &**endpoint.address(), "a request failed upstream");
        let unsent = error.take_message();
        let is_stale = connection.is_reused() && freshness == Freshness::Any;
        if unsent.is_some() {
            attempts -= 1;
        }
        match unsent.or(again) {
            Some(repeated) if is_stale => request = repeated,
            _ => return Err(fail(FailureKind::Reset, attempts)),
        }
        freshness = Freshness::New;
    }
}

async fn connect(
    cluster: &Cluster,
    freshness: Freshness,
    timeouts: &Timeouts,
    attempts: i16,
) -> Result<(Rc<Endpoint>, Connection), Failure> {
    let none = Failure { kind: FailureKind::Connect, address: None, attempts };
    let Some(first) = cluster.pick(None) else { return Err(none) };
    if let Ok(connection) = first.connection(freshness, timeouts.connect).await {
        return Ok((first, connection));
    }
    let second = cluster.pick(Some(&first)).filter(|second| !Rc::ptr_eq(&first, second));
    if let Some(second) = second
        && let Ok(connection) = second.connection(freshness, timeouts.connect).await
    {
        return Ok((second, connection));
    }
    Err(none)
}

/// Writes the target in the form that the endpoint's protocol asks for: with `:authority` in HTTP/2, with `Host` in HTTP/1.1.
/// A request that is sent again may have been written for the other one.
fn address_to(endpoint: &Endpoint, request: &mut Request<RequestBody>) {
    let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let authority = request.uri().authority().cloned();
    match (endpoint.protocol(), authority) {
        (UpstreamProtocol::Http1, None) => *request.version_mut() = Version::HTTP_11,
        (UpstreamProtocol::Http1, Some(authority)) => {
            *request.version_mut() = Version::HTTP_11;
            *request.uri_mut() = Uri::from(path);
            if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
                request.headers_mut().insert(HOST, host);
            }
        }
        (UpstreamProtocol::Http2, Some(_)) => {}
        (UpstreamProtocol::Http2, None) => {
            *request.version_mut() = Version::HTTP_2;
            let host = request.headers_mut().remove(HOST).filter(|host| !host.is_empty());
            let authority = host.as_ref().map_or(endpoint.address().as_bytes(), HeaderValue::as_bytes);
            let uri = Uri::builder().scheme("http").authority(authority).path_and_query(path).build();
            // The host was validated when the request came, so that this cannot fail.
            *request.uri_mut() = uri.unwrap_or_default();
        }
    }
}

fn is_repeatable(request: &Request<RequestBody>) -> bool {
    request.body().is_empty() && request.method().is_idempotent()
}

fn copy_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}
