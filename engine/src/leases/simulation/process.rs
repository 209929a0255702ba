//! One process of a reporter, enforcing what it is sent as the contract says.

use std::collections::BTreeMap;

use tollgate_api::v1;

use super::super::ledger::safe_part;
use super::super::model::BucketLimit;

/// What the engine sends: the parts of `v1::Snapshot` that matter here.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub(super) version: u64,
    pub(super) is_whole: bool,
    pub(super) echo_ms: u64,
    pub(super) limits: Option<Vec<BucketLimit>>,
    pub(super) leases: Vec<v1::Lease>,
    pub(super) safe_shares: Vec<v1::SafeShare>,
}

pub(super) type Key = (String, String);

#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) version: u64,
    limits: BTreeMap<String, BucketLimit>,
    /// Rate, and when it ends on the process's own clock.
    leases: BTreeMap<Key, (u64, u64)>,
    safe_shares: BTreeMap<String, u32>,
}

impl Process {
    pub(super) fn apply(&mut self, snapshot: &Snapshot) {
        if snapshot.is_whole {
            *self = Process::default();
        }
        self.version = snapshot.version;
        if let Some(limits) = &snapshot.limits {
            self.limits = limits.iter().map(|limit| (limit.policy.to_string(), limit.clone())).collect();
            self.leases.retain(|(policy, _), _| self.limits.contains_key(policy));
        }
        for lease in &snapshot.leases {
            let bucket = lease.bucket.clone().unwrap();
            self.leases.insert((bucket.policy, bucket.key), (lease.rate, snapshot.echo_ms + lease.ttl_ms));
        }
        for share in &snapshot.safe_shares {
            self.safe_shares.insert(share.scope.clone(), share.parts_per_million);
        }
    }

    pub(super) fn limit(&self, policy: &str) -> u64 {
        self.limits.get(policy).map_or(0, |limit| limit.rate)
    }

    /// The rate that it enforces for a bucket when its own clock reads this.
    pub(super) fn enforced(&self, key: &Key, clock_ms: u64) -> u64 {
        let Some(limit) = self.limits.get(&key.0) else { return 0 };
        let ppm = self.safe_shares.get(&*limit.scope).copied().unwrap_or(0);
        let lease = self.leases.get(key).filter(|(_, ends_ms)| clock_ms < *ends_ms).map_or(0, |(rate, _)| *rate);
        safe_part(limit.rate, u64::from(ppm)) + lease
    }

    pub(super) fn held(&self, clock_ms: u64) -> Vec<v1::Lease> {
        let held = self.leases.iter().filter(|(_, (_, ends_ms))| clock_ms < *ends_ms);
        held.map(|((policy, key), (rate, ends_ms))| v1::Lease {
            bucket: Some(v1::Bucket { policy: policy.clone(), key: key.clone() }),
            rate: *rate,
            burst: 0,
            ttl_ms: ends_ms - clock_ms,
        })
        .collect()
    }

    pub(super) fn safe_shares(&self) -> Vec<v1::SafeShare> {
        let share = |(scope, ppm): (&String, &u32)| v1::SafeShare { scope: scope.clone(), parts_per_million: *ppm };
        self.safe_shares.iter().map(share).collect()
    }
}
