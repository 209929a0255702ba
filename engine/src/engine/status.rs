//! What the engine says about itself: for `/readyz`, and for `GET /v1/snapshot`.

use serde::Serialize;
use serde_json::json;

use super::Engine;
use crate::book::Refused;
use crate::clock::WallTime;
use crate::kept::StorageStatus;
use crate::signals::FileStatus;

/// Whether the engine serves, and how its policies and signals are doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether it serves. A refused policy change leaves it ready.
    pub is_ready: bool,
    /// Whether what arrives can be kept. A full disk leaves the engine ready: policies and limits go on.
    pub storage: StorageStatus,
    /// The policies in force, and the change that was refused if the newest one was.
    pub policies: PolicyStatus,
    /// The signal files.
    pub signals: Vec<FileStatus>,
}

/// The policies in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyStatus {
    /// Snapshot version that they came with: a reporter whose `policies_version` is this one or a later one enforces them.
    pub version: u64,
    /// Changes exactly when they change.
    pub digest: String,
    /// When they were read.
    pub loaded_at: WallTime,
    /// What is in the directory instead, when that was refused.
    pub refused: Option<Refused>,
}

impl Engine {
    /// Whether the engine serves, and how its policies and signals are doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        let newest = inner.outlet.publisher.newest();
        let loaded_at = inner.book.loaded().map(|loaded| loaded.loaded_at).unwrap_or_default();
        Status {
            is_ready: !inner.stop.is_cancelled(),
            storage: inner.kept.store.disk().into(),
            policies: PolicyStatus {
                version: newest.policies_version,
                digest: newest.slices.all().digest().to_owned(),
                loaded_at,
                refused: inner.book.refused(),
            },
            signals: inner.scheduler.status(),
        }
    }

    /// What is enforced now, and by whom, for people and tools.
    #[must_use]
    pub fn snapshot_json(&self) -> serde_json::Value {
        let inner = &self.inner;
        let newest = inner.outlet.publisher.newest();
        let all = newest.slices.all();
        let policies: Vec<_> = all
            .access()
            .map(|policy| ("access", policy))
            .chain(all.shaping().map(|policy| ("shaping", policy)))
            .map(
                |(kind, policy)| json!({ "id": policy.id, "kind": kind, "origin": policy.origin, "text": policy.text }),
            )
            .collect();
        let mut signals = serde_json::Map::new();
        for ((entity_type, entity), values) in newest.signals.iter() {
            let values: serde_json::Map<_, _> =
                values.iter().map(|(name, value)| (name.to_string(), value.to_json())).collect();
            signals.insert(format!("{entity_type}::{entity:?}"), values.into());
        }
        let reporters = inner.outlet.reporters.all();
        let reporters: Vec<_> = reporters
            .iter()
            .map(|reporter| {
                reporter.read(|facts| {
                    json!({
                        "name": &*reporter.name,
                        "agent": facts.agent,
                        "connected": facts.reporting + facts.watching > 0,
                        "services": facts.services,
                        "acknowledged_version": facts.acknowledged_version,
                        "pushed_version": facts.pushed_version,
                        "policies_version": facts.held.enforced_version,
                        "enforces_policies": facts.held.enforced_version >= newest.policies_version,
                        "policies": facts.held.policies,
                        "slice": facts.held.digest,
                        "refused": facts.refused,
                    })
                })
            })
            .collect();
        json!({
            "engine": inner.dir.id(),
            "version": newest.version,
            "policies_version": newest.policies_version,
            "digest": all.digest(),
            "observe": all.observe(),
            "observed_services": all.observed_services(),
            "policies": policies,
            "entities": serde_json::from_str::<serde_json::Value>(all.entities_json()).unwrap_or_default(),
            "signals": signals,
            "reporters": reporters,
        })
    }
}
