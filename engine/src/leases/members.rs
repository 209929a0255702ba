//! Reporters that take part, and their streams.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::model::StreamId;

#[derive(Debug)]
pub(super) struct Reporter {
    pub(super) name: Arc<str>,
    pub(super) epoch: u64,
    pub(super) services: BTreeSet<Arc<str>>,
    pub(super) stream: Option<Stream>,
    /// When something was last received from it, on the engine's clock.
    pub(super) heard_ms: u64,
    /// Newest version that it was given anything under.
    pub(super) last_version: u64,
    /// Scopes in which it may hold a safe share.
    pub(super) scopes: BTreeSet<Arc<str>>,
    /// Buckets in which it has an entry.
    pub(super) buckets: BTreeSet<u32>,
    /// Buckets in which an older lease may be in force beside the newest.
    pub(super) unsettled: BTreeSet<u32>,
    pub(super) due_scopes: BTreeSet<Arc<str>>,
    pub(super) due_buckets: BTreeSet<u32>,
}

/// The stream that the reporter uses now.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) generation: u64,
    /// Reporter's clock in its newest message.
    pub(super) echo_ms: u64,
    /// What the reporter enforced when the stream began. Versions of another run of the engine may look like ours, so
    /// nothing counts as acknowledged before this changes, and what changes it was sent on this stream.
    pub(super) first_acknowledged: Option<u64>,
    pub(super) acknowledged: u64,
    /// Nothing was given on it yet: the first snapshot carries everything.
    pub(super) is_new: bool,
    /// The oldest version that waits for its acknowledgement, and since when.
    pub(super) waits: Option<(u64, u64)>,
}

impl Reporter {
    pub(super) fn new(name: &str, epoch: u64, services: &[String], now_ms: u64) -> Reporter {
        Reporter {
            name: Arc::from(name),
            epoch,
            services: services.iter().map(|service| Arc::from(service.as_str())).collect(),
            stream: None,
            heard_ms: now_ms,
            last_version: 0,
            scopes: BTreeSet::new(),
            buckets: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            due_scopes: BTreeSet::new(),
            due_buckets: BTreeSet::new(),
        }
    }

    pub(super) fn is_current(&self, stream: StreamId) -> bool {
        self.stream.as_ref().is_some_and(|current| current.generation == stream.generation)
    }

    /// Whether it can be given anything. One that has not acknowledged for a whole `ttl` cannot apply what it gets:
    /// leases that it does not enforce would only be missing elsewhere.
    pub(super) fn is_reachable(&self, ttl_ms: u64, now_ms: u64) -> bool {
        let stalled = |(_, since): (u64, u64)| since + ttl_ms < now_ms;
        self.stream.as_ref().is_some_and(|stream| !stream.waits.is_some_and(stalled))
    }

    /// Takes in an acknowledgement. Says which version is newly known to be enforced.
    pub(super) fn acknowledge(&mut self, version: u64, now_ms: u64) -> Option<u64> {
        let last_version = self.last_version;
        let stream = self.stream.as_mut()?;
        if stream.first_acknowledged == Some(version) || version <= stream.acknowledged {
            return None;
        }
        stream.first_acknowledged = None;
        stream.acknowledged = version;
        stream.waits = match stream.waits {
            _ if version >= last_version => None,
            Some((oldest, _)) if version >= oldest => Some((last_version, now_ms)),
            waits => waits,
        };
        Some(version)
    }

    /// Remembers that something was given under this version.
    pub(super) fn gave(&mut self, version: u64, now_ms: u64) {
        self.last_version = version;
        if let Some(stream) = &mut self.stream {
            stream.waits.get_or_insert((version, now_ms));
        }
    }
}
