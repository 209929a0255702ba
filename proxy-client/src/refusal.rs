//! Answers that the proxy gives itself: as a problem document (RFC 9457), with the headers that say when to come back, or in gRPC's
//! own way.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use tollgate_attributes::{Decision, Direction, Reason};
use tollgate_policies::{LimitState, Verdict};

use crate::body::ResponseBody;
use crate::exchange::{Exchange, Flag};
use crate::hygiene::BadRequest;
use crate::upstream::FailureKind;

/// draft-ietf-httpapi-ratelimit-headers-10.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// How long to stay away when nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a request goes no further, and how the caller is told.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    grpc_status: i16,
    /// URI of the problem's type (RFC 9457 section 3.1.1).
    kind: &'static str,
    detail: Cow<'static, str>,
    /// The decision that it stands for; none when the request was allowed and failed later.
    decision: Option<(Decision, Reason)>,
    flag: Option<Flag>,
    retry_after: Option<Duration>,
    limit: Option<LimitState>,
}

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    policies: &'a [Arc<str>],
    request_id: &'a str,
}

impl Refusal {
    fn new(status: StatusCode, grpc_status: i16, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            grpc_status,
            kind: "about:blank",
            detail: detail.into(),
            decision: None,
            flag: None,
            retry_after: None,
            limit: None,
        }
    }

    /// A malformed request, before any policy was asked.
    pub(crate) fn bad_request(bad: BadRequest) -> Self {
        let decision = Some((Decision::Deny, Reason::BadRequest));
        Self { decision, flag: Some(Flag::BadRequest), ..Self::new(bad.status, 13, bad.detail) }
    }

    /// A host that means no service: 502 for an application on its way out, 404 at the edge.
    pub(crate) fn unknown_service(direction: Direction, host: &str) -> Self {
        let status = if direction == Direction::Gateway { StatusCode::NOT_FOUND } else { StatusCode::BAD_GATEWAY };
        let detail = format!("no service is known as `{host}`");
        Self { decision: Some((Decision::Deny, Reason::UnknownService)), ..Self::new(status, 14, detail) }
    }

    /// What the enforcer refused.
    pub(crate) fn verdict(verdict: &Verdict) -> Self {
        let refusal = match verdict.decision {
            Decision::Limit => Self {
                kind: "https://iana.org/assignments/http-problem-types#quota-exceeded",
                retry_after: Some(verdict.limit.as_ref().map_or(RETRY_AFTER, |limit| limit.retry_after)),
                limit: verdict.limit.clone(),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, 8, "the request is over a rate limit")
            },
            Decision::Shed => Self {
                kind: "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
                retry_after: Some(RETRY_AFTER),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, 14, "there is no capacity for the request")
            },
            Decision::Deny | Decision::Allow if verdict.reason == Reason::NoSnapshot => Self {
                retry_after: Some(RETRY_AFTER),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, 14, "the proxy has no policies yet")
            },
            Decision::Deny | Decision::Allow => {
                let detail = match verdict.reason {
                    Reason::NoPermit => "no policy permits the request",
                    _ => "a policy forbids the request",
                };
                Self::new(StatusCode::FORBIDDEN, 7, detail)
            }
        };
        Self { decision: Some((verdict.decision, verdict.reason)), ..refusal }
    }

    /// The request was allowed, but the upstream did not answer it.
    pub(crate) fn upstream(kind: FailureKind) -> Self {
        let (status, flag, detail) = match kind {
            FailureKind::Connect => {
                (StatusCode::SERVICE_UNAVAILABLE, Flag::UpstreamConnect, "the service cannot be reached")
            }
            FailureKind::Reset => {
                (StatusCode::BAD_GATEWAY, Flag::UpstreamReset, "the service broke off the connection")
            }
            FailureKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, Flag::UpstreamTimeout, "the service took too long"),
            FailureKind::BadBody => (StatusCode::BAD_REQUEST, Flag::BadRequest, "the request's body is malformed"),
        };
        Self { flag: Some(flag), ..Self::new(status, 14, detail) }
    }

    /// Answers the request, which ends it.
    pub(crate) fn respond(self, mut exchange: Exchange) -> Response<ResponseBody> {
        if let Some((decision, reason)) = self.decision {
            exchange.decision = decision;
            exchange.reason = Some(reason);
        }
        if let Some(flag) = self.flag {
            exchange.flag(flag);
        }
        let mut response = if exchange.is_grpc() { self.grpc(&exchange) } else { self.http(&exchange) };
        exchange.status = Some(response.status().as_u16());
        self.say_when_to_return(response.headers_mut());
        response
    }

    fn grpc(&self, exchange: &Exchange) -> Response<ResponseBody> {
        exchange.set_grpc_status(self.grpc_status);
        let mut response = Response::new(ResponseBody::Local(None));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from(self.grpc_status));
        insert(headers, GRPC_MESSAGE, &grpc_message(&self.detail));
        response
    }

    fn http(&self, exchange: &Exchange) -> Response<ResponseBody> {
        let has_body = exchange.worker().config.has_problem_body && exchange.method != http::Method::HEAD;
        let body = has_body.then(|| self.problem(exchange));
        exchange.response_bytes.set(body.as_ref().map_or(0, |body| body.len() as u64));
        let mut response = Response::new(ResponseBody::Local(body));
        *response.status_mut() = self.status;
        if has_body {
            let problem = HeaderValue::from_static("application/problem+json");
            response.headers_mut().insert(header::CONTENT_TYPE, problem);
        }
        response
    }

    fn problem(&self, exchange: &Exchange) -> Bytes {
        let problem = Problem {
            kind: self.kind,
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.detail,
            reason: self.decision.map(|(_, reason)| reason.as_str()),
            policies: exchange.verdict.as_ref().map_or(&[], |verdict| &verdict.policies),
            request_id: exchange.request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default(),
        };
        serde_json::to_vec(&problem).unwrap_or_default().into()
    }

    fn say_when_to_return(&self, headers: &mut http::HeaderMap) {
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(after)));
        }
        if let Some(limit) = &self.limit {
            let name = quoted(&limit.policy);
            let after = seconds(limit.retry_after);
            insert(headers, RATE_LIMIT, &format!("{name};r={};t={after}", limit.remaining));
            insert(headers, RATE_LIMIT_POLICY, &format!("{name};q={};w={}", limit.quota, limit.window_s));
        }
    }
}

fn insert(headers: &mut http::HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whole seconds, rounded up, and never none: who comes back at once is refused again.
fn seconds(after: Duration) -> u64 {
    after.as_millis().div_ceil(1_000).max(1).try_into().unwrap_or(u64::MAX)
}

/// A string of a structured field (RFC 9651 section 4.1.6), which is ASCII.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}

/// `grpc-message` is percent-encoded.
fn grpc_message(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut message, byte| {
        match byte {
            b'%' => message.push_str("%25"),
            b' '..=b'~' => message.push(char::from(byte)),
            _ => drop(write!(message, "%{byte:02X}")),
        }
        message
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_back_at_once() {
        for (ms, expected) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (59_500, 60)] {
            assert_eq!(seconds(Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn texts_are_written_as_their_headers_ask() {
        assert_eq!(quoted(r#"free "tier"\é"#), r#""free \"tier\"\\?""#);
        assert_eq!(grpc_message("100% é\n"), "100%25 %C3%A9%0A");
    }
}
