//! One request on its way through: everything that becomes its row.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use tollgate_attributes::{Decision, Direction, Reason, Row};
use tollgate_policies::Verdict;

use crate::body::Progress;
use crate::hygiene::TraceContext;
use crate::names::ServiceName;
use crate::wanted_headers;
use crate::worker::{Peer, Worker};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What the proxy saw go wrong, as `response_flags` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flag {
    UpstreamConnect,
    UpstreamReset,
    UpstreamTimeout,
    DownstreamReset,
    BadRequest,
}

/// One request and what became of it.
///
/// INVARIANT: exactly one row for every request: it leaves when the exchange is dropped, whatever the reason.
pub(crate) struct Exchange {
    worker: Rc<Worker>,
    direction: Direction,
    peer: Rc<Peer>,
    started: Instant,
    time_us: i64,
    pub(crate) method: Method,
    pub(crate) protocol: &'static str,
    pub(crate) host: String,
    pub(crate) path: PathAndQuery,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) user_agent: String,
    pub(crate) request_id: Option<HeaderValue>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) source: Option<ServiceName>,
    pub(crate) source_version: String,
    pub(crate) destination: Option<ServiceName>,
    pub(crate) destination_version: String,
    pub(crate) destination_address: Option<Arc<str>>,
    pub(crate) labels: Vec<(Arc<str>, String)>,
    pub(crate) decision: Decision,
    pub(crate) reason: Option<Reason>,
    /// Also holds the request's place among the simultaneous ones.
    pub(crate) verdict: Option<Verdict>,
    pub(crate) status: Option<u16>,
    pub(crate) upstream_us: Option<i64>,
    pub(crate) queued_us: i64,
    pub(crate) attempts: i16,
    pub(crate) request_progress: Rc<Progress>,
    pub(crate) response_bytes: Cell<u64>,
    grpc_status: Cell<Option<i16>>,
    flag: Cell<Option<Flag>>,
}

impl Exchange {
    /// A request that has just come. Its decision is to deny until it is made otherwise.
    pub(crate) fn begin(worker: &Rc<Worker>, direction: Direction, peer: &Rc<Peer>) -> Self {
        Self {
            worker: Rc::clone(worker),
            direction,
            peer: Rc::clone(peer),
            started: Instant::now(),
            time_us: worker.enforcer.clock().wall_us(),
            method: Method::GET,
            protocol: "",
            host: String::new(),
            path: PathAndQuery::from_static("/"),
            route: None,
            user_agent: String::new(),
            request_id: None,
            trace: None,
            source: None,
            source_version: String::new(),
            destination: None,
            destination_version: String::new(),
            destination_address: None,
            labels: Vec::new(),
            decision: Decision::Deny,
            reason: None,
            verdict: None,
            status: None,
            upstream_us: None,
            queued_us: 0,
            attempts: 0,
            request_progress: Rc::default(),
            response_bytes: Cell::new(0),
            grpc_status: Cell::new(None),
            flag: Cell::new(None),
        }
    }

    /// Takes what is known of the request before anything is checked.
    pub(crate) fn read_head(&mut self, head: &http::request::Parts) {
        self.method = head.method.clone();
        self.protocol = protocol(head);
        self.read_user_agent(&head.headers);
        if let Some(path) = head.uri.path_and_query() {
            self.path = path.clone();
        }
    }

    /// Reads every line of it: policies and the row see what is forwarded.
    pub(crate) fn read_user_agent(&mut self, headers: &HeaderMap) {
        self.user_agent = wanted_headers::value(headers, &header::USER_AGENT).unwrap_or_default();
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(crate) fn is_grpc(&self) -> bool {
        self.protocol == "grpc"
    }

    /// Notes what went wrong; what went wrong first is the cause.
    pub(crate) fn flag(&self, flag: Flag) {
        if self.flag.get().is_none() {
            self.flag.set(Some(flag));
        }
    }

    pub(crate) fn set_grpc_status(&self, status: i16) {
        self.grpc_status.set(Some(status));
    }

    /// Reads `grpc-status` from the headers or trailers of a response.
    pub(crate) fn read_grpc_status(&self, headers: &HeaderMap) {
        let status = headers.get(GRPC_STATUS).and_then(|status| status.to_str().ok()?.parse().ok());
        if status.is_some() {
            self.grpc_status.set(status);
        }
    }

    fn record(&self) {
        let duration = self.started.elapsed();
        let verdict = self.verdict.as_ref();
        let row = Row {
            time: self.time_us,
            reporter: &self.worker.config.name,
            direction: self.direction.as_str(),
            source: self.source.as_ref().map_or("", ServiceName::as_str),
            source_namespace: self.source.as_ref().map_or("", ServiceName::namespace),
            source_version: &self.source_version,
            source_address: &self.peer.text,
            destination: self.destination.as_ref().map_or("", ServiceName::as_str),
            destination_namespace: self.destination.as_ref().map_or("", ServiceName::namespace),
            destination_version: &self.destination_version,
            destination_address: self.destination_address.as_deref().unwrap_or_default(),
            method: self.method.as_str(),
            scheme: "http",
            host: &self.host,
            path: self.path.path(),
            route: self.route.as_deref().unwrap_or_default(),
            protocol: self.protocol,
            user_agent: &self.user_agent,
            status: self.status.and_then(|status| i16::try_from(status).ok()),
            grpc_status: self.grpc_status.get(),
            response_flags: self.flag.get().map_or("", Flag::as_str),
            duration_us: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX),
            upstream_us: self.upstream_us,
            queued_us: self.queued_us,
            request_bytes: saturating(self.request_progress.bytes()),
            response_bytes: saturating(self.response_bytes.get()),
            attempts: Some(self.attempts),
            decision: self.decision.as_str(),
            reason: self.reason.map_or("", Reason::as_str),
            policies: verdict.map_or(&[], |verdict| &verdict.policies),
            shadow: verdict.map_or(&[], |verdict| &verdict.shadow),
            priority: verdict.map_or("", |verdict| verdict.priority.as_str()),
            snapshot: saturating(verdict.map_or(0, |verdict| verdict.snapshot)),
            weight: 1,
            trace_id: self.trace.map(|trace| trace.trace_id),
            span_id: self.trace.map(|trace| trace.span_id),
            request_id: text(self.request_id.as_ref()),
            labels: &self.labels,
            ..Row::default()
        };
        self.worker.record(&row);
        self.worker.counters.request(self.direction, self.decision, self.status, duration);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.flag(Flag::DownstreamReset);
        }
        self.record();
    }
}

impl Flag {
    fn as_str(self) -> &'static str {
        match self {
            Self::UpstreamConnect => "upstream_connect",
            Self::UpstreamReset => "upstream_reset",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::DownstreamReset => "downstream_reset",
            Self::BadRequest => "bad_request",
        }
    }
}

fn protocol(head: &http::request::Parts) -> &'static str {
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|content_type| content_type.as_bytes().starts_with(b"application/grpc"));
    match head.version {
        Version::HTTP_2 if is_grpc => "grpc",
        Version::HTTP_2 => "http/2",
        Version::HTTP_10 => "http/1.0",
        _ => "http/1.1",
    }
}

fn text(value: Option<&HeaderValue>) -> &str {
    value.and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn saturating(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
