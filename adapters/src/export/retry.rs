//! Which failures pass, and how long to wait: as OTLP's specification says, for gRPC and for HTTP, and as Prometheus' remote write
//! says, for HTTP.

use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};

/// First pause after a failure.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause between attempts.
const LONGEST: Duration = Duration::from_secs(30);
/// Bytes of an answer that are repeated in the log.
const EXCERPT_BYTES: usize = 200;

/// Why something was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) is_retryable: bool,
    /// How long the collector asks to be left alone.
    pub(crate) after: Option<Duration>,
    pub(crate) why: String,
}

/// A status of gRPC. A collector that has no room says with `RetryInfo` that it may be tried again.
pub(crate) fn of_grpc(status: &Status) -> Failure {
    let after = retry_delay(status.details());
    let is_retryable = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => after.is_some(),
        // A connection that breaks has no code of the collector's.
        Code::Unknown => std::error::Error::source(status).is_some(),
        _ => false,
    };
    Failure { is_retryable, after, why: format!("{:?}: {}", status.code(), status.message()) }
}

/// Whose rules for statuses of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// <https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes>
    Otlp,
    /// <https://prometheus.io/docs/specs/prw/remote_write_spec/#retries-backoff>
    RemoteWrite,
}

impl Protocol {
    fn retries(self, status: u16) -> bool {
        match self {
            Self::Otlp => matches!(status, 429 | 502 | 503 | 504),
            Self::RemoteWrite => matches!(status, 429 | 500..=599),
        }
    }
}

/// A status of HTTP, with `Retry-After` and the beginning of the body.
pub(crate) fn of_http(protocol: Protocol, status: u16, after: Option<Duration>, body: &[u8]) -> Failure {
    // Bodies of refusals are a `google.rpc.Status` in protobuf, of which one field is text.
    let message = RpcStatus::decode(body).map(|status| status.message);
    let message = message.unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned());
    let excerpt = &message[..message.floor_char_boundary(EXCERPT_BYTES)];
    let is_retryable = protocol.retries(status);
    Failure { is_retryable, after: after.filter(|_| is_retryable), why: format!("HTTP status {status}: {excerpt}") }
}

/// Pauses that double up to half a minute, each shortened by chance so that many do not come back at once.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// The next pause: what the collector asks for, if it does.
    pub(crate) fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST);
        asked.map_or_else(|| pause.mul_f64(0.5 + fastrand::f64() / 2.0), |asked| asked.min(LONGEST * 10))
    }
}

/// `google.rpc.Status`, as far as it is read here.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    let (seconds, nanos) = (u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?);
    Some(Duration::from_secs(seconds) + Duration::from_nanos(nanos.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_retry_info(code: Code, seconds: i64) -> Status {
        let info = RetryInfo { retry_delay: Some(Delay { seconds, nanos: 500_000_000 }) }.encode_to_vec();
        let any = Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value: info };
        let details = RpcStatus { message: String::new(), details: vec![any] }.encode_to_vec();
        Status::with_details(code, "full", details.into())
    }

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_is_dropped() {
        for (code, is_retryable) in [
            (Code::Unavailable, true),
            (Code::DeadlineExceeded, true),
            (Code::ResourceExhausted, false),
            (Code::InvalidArgument, false),
            (Code::Unauthenticated, false),
            (Code::Unknown, false),
        ] {
            assert_eq!(of_grpc(&Status::new(code, "")).is_retryable, is_retryable, "{code:?}");
        }
        let full = of_grpc(&with_retry_info(Code::ResourceExhausted, 7));
        assert_eq!((full.is_retryable, full.after), (true, Some(Duration::from_millis(7_500))));
        for (status, otlp, remote_write) in [
            (429, true, true),
            (503, true, true),
            (500, false, true),
            (507, false, true),
            (400, false, false),
            (404, false, false),
            (409, false, false),
        ] {
            assert_eq!(of_http(Protocol::Otlp, status, None, b"").is_retryable, otlp, "{status}");
            assert_eq!(of_http(Protocol::RemoteWrite, status, None, b"").is_retryable, remote_write, "{status}");
        }
    }

    #[test]
    fn the_reason_of_a_refusal_is_read_from_protobuf_and_from_text() {
        let status = RpcStatus { message: "no such tenant".to_owned(), details: vec![] }.encode_to_vec();
        assert_eq!(of_http(Protocol::Otlp, 400, None, &status).why, "HTTP status 400: no such tenant");
        assert_eq!(of_http(Protocol::Otlp, 400, None, b"go away").why, "HTTP status 400: go away");
        assert!(of_http(Protocol::Otlp, 400, None, "ä".repeat(1_000).as_bytes()).why.len() < 250);
    }

    #[test]
    fn pauses_grow_and_a_wish_is_granted() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..12).map(|_| backoff.pause(None)).collect();
        assert!(pauses[0] <= FIRST && pauses.iter().all(|pause| *pause <= LONGEST));
        assert!(pauses[11] >= LONGEST / 2);
        assert_eq!(backoff.pause(Some(Duration::from_secs(3))), Duration::from_secs(3));
        assert_eq!(backoff.pause(Some(Duration::from_secs(1 << 40))), LONGEST * 10, "a collector cannot silence us");
    }
}
