//! What a thread remembers, so that it need ask nobody: lanes, decisions and buckets, by hash. Bounded: what is full is emptied,
//! and decisions give way to newer ones.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;

use super::State;
use crate::answer::Answer;
use crate::bucket::Bucket;
use crate::buckets::Buckets;
use crate::cache::Decisions;
use crate::facts::Facts;
use crate::key;
use crate::lane::{Asked, Lane};
use crate::model;
use crate::tally::Tally;

const LANES_MAX: usize = 4_096;
const BUCKETS_MAX: usize = 8_192;

#[derive(Default)]
pub(super) struct Thread {
    hasher: RandomState,
    policies_generation: u64,
    lanes: HashMap<u64, Remembered, BuildHasherDefault<Hashed>>,
    /// Numbers of lanes are given once.
    next_lane: u64,
    decisions: Decisions,
    buckets: HashMap<u64, Known, BuildHasherDefault<Hashed>>,
    /// Room for the key of a decision.
    key: Vec<u8>,
    /// Room for the key of a bucket.
    pub(super) bucket_key: String,
}

struct Known {
    policy: Arc<str>,
    key: Box<str>,
    bucket: Arc<Bucket>,
}

struct Remembered {
    source: Box<str>,
    destination: Box<str>,
    action: usize,
    world_generation: u64,
    /// Changes with the signals that the policies read.
    number: u64,
    lane: Lane,
    /// Where no attribute makes a difference.
    fixed: Option<Arc<Answer>>,
}

impl Thread {
    /// What the policies say of a request.
    pub(super) fn answer(&mut self, state: &State, asked: &Asked<'_>, tally: &Tally) -> Arc<Answer> {
        if self.policies_generation != state.policies_generation {
            self.lanes.clear();
            self.decisions.clear();
            tally.clear();
            self.policies_generation = state.policies_generation;
        }
        let remembered = lane(&mut self.lanes, &mut self.next_lane, &self.hasher, state, asked, tally);
        if let Some(answer) = &remembered.fixed {
            tally.hit();
            return Arc::clone(answer);
        }
        let lane = &mut remembered.lane;
        self.key.clear();
        key::parts(asked.facts, lane.needs(), &asked.loaded.headers, asked.lists, |part| {
            key::write(&mut self.key, &part)
        });
        let hash = self.hasher.hash_one((remembered.number, &self.key));
        let known = self.decisions.get(hash, remembered.number, &self.key);
        if let Some(answer) = known.filter(|_| !lane.is_timed()) {
            tally.hit();
            return Arc::clone(answer);
        }
        let lasting = match known {
            Some(answer) => Arc::clone(answer),
            None => {
                key::parts(asked.facts, lane.needs(), &asked.loaded.headers, asked.lists, |part| tally.part(&part));
                let answer = lane.ask(asked);
                self.decisions.put(hash, remembered.number, &self.key, &answer);
                answer
            }
        };
        if lane.is_timed() {
            tally.timed();
            return lane.ask_timed(asked, &lasting);
        }
        tally.miss();
        lasting
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

/// The lane of a request, as of this state.
fn lane<'a>(
    lanes: &'a mut HashMap<u64, Remembered, BuildHasherDefault<Hashed>>,
    next_lane: &mut u64,
    hasher: &RandomState,
    state: &State,
    asked: &Asked<'_>,
    tally: &Tally,
) -> &'a mut Remembered {
    let Facts { source, destination, method, .. } = *asked.facts;
    let action = model::action(method);
    let hash = hasher.hash_one((source, destination, action));
    let mut number = || {
        *next_lane += 1;
        *next_lane
    };
    let is_same = lanes
        .get(&hash)
        .is_some_and(|known| *known.source == *source && *known.destination == *destination && known.action == action);
    if !is_same {
        if lanes.len() >= LANES_MAX {
            lanes.clear();
        }
        tally.name("principal", source);
        tally.name("resource", destination);
        tally.name("action", method);
        let mut lane = Lane::new(asked, action);
        let fixed = lane.is_fixed().then(|| lane.ask(asked));
        let (source, destination) = (source.into(), destination.into());
        let world_generation = state.world_generation;
        lanes.insert(hash, Remembered { source, destination, action, world_generation, number: number(), lane, fixed });
    }
    let new = || unreachable!("it was put there just now");
    let remembered = lanes.entry(hash).or_insert_with(new);
    if remembered.world_generation != state.world_generation {
        remembered.world_generation = state.world_generation;
        if remembered.lane.renew(asked.world) {
            remembered.number = number();
        }
    }
    remembered
}

/// Passes on what is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Keys are `u64`, which come by `write_u64`.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
