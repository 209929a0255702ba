//! Plain types at the boundary of the allocator.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tollgate_api::v1;

/// Times of the lease protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseConfig {
    /// How long a lease holds, on the reporter's clock, from the newest message that the engine had when giving it.
    pub ttl: Duration,
    /// How much longer the engine counts a lease as held: it must exceed what two clocks can drift apart in one `ttl`.
    pub margin: Duration,
    /// A reporter that was not heard for this long is forgotten, and its safe shares are given to others.
    pub member_ttl: Duration,
}

impl LeaseConfig {
    /// Leases of this length, with a margin for clocks that drift apart by up to 1 %.
    pub fn with_ttl(ttl: Duration) -> LeaseConfig {
        LeaseConfig { ttl, margin: ttl / 100 + Duration::from_millis(50), member_ttl: Duration::from_secs(3600) }
    }
}

impl Default for LeaseConfig {
    fn default() -> LeaseConfig {
        LeaseConfig::with_ttl(Duration::from_secs(10))
    }
}

/// The limit of every bucket of one shaping policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketLimit {
    /// Id of the shaping policy.
    pub policy: Arc<str>,
    /// Service that the policy's resource is fixed to (`namespace/name`), or `*`.
    pub scope: Arc<str>,
    /// Microtokens per second.
    pub rate: u64,
    /// Microtokens.
    pub burst: u64,
}

/// The first message of a reporter's stream.
#[derive(Debug, Clone, Copy)]
pub struct Hello<'a> {
    /// Name of the reporter, unique in the fleet.
    pub reporter: &'a str,
    /// One run of the reporter. A different epoch is another process, which holds nothing of what this one was given.
    pub epoch: u64,
    /// Services that it fronts (`namespace/name`).
    pub services: &'a [String],
    /// Leases that it holds, their time to live counted from now.
    pub held: &'a [v1::Lease],
    /// Safe shares that it holds. Where the list is empty although it enforces a snapshot, the engine falls back on what
    /// it remembers, or else assumes the worst until the first acknowledgement.
    pub safe_shares: &'a [v1::SafeShare],
    /// Newest snapshot version that it enforces; 0 for a process that never had one.
    pub acknowledged_version: u64,
    /// Its monotonic clock when it sent this, in milliseconds.
    pub sent_ms: u64,
}

/// Names one stream of one reporter. What arrives under the name of a stream that has been replaced is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId {
    pub(super) member: u32,
    pub(super) generation: u64,
}

/// Why a stream was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyMembers {
    /// How many reporters are members.
    pub members: usize,
}

impl std::fmt::Display for TooManyMembers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} reporters share the limits already; no more can join until one is forgotten", self.members)
    }
}

impl std::error::Error for TooManyMembers {}

/// What a snapshot must carry for one reporter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Leases given, renewed or changed.
    pub leases: Vec<v1::Lease>,
    /// Safe shares given or changed.
    pub safe_shares: Vec<v1::SafeShare>,
    /// Goes into `Snapshot.echo_ms`.
    pub echo_ms: u64,
}

impl Changes {
    /// Whether there is nothing to push.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty() && self.safe_shares.is_empty()
    }
}

/// A reporter that safe shares are reserved for, as kept across restarts of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Name of the reporter.
    pub reporter: String,
    /// Its newest run.
    pub epoch: u64,
    /// Services that it fronts.
    pub services: Vec<String>,
    /// Scope and parts per million: the most that it may be enforcing.
    pub safe_shares: Vec<(String, u32)>,
    /// Scopes in which it may hold any share: the worst is assumed, and nobody inherits it.
    #[serde(default)]
    pub assumed: Vec<String>,
}

/// One (bucket, reporter) pair of the ledger, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// Id of the shaping policy.
    pub policy: Arc<str>,
    /// Values of what the policy counts by, joined by `|`.
    pub key: Arc<str>,
    /// Name of the reporter.
    pub reporter: Arc<str>,
    /// Newest lease, in microtokens per second, on top of the safe share.
    pub rate: u64,
    /// Burst of the newest lease, in microtokens.
    pub burst: u64,
    /// Safe share of the rate, in microtokens per second.
    pub safe_rate: u64,
    /// The most that the reporter may be enforcing through leases, in microtokens per second.
    pub outstanding_rate: u64,
    /// When the engine stops counting the newest lease as held; 0 when there is none.
    pub expires_in_ms: u64,
    /// Whether the reporter is known to enforce the newest lease.
    pub acknowledged: bool,
    /// Recent demand, in microtokens per second.
    pub demand: u64,
}
