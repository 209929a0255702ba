//! What is asked about a request, and what is answered.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tollgate_attributes::{Decision, Priority, Reason};

use crate::bucket::Occupied;
use crate::ids::PolicyIds;

/// What is known about a request before it is forwarded. Empty texts are unknown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// Calling service as `namespace/name`; empty for an anonymous caller.
    pub source: &'a str,
    /// Called service as `namespace/name`.
    pub destination: &'a str,
    /// HTTP method, in upper case.
    pub method: &'a str,
    /// Path without the query string.
    pub path: &'a str,
    /// Host and port that was asked for, in lower case.
    pub host: &'a str,
    /// Template of the route that matched.
    pub route: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// `http/1.0`, `http/1.1`, `http/2` or `grpc`.
    pub protocol: &'a str,
    /// The `User-Agent` header.
    pub user_agent: &'a str,
    /// Address of the caller's end of the connection.
    pub source_address: Option<IpAddr>,
    /// End user, from a verified token.
    pub user: &'a str,
    /// Whether the caller proved its identity by mutual TLS.
    pub is_mtls: bool,
    /// Headers by lower-case name; those of [`InForce::headers`](crate::InForce::headers) are enough.
    pub headers: &'a [(Arc<str>, String)],
    /// Size of the body, where it was announced.
    pub request_bytes: Option<u64>,
}

/// What is to happen to a request, and why.
#[derive(Debug)]
pub struct Verdict {
    /// What is to happen.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
    /// Ids of the policies that decided, in the order in which they are written.
    pub policies: PolicyIds,
    /// Ids of the policies that would have refused, were they or their service not only observed. `no_permit` stands for
    /// there being no policy that permits.
    pub shadow: PolicyIds,
    /// Ids of the policies that failed to evaluate: a `forbid` or a limit among them was applied, a `permit` was not.
    pub failed: PolicyIds,
    /// How important the request is.
    pub priority: Priority,
    /// Version of the snapshot that decided; 0 before the first one.
    pub snapshot: u64,
    /// The tokens are reserved: forward the request after this long.
    pub wait: Option<Duration>,
    /// The limit that is nearest to being reached, of those that matched; the one that refused, if one did.
    pub limit: Option<LimitState>,
    /// Places among the simultaneous requests. Hold them until the request has ended.
    pub permits: ConcurrencyPermits,
}

/// A limit as the caller may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitState {
    /// Id of the policy.
    pub policy: Arc<str>,
    /// Tokens per window, as the policy says.
    pub quota: u64,
    /// The window, in seconds.
    pub window_s: u64,
    /// Whole tokens left in this reporter's share.
    pub remaining: u64,
    /// How long until there are enough tokens for this request again; zero when there were.
    pub retry_after: Duration,
}

/// Places that a request takes among those under way; given back when dropped.
#[derive(Debug, Default)]
pub struct ConcurrencyPermits(pub(crate) SmallVec<[Occupied; 1]>);

impl ConcurrencyPermits {
    /// Whether there is nothing to hold.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
