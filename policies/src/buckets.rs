//! Every bucket of an enforcer, with the leases it holds.
//!
//! Bounded: of more than [`BUCKETS_MAX`] buckets the longest unused are forgotten. A forgotten bucket is full when it is
//! wanted again, so that under such a flood of keys a limit is looser than written.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tollgate_api::v1;

use crate::bucket::{Bucket, Lease, Share};

/// Most buckets.
pub(crate) const BUCKETS_MAX: usize = 100_000;
const SHARDS: usize = 16;
const NS_PER_MS: u64 = 1_000_000;

/// What all buckets of one policy have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Terms {
    pub(crate) rate: u64,
    pub(crate) burst: u64,
    pub(crate) safe_ppm: u32,
}

pub(crate) struct Buckets {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    /// By policy. Written before the buckets are changed, so that a bucket made meanwhile is right or is changed after.
    terms: RwLock<HashMap<Arc<str>, Terms>>,
    demand_ms: AtomicU64,
}

/// By policy, then by key.
type ByBucket<T> = HashMap<Arc<str>, HashMap<Box<str>, T>>;

#[derive(Default)]
struct Shard {
    buckets: ByBucket<Arc<Bucket>>,
    /// Also of buckets that nobody has wanted here yet, or that were forgotten.
    leases: ByBucket<Lease>,
    count: usize,
}

