//! Takes snapshots: whole or not at all.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tollgate_api::v1;

use super::Enforcer;
use crate::bucket::Lease;
use crate::buckets::Terms;
use crate::lists::Lists;
use crate::loaded::Loaded;
use crate::text;
use crate::world::World;

/// Why a snapshot was not taken. The one before it stays in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A delta before any whole snapshot, or one older than what is in force.
    #[error("snapshot {version} does not follow {current}")]
    OutOfOrder {
        /// Version of the snapshot that came.
        version: u64,
        /// Version in force.
        current: u64,
    },
    /// A policy, the schema, an entity or a signal could not be read.
    #[error("snapshot {version}: {problem}")]
    Unreadable {
        /// Version of the snapshot that came.
        version: u64,
        /// What could not be read, and where it is written.
        problem: String,
    },
}

/// What is in force. Replaced as a whole.
#[derive(Default)]
pub(super) struct State {
    pub(super) version: u64,
    /// `None` before the first snapshot.
    pub(super) loaded: Option<Arc<Loaded>>,
    pub(super) world: World,
    pub(super) lists: Lists,
    /// Those that policies read and those that are looked up in lists, where any is.
    pub(super) headers: Option<Arc<[Arc<str>]>>,
    /// Changes with the policies and entities; 0 before the first.
    pub(super) policies_generation: u64,
    /// Changes with the signals too.
    pub(super) world_generation: u64,
    safe_ppm: HashMap<String, u32>,
}

impl Enforcer {
    /// Takes a snapshot, whole or not at all, and returns the version now in force.
    ///
    /// # Errors
    /// When it does not follow the one in force, or something in it cannot be read.
    pub fn apply(&self, snapshot: &v1::Snapshot) -> Result<u64, ApplyError> {
        let _applying = self.applying.lock();
        let current = self.state.load_full();
        let version = snapshot.version;
        if !snapshot.whole && (current.loaded.is_none() || version < current.version) {
            return Err(ApplyError::OutOfOrder { version, current: current.version });
        }
        let next = next(&current, snapshot).map_err(|problem| ApplyError::Unreadable { version, problem })?;
        let has_policies = snapshot.policies.is_some() || snapshot.policies_delta.is_some();
        let terms_change = has_policies || snapshot.whole || !snapshot.safe_shares.is_empty();
        let terms = terms_change.then(|| terms(&next));
        if let Some(terms) = &terms {
            // Before the policies, so that a new limit never refuses for want of its terms.
            self.buckets.add_terms(terms);
        }
        // Before the buckets change, so that none is made for a policy that is gone.
        self.state.store(Arc::new(next));
        let now_ns = self.clock.monotonic_ns();
        if let Some(terms) = terms {
            self.buckets.set_terms(terms, now_ns);
        }
        if snapshot.whole {
            self.buckets.drop_leases(&snapshot.leases, now_ns);
        }
        for lease in &snapshot.leases {
            self.take_lease(lease, snapshot.echo_ms, now_ns);
        }
        self.heard();
        Ok(version)
    }

    fn take_lease(&self, lease: &v1::Lease, echo_ms: u64, now_ns: u64) {
        let Some(bucket) = &lease.bucket else { return };
        // Counted from when the request left here, which was before the engine gave the lease: it ends here first.
        let expires_ms = echo_ms.saturating_add(lease.ttl_ms);
        let held = Lease { rate: lease.rate, burst: lease.burst, expires_ms };
        self.buckets.lease(&bucket.policy, &bucket.key, held, now_ns);
        if lease.ttl_ms > 0 {
            self.lease_ttl_ms.store(lease.ttl_ms, Ordering::Release);
        }
    }
}

fn next(current: &State, snapshot: &v1::Snapshot) -> Result<State, String> {
    let mut next = State {
        version: snapshot.version,
        loaded: current.loaded.clone(),
        world: current.world.clone(),
        lists: current.lists.clone(),
        headers: current.headers.clone(),
        policies_generation: current.policies_generation,
        world_generation: current.world_generation,
        safe_ppm: if snapshot.whole { HashMap::new() } else { current.safe_ppm.clone() },
    };
    let replaced = policies(current, snapshot)?;
    let has_policies = replaced.is_some();
    if let Some((loaded, world)) = replaced {
        (next.loaded, next.world) = (Some(Arc::new(loaded)), world);
        next.policies_generation += 1;
        next.world_generation += 1;
    }
    if snapshot.whole || !snapshot.signals.is_empty() {
        next.world = next.world.with_signals(snapshot.whole, &snapshot.signals)?;
        next.world_generation += 1;
    }
    if snapshot.whole || !snapshot.lists.is_empty() {
        // What is remembered is remembered by the lists that a request was on, and so stays right.
        next.lists = current.lists.with(&snapshot.lists, snapshot.whole)?;
    }
    if has_policies || snapshot.whole || !snapshot.lists.is_empty() {
        next.headers = headers(&next);
    }
    for share in &snapshot.safe_shares {
        next.safe_ppm.insert(share.scope.clone(), share.parts_per_million.min(1_000_000));
    }
    Ok(next)
}

/// The policies and entities of a snapshot; nothing where they stay the same.
fn policies(current: &State, snapshot: &v1::Snapshot) -> Result<Option<(Loaded, World)>, String> {
    let before = current.loaded.as_deref();
    if let Some(policies) = &snapshot.policies {
        let entities =
            v1::Entities { entities_json: policies.entities_json.clone(), schema_json: policies.schema_json.clone() };
        let world = World::read(&entities, &current.world)?;
        return Ok(Some((text::with_deep_stack(|| Loaded::read(policies, before))?, world)));
    }
    let Some(delta) = &snapshot.policies_delta else {
        return if snapshot.whole { Err("a whole snapshot without policies".to_owned()) } else { Ok(None) };
    };
    let before = before.filter(|before| before.digest() == delta.from);
    let before = before.ok_or("a change of policies other than those in force")?;
    if delta.digest == delta.from {
        return Ok(None);
    }
    let world = match &delta.entities {
        Some(entities) => World::read(entities, &current.world)?,
        None => current.world.clone(),
    };
    Ok(Some((text::with_deep_stack(|| before.changed(delta))?, world)))
}

/// Headers beyond those that policies read themselves.
fn headers(state: &State) -> Option<Arc<[Arc<str>]>> {
    let loaded = state.loaded.as_ref()?;
    state.lists.headers().next()?;
    let mut headers: Vec<_> = loaded.headers.iter().chain(state.lists.headers()).cloned().collect();
    headers.sort();
    headers.dedup();
    Some(Arc::from(headers))
}

/// What the buckets of every shaping policy have in common.
fn terms(state: &State) -> HashMap<Arc<str>, Terms> {
    let rules = state.loaded.iter().flat_map(|loaded| loaded.rules());
    let terms = rules.filter_map(|rule| {
        let shaping = rule.shaping.as_ref()?;
        let (rate, burst) = shaping.limit.as_ref().map_or((0, 0), |limit| (limit.rate, limit.burst));
        let safe_ppm = state.safe_ppm.get(shaping.scope.as_str()).copied().unwrap_or(0);
        Some((Arc::clone(&rule.id), Terms { rate, burst, safe_ppm }))
    });
    terms.collect()
}
