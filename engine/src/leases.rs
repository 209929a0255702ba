//! Divides the limits of buckets among reporters, as safe shares and leases.

mod model;

use std::sync::Arc;

pub use model::{BucketLimit, Changes, Hello, LeaseConfig, LeaseRow, Member, StreamId, TooManyMembers};
use tollgate_api::v1;

/// Divides limits among reporters. Pure: it has no clock, every call is told the engine's monotonic time.
#[derive(Debug)]
pub struct Leases {}

impl Leases {
    /// `known` are the members that an earlier run of the engine kept; `None` only at the very first start.
    pub fn new(_config: LeaseConfig, _now_ms: u64, _known: Option<Vec<Member>>) -> Leases {
        Leases {}
    }

    /// Replaces all limits.
    pub fn set_limits(&mut self, _limits: &[BucketLimit], _now_ms: u64) {}

    /// A stream of a reporter begins with this message.
    pub fn join(&mut self, _hello: &Hello<'_>, _now_ms: u64) -> Result<StreamId, TooManyMembers> {
        Ok(StreamId { member: 0, generation: 0 })
    }

    /// A later message of the stream.
    pub fn heard(&mut self, _stream: StreamId, _sent_ms: u64, _acknowledged_version: u64, _now_ms: u64) {}

    /// What the reporter wanted from one bucket.
    pub fn demand(&mut self, _stream: StreamId, _demand: &v1::Demand, _now_ms: u64) {}

    /// The stream broke; the reporter may go on enforcing what it holds.
    pub fn disconnected(&mut self, _stream: StreamId, _now_ms: u64) {}

    /// The reporter said that it enforces nothing any more.
    pub fn leave(&mut self, _reporter: &str, _now_ms: u64) {}

    /// Forgets, expires and divides anew where something has changed; cheap where nothing has.
    pub fn tick(&mut self, _now_ms: u64) {}

    /// Whether a snapshot is due on the stream.
    pub fn has_changes(&self, _stream: StreamId, _now_ms: u64) -> bool {
        false
    }

    /// What to push now, recorded in the ledger under `version`.
    pub fn changes(&mut self, _stream: StreamId, _version: u64, _now_ms: u64) -> Changes {
        Changes::default()
    }

    /// Moves whenever `members` has changed in a way that must be kept before the next snapshot is pushed.
    pub fn members_revision(&self) -> u64 {
        0
    }

    /// The members, to be kept across restarts.
    pub fn members(&self) -> Vec<Member> {
        Vec::new()
    }

    /// The ledger, for people.
    pub fn rows(&self, _now_ms: u64) -> Vec<LeaseRow> {
        let _: Option<Arc<str>> = None;
        Vec::new()
    }
}
