//! What a thread remembers, so that it need ask nobody: lanes and buckets, by hash. Bounded: what is full is emptied.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::State;
use crate::bucket::Bucket;
use crate::buckets::Buckets;
use crate::facts::Facts;
use crate::lane::{self, Lane};
use crate::loaded::Loaded;

const LANES_MAX: usize = 4_096;
const BUCKETS_MAX: usize = 8_192;

#[derive(Default)]
pub(super) struct Thread {
    hasher: RandomState,
    lanes: HashMap<u64, Remembered>,
    buckets: HashMap<u64, Known>,
}

struct Known {
    policy: Arc<str>,
    key: Box<str>,
    bucket: Arc<Bucket>,
}

struct Remembered {
    source: Box<str>,
    destination: Box<str>,
    action: &'static str,
    policies_generation: u64,
    world_generation: u64,
    lane: Lane,
}

impl Thread {
    /// The lane of a request, as of this state.
    pub(super) fn lane(&mut self, state: &State, loaded: &Loaded, facts: &Facts<'_>) -> &mut Lane {
        let action = lane::action(facts.method);
        let hash = self.hasher.hash_one((facts.source, facts.destination, action));
        if self.lanes.len() >= LANES_MAX && !self.lanes.contains_key(&hash) {
            self.lanes.clear();
        }
        let make = || Remembered {
            source: facts.source.into(),
            destination: facts.destination.into(),
            action,
            policies_generation: state.policies_generation,
            world_generation: state.world_generation,
            lane: Lane::new(loaded, &state.world, facts.source, facts.destination, action),
        };
        let remembered = self.lanes.entry(hash).or_insert_with(make);
        let is_same = *remembered.source == *facts.source
            && *remembered.destination == *facts.destination
            && remembered.action == action
            && remembered.policies_generation == state.policies_generation;
        if !is_same {
            *remembered = make();
        } else if remembered.world_generation != state.world_generation {
            remembered.lane.refresh();
            remembered.world_generation = state.world_generation;
        }
        &mut remembered.lane
    }

    /// A bucket, and whether it was made just now.
    pub(super) fn bucket(
        &mut self,
        buckets: &Buckets,
        policy: &Arc<str>,
        key: &str,
        now_ns: u64,
    ) -> (Arc<Bucket>, bool) {
        let hash = buckets.hash(policy, key);
        if let Some(known) = self.buckets.get(&hash)
            && (&known.policy, &*known.key) == (policy, key)
            && !known.bucket.is_forgotten()
        {
            return (Arc::clone(&known.bucket), false);
        }
        if self.buckets.len() >= BUCKETS_MAX {
            self.buckets.clear();
        }
        let (bucket, is_new) = buckets.get(policy, key, now_ns);
        let known = Known { policy: Arc::clone(policy), key: key.into(), bucket: Arc::clone(&bucket) };
        self.buckets.insert(hash, known);
        (bucket, is_new)
    }
}
