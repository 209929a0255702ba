//! Decides requests by the newest snapshot, and divides nothing: it spends what it was given.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;
use tollgate_api::v1;
use tollgate_attributes::{Decision, Priority, Reason};

use crate::clock::Clock;
use crate::facts::{ConcurrencyPermits, Facts, Verdict};

/// Why a snapshot was not taken. The one before it stays in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A delta before any whole snapshot, or one that does not follow what is in force.
    #[error("snapshot {version} does not follow {current}")]
    OutOfOrder {
        /// Version of the snapshot that came.
        version: u64,
        /// Version in force.
        current: u64,
    },
    /// A policy, the schema or the entities could not be read.
    #[error("{0}")]
    Unreadable(String),
}

/// Decides requests. One for a process: threads share it.
pub struct Enforcer {
    clock: Clock,
    version: AtomicU64,
}

impl Enforcer {
    /// An enforcer without a snapshot, which denies all.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, version: AtomicU64::new(0) }
    }

    /// The clock that leases expire by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Calls `wake` when a bucket is first wanted or runs dry, so that demand is sent at once.
    pub fn on_urgent_demand(&self, wake: impl Fn() + Send + Sync + 'static) {
        drop(wake);
    }

    /// Says that the engine is there although it has nothing to push: `@offline` counts from the last sign of life.
    pub fn heard(&self) {}

    /// Takes a snapshot, whole or not at all, and returns the version now in force.
    ///
    /// # Errors
    /// When it does not follow the one in force, or something in it cannot be read.
    pub fn apply(&self, snapshot: &v1::Snapshot) -> Result<u64, ApplyError> {
        self.version.store(snapshot.version, Ordering::Release);
        Ok(snapshot.version)
    }

    /// Version in force; 0 before the first.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Decides a request: access, then shaping. Takes tokens.
    #[must_use]
    pub fn decide(&self, facts: &Facts<'_>) -> Verdict {
        let _ = facts;
        Verdict {
            decision: Decision::Deny,
            reason: Reason::NoSnapshot,
            policies: SmallVec::new(),
            shadow: SmallVec::new(),
            priority: Priority::Normal,
            snapshot: 0,
            wait: None,
            limit: None,
            permits: ConcurrencyPermits::default(),
        }
    }

    /// As [`Enforcer::decide`], but takes no token.
    #[must_use]
    pub fn look(&self, facts: &Facts<'_>) -> Verdict {
        self.decide(facts)
    }

    /// At the caller's side: the refusal that the called side is sure to give. Takes no token.
    #[must_use]
    pub fn refuses_early(&self, facts: &Facts<'_>) -> Option<Verdict> {
        let _ = facts;
        None
    }

    /// Attributes that answers may depend on, such as `principal` and `context.path`.
    #[must_use]
    pub fn depends_on(&self) -> Vec<String> {
        Vec::new()
    }

    /// Headers that the policies in force read, by lower-case name.
    #[must_use]
    pub fn headers(&self) -> Arc<[Arc<str>]> {
        Arc::from([])
    }

    /// What was wanted from buckets since the last call.
    #[must_use]
    pub fn take_demand(&self) -> Vec<v1::Demand> {
        Vec::new()
    }

    /// Leases that have not expired; their `ttl_ms` counts from now.
    #[must_use]
    pub fn held(&self) -> Vec<v1::Lease> {
        Vec::new()
    }
}
