//! A fleet on a good network, for how well and how soon limits are divided.

use std::collections::VecDeque;
use std::sync::Arc;

use tollgate_api::v1;

use super::super::{BucketLimit, Hello, LeaseConfig, Leases, StreamId};
use super::process::{Key, Process, Snapshot};

const STEP_MS: u64 = 10;
/// Reporters send demand and the engine ticks this often.
const BEAT_MS: u64 = 100;
/// One way.
const DELAY_MS: u64 = 10;

struct Up {
    sent_ms: u64,
    version: u64,
    wanted: u64,
}

pub(super) struct Fleet {
    leases: Leases,
    limits: Vec<BucketLimit>,
    key: Key,
    processes: Vec<Option<(Process, StreamId)>>,
    up: VecDeque<(u64, usize, Up)>,
    down: VecDeque<(u64, usize, Snapshot)>,
    now_ms: u64,
    version: u64,
    /// Demand of each reporter in microtokens per second.
    pub(super) wanted: Vec<u64>,
    /// Microtokens that each reporter could take.
    pub(super) served: Vec<u64>,
    /// The lowest rate that each has enforced.
    pub(super) lowest: Vec<u64>,
}

impl Fleet {
    pub(super) fn new(size: usize, rate: u64) -> Fleet {
        let limits = vec![BucketLimit { policy: Arc::from("p"), scope: Arc::from("shop/a"), rate, burst: rate }];
        let mut leases = Leases::new(LeaseConfig::default(), 0, None);
        leases.set_limits(&limits, 0);
        let mut fleet = Fleet {
            leases,
            limits,
            key: (String::from("p"), String::new()),
            processes: Vec::new(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            now_ms: 0,
            version: 0,
            wanted: Vec::new(),
            served: Vec::new(),
            lowest: Vec::new(),
        };
        (0..size).for_each(|_| fleet.add());
        fleet
    }

    pub(super) fn add(&mut self) {
        let name = format!("r{}", self.processes.len());
        let services = [String::from("shop/a")];
        let hello = Hello {
            reporter: &name,
            epoch: 1,
            services: &services,
            held: &[],
            safe_shares: &[],
            acknowledged_version: 0,
            sent_ms: self.now_ms,
        };
        let stream = self.leases.join(&hello, self.now_ms).unwrap();
        self.processes.push(Some((Process::default(), stream)));
        self.wanted.push(0);
        self.served.push(0);
        self.lowest.push(u64::MAX);
    }

    pub(super) fn leave(&mut self, reporter: usize) {
        let (_, stream) = self.processes[reporter].take().unwrap();
        self.leases.leave(stream, self.now_ms);
    }

    pub(super) fn enforced(&self, reporter: usize) -> u64 {
        self.processes[reporter].as_ref().map_or(0, |(process, _)| process.enforced(&self.key, self.now_ms))
    }

    pub(super) fn total_enforced(&self) -> u64 {
        (0..self.processes.len()).map(|reporter| self.enforced(reporter)).sum()
    }

    pub(super) fn run(&mut self, for_ms: u64) {
        let end_ms = self.now_ms + for_ms;
        while self.now_ms < end_ms {
            self.now_ms += STEP_MS;
            self.deliver();
            if self.now_ms.is_multiple_of(BEAT_MS) {
                self.beat();
            }
            assert!(self.total_enforced() <= self.limits[0].rate);
            for reporter in 0..self.processes.len() {
                let rate = self.enforced(reporter);
                self.served[reporter] += rate.min(self.wanted[reporter]) * STEP_MS / 1000;
                self.lowest[reporter] = self.lowest[reporter].min(rate);
            }
        }
    }

    fn beat(&mut self) {
        for (reporter, slot) in self.processes.iter().enumerate() {
            let Some((process, _)) = slot else { continue };
            let wanted = self.wanted[reporter] * BEAT_MS / 1000;
            let message = Up { sent_ms: self.now_ms, version: process.version, wanted };
            self.up.push_back((self.now_ms + DELAY_MS, reporter, message));
        }
    }

    fn deliver(&mut self) {
        while let Some((_, reporter, up)) = self.up.pop_front_if(|(at, _, _)| *at <= self.now_ms) {
            let Some((_, stream)) = self.processes[reporter] else { continue };
            self.leases.heard(stream, up.sent_ms, up.version, self.now_ms);
            if up.wanted > 0 {
                let bucket = Some(v1::Bucket { policy: self.key.0.clone(), key: self.key.1.clone() });
                let demand = v1::Demand { bucket, wanted: up.wanted, interval_ms: BEAT_MS };
                self.leases.demand(stream, &demand, self.now_ms);
            }
        }
        while let Some((_, reporter, snapshot)) = self.down.pop_front_if(|(at, _, _)| *at <= self.now_ms) {
            if let Some((process, _)) = &mut self.processes[reporter] {
                process.apply(&snapshot);
                // An acknowledgement need not wait for the next beat.
                let up = Up { sent_ms: self.now_ms, version: process.version, wanted: 0 };
                self.up.push_back((self.now_ms + DELAY_MS, reporter, up));
            }
        }
        self.leases.tick(self.now_ms);
        for reporter in 0..self.processes.len() {
            self.push(reporter);
        }
    }

    fn push(&mut self, reporter: usize) {
        let Some((process, stream)) = &self.processes[reporter] else { return };
        if !self.leases.has_changes(*stream, self.now_ms) {
            return;
        }
        self.version += 1;
        let changes = self.leases.changes(*stream, self.version, self.now_ms);
        let snapshot = Snapshot {
            version: self.version,
            is_whole: false,
            echo_ms: changes.echo_ms,
            limits: (process.version == 0).then(|| self.limits.clone()),
            leases: changes.leases,
            safe_shares: changes.safe_shares,
        };
        self.down.push_back((self.now_ms + DELAY_MS, reporter, snapshot));
    }
}