impl Buckets {
    pub(crate) fn new(now_ns: u64) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            terms: RwLock::default(),
            demand_ms: AtomicU64::new(now_ns / NS_PER_MS),
        }
    }

    /// Hash of a bucket's name: what threads remember buckets by.
    pub(crate) fn hash(&self, policy: &str, key: &str) -> u64 {
        self.hasher.hash_one((policy, key))
    }

    /// The bucket, and whether it was made just now.
    pub(crate) fn get(&self, policy: &Arc<str>, key: &str, now_ns: u64) -> (Arc<Bucket>, bool) {
        let mut shard = self.shard(policy, key).lock();
        if let Some(bucket) = shard.buckets.get(policy).and_then(|keys| keys.get(key)) {
            return (Arc::clone(bucket), false);
        }
        if shard.count >= BUCKETS_MAX / SHARDS {
            shard.forget_longest_unused(now_ns);
        }
        let terms = self.terms.read().get(policy).copied().unwrap_or_default();
        let lease = shard.leases.get(policy).and_then(|keys| keys.get(key)).copied();
        let bucket = Arc::new(Bucket::new(terms.share(lease), now_ns));
        shard.buckets.entry(Arc::clone(policy)).or_default().insert(key.into(), Arc::clone(&bucket));
        shard.count += 1;
        (bucket, true)
    }

    /// Makes terms known to buckets that are still to be made; those that there are stay as they are.
    pub(crate) fn add_terms(&self, terms: &HashMap<Arc<str>, Terms>) {
        self.terms.write().extend(terms.iter().map(|(policy, terms)| (Arc::clone(policy), *terms)));
    }

    /// Replaces what is common to the buckets of each policy. Policies that are not named lose their buckets and leases.
    pub(crate) fn set_terms(&self, terms: HashMap<Arc<str>, Terms>, now_ns: u64) {
        self.terms.write().clone_from(&terms);
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.leases.retain(|policy, _| terms.contains_key(policy));
            shard.retain(|policy, _, bucket| match terms.get(policy) {
                Some(terms) => {
                    bucket.change(now_ns, |share| *share = terms.share(share.lease));
                    true
                }
                // With requests under way it stays until they have ended and it is idle.
                None => !bucket.forget(now_ns),
            });
        }
    }

    /// Takes a lease; one of rate and burst 0 takes it away.
    pub(crate) fn lease(&self, policy: &str, key: &str, lease: Lease, now_ns: u64) {
        let lease = (lease.rate > 0 || lease.burst > 0).then_some(lease);
        let mut shard = self.shard(policy, key).lock();
        let leases = shard.leases.entry(Arc::from(policy)).or_default();
        match lease {
            Some(lease) => drop(leases.insert(key.into(), lease)),
            None => drop(leases.remove(key)),
        }
        if let Some(bucket) = shard.buckets.get(policy).and_then(|keys| keys.get(key)) {
            bucket.change(now_ns, |share| share.lease = lease);
        }
    }

    /// Ends every lease that is not in `kept`.
    pub(crate) fn drop_leases(&self, kept: &[v1::Lease], now_ns: u64) {
        let kept = kept.iter().filter_map(|lease| lease.bucket.as_ref());
        let kept: HashSet<_> = kept.map(|bucket| (bucket.policy.as_str(), bucket.key.as_str())).collect();
        for shard in &self.shards {
            let mut shard = shard.lock();
            let mut dropped = Vec::new();
            for (policy, leases) in &mut shard.leases {
                let keys = leases.extract_if(|key, _| !kept.contains(&(&**policy, &**key)));
                dropped.extend(keys.map(|(key, _)| (Arc::clone(policy), key)));
            }
            for (policy, key) in dropped {
                if let Some(bucket) = shard.buckets.get(&policy).and_then(|keys| keys.get(&key)) {
                    bucket.change(now_ns, |share| share.lease = None);
                }
            }
        }
    }

    /// What was wanted since the last call. Forgets what nobody uses on the way.
    pub(crate) fn take_demand(&self, now_ns: u64) -> Vec<v1::Demand> {
        let now_ms = now_ns / NS_PER_MS;
        let interval_ms = now_ms.saturating_sub(self.demand_ms.swap(now_ms, Ordering::AcqRel)).max(1);
        let mut demand = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.leases.values_mut().for_each(|leases| leases.retain(|_, lease| now_ms < lease.expires_ms));
            shard.leases.retain(|_, leases| !leases.is_empty());
            shard.retain(|policy, key, bucket| {
                let wanted = bucket.take_wanted();
                if wanted > 0 {
                    let bucket = Some(v1::Bucket { policy: policy.to_string(), key: key.to_owned() });
                    demand.push(v1::Demand { bucket, wanted, interval_ms });
                }
                wanted > 0 || !bucket.forget_if_idle(now_ns)
            });
        }
        demand
    }

    /// Leases that have not run out, with the time that they still have.
    pub(crate) fn held(&self, now_ns: u64) -> Vec<v1::Lease> {
        let now_ms = now_ns / NS_PER_MS;
        let mut held = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            for (policy, leases) in &shard.leases {
                held.extend(leases.iter().filter(|(_, lease)| now_ms < lease.expires_ms).map(|(key, lease)| {
                    v1::Lease {
                        bucket: Some(v1::Bucket { policy: policy.to_string(), key: key.to_string() }),
                        rate: lease.rate,
                        burst: lease.burst,
                        ttl_ms: lease.expires_ms - now_ms,
                    }
                }));
            }
        }
        held
    }

    fn shard(&self, policy: &str, key: &str) -> &Mutex<Shard> {
        &self.shards[self.hash(policy, key) as usize % SHARDS]
    }
}

impl Terms {
    fn share(&self, lease: Option<Lease>) -> Share {
        Share { limit_rate: self.rate, limit_burst: self.burst, safe_ppm: self.safe_ppm, lease }
    }
}

impl Shard {
    fn retain(&mut self, mut keep: impl FnMut(&Arc<str>, &str, &Arc<Bucket>) -> bool) {
        let mut count = 0;
        self.buckets.retain(|policy, keys| {
            keys.retain(|key, bucket| keep(policy, key, bucket));
            count += keys.len();
            !keys.is_empty()
        });
        self.count = count;
    }

    /// Makes room for many at once, so that a flood of new keys pays for the search only now and then.
    fn forget_longest_unused(&mut self, now_ns: u64) {
        let mut used: Vec<_> =
            self.buckets.values().flat_map(|keys| keys.values()).map(|bucket| bucket.used_ns()).collect();
        let oldest = used.len() / 8;
        let (_, threshold, _) = used.select_nth_unstable(oldest);
        let threshold = *threshold;
        self.retain(|_, _, bucket| bucket.used_ns() > threshold || !bucket.forget(now_ns));
    }
}
