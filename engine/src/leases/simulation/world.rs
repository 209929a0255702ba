//! A fleet in trouble. All times are real milliseconds unless they are named for a clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tollgate_api::v1;

use super::super::{BucketLimit, Hello, LeaseConfig, Leases, Member, StreamId};
use super::chance::{Clock, Random};
use super::process::{Key, Process, Snapshot};

mod trouble;

const TTL_MS: u64 = 1_000;
const STEPS: u64 = 130;
const POLICIES: [(&str, &str); 3] = [("a", "shop/a"), ("b", "shop/b"), ("all", "*")];

enum Up {
    Hello(Box<OwnedHello>),
    Message { sent_ms: u64, version: u64, demand: Vec<v1::Demand> },
    Leave,
    Broken,
}

struct OwnedHello {
    services: Vec<String>,
    held: Vec<v1::Lease>,
    safe_shares: Vec<v1::SafeShare>,
    version: u64,
    sent_ms: u64,
}

/// One connection. What is on its way up when it breaks may still arrive, even after the next one's hello.
struct Connection {
    process: usize,
    up: VecDeque<(u64, Up)>,
    down: VecDeque<(u64, Snapshot)>,
    stream: Option<StreamId>,
    is_whole_due: bool,
    policies_sent: u64,
    /// Gone at the reporter's end.
    is_closed: bool,
    /// Ended or never taken in at the engine's end.
    is_over: bool,
}

struct Runner {
    name: usize,
    epoch: u64,
    process: Process,
    clock: Clock,
    services: Vec<String>,
    connection: Option<usize>,
    connects_ms: u64,
    is_alive: bool,
    has_joined: bool,
    dies_ms: u64,
    acknowledges: bool,
    refuses: bool,
    wanted: BTreeMap<Key, u64>,
}

pub(super) struct World {
    seed: u64,
    random: Random,
    real_ms: u64,
    engine: Option<Leases>,
    engine_clock: Clock,
    engine_starts_ms: u64,
    kept: Vec<Member>,
    version: u64,
    policies: u64,
    limits: Vec<BucketLimit>,
    /// Limits that were in force, with the time of their end.
    past: VecDeque<(u64, Vec<BucketLimit>)>,
    connections: Vec<Connection>,
    runners: Vec<Runner>,
    keys: Vec<Key>,
    tells_shares: bool,
    pub(super) leases_given: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut random = Random(seed);
        let engine_clock = Clock::new(&mut random);
        let keys = POLICIES.iter().map(|(policy, _)| ((*policy).to_owned(), String::from("k"))).collect();
        let mut world = World {
            seed,
            real_ms: 10_000,
            engine: None,
            engine_clock,
            engine_starts_ms: 0,
            kept: Vec::new(),
            version: 0,
            policies: 1,
            limits: Vec::new(),
            past: VecDeque::new(),
            connections: Vec::new(),
            runners: Vec::new(),
            keys,
            tells_shares: random.one_in(2),
            leases_given: 0,
            random,
        };
        for index in 0..POLICIES.len() {
            let rate = world.some_rate();
            world.limits.push(limit(index, rate));
        }
        world.start_engine(None);
        for name in 0..1 + world.random.below(3) as usize {
            world.spawn(name);
        }
        world
    }

    pub(super) fn run(&mut self) {
        for _ in 0..STEPS {
            self.real_ms += 5 + self.random.below(90);
            self.trouble();
            self.reporters_send();
            self.engine_receives();
            self.engine_pushes();
            self.reporters_receive();
            self.check();
        }
    }

    fn some_rate(&mut self) -> u64 {
        if self.random.one_in(8) { 1 + self.random.below(20) } else { 1_000_000 + self.random.below(100_000_000) }
    }

    fn engine_ms(&self) -> u64 {
        self.engine_clock.read(self.real_ms)
    }

    fn delay(&mut self) -> u64 {
        if self.random.one_in(10) { self.random.below(1_500) } else { self.random.below(60) }
    }

    fn start_engine(&mut self, known: Option<Vec<Member>>) {
        self.engine_clock = Clock::new(&mut self.random);
        let config = LeaseConfig { member_ttl: Duration::from_secs(3600), ..LeaseConfig::with_ttl(ttl()) };
        let now_ms = self.engine_ms();
        let mut leases = Leases::new(config, now_ms, known);
        leases.set_limits(&self.limits, now_ms);
        self.engine = Some(leases);
        if self.random.one_in(2) {
            self.version = 0;
        }
    }

    fn spawn(&mut self, name: usize) {
        let clock = Clock::new(&mut self.random);
        let epoch = self.runners.len() as u64 + 1;
        let mut runner = Runner {
            name,
            epoch,
            process: Process::default(),
            clock,
            services: Vec::new(),
            connection: None,
            connects_ms: self.real_ms,
            is_alive: true,
            has_joined: false,
            dies_ms: u64::MAX,
            acknowledges: !self.random.one_in(12),
            refuses: self.random.one_in(20),
            wanted: BTreeMap::new(),
        };
        runner.services = self.some_services();
        self.runners.push(runner);
        let index = self.runners.len() - 1;
        self.want(index);
    }

    fn some_services(&mut self) -> Vec<String> {
        let choice = self.random.below(6);
        let services: &[&str] = match choice {
            0 => &["shop/b"],
            1 => &["shop/a", "shop/b"],
            2 => &[],
            _ => &["shop/a"],
        };
        services.iter().map(|service| (*service).to_owned()).collect()
    }

    fn want(&mut self, index: usize) {
        for key in self.keys.clone() {
            let wanted = if self.random.one_in(3) { 0 } else { self.random.below(150_000_000) };
            self.runners[index].wanted.insert(key, wanted);
        }
    }

    fn alive(&mut self) -> Option<usize> {
        let alive: Vec<usize> = (0..self.runners.len()).filter(|&index| self.runners[index].is_alive).collect();
        let choice = self.random.below(alive.len() as u64) as usize;
        alive.get(choice).copied()
    }

    /// When a message sent up now arrives: a stream keeps its order.
    fn arrival(&mut self, id: usize) -> u64 {
        let at = self.real_ms + self.delay();
        self.connections[id].up.back().map_or(at, |(last, _)| at.max(*last))
    }

    fn reporters_send(&mut self) {
        for index in 0..self.runners.len() {
            let runner = &self.runners[index];
            if !runner.is_alive {
                continue;
            }
            let sent_ms = runner.clock.read(self.real_ms);
            let version = if runner.acknowledges { runner.process.version } else { 0 };
            match runner.connection {
                None if self.real_ms >= runner.connects_ms && self.engine.is_some() => {
                    let hello = OwnedHello {
                        services: runner.services.clone(),
                        held: runner.process.held(sent_ms),
                        safe_shares: if self.tells_shares { runner.process.safe_shares() } else { Vec::new() },
                        version: runner.process.version,
                        sent_ms,
                    };
                    self.connect(index, hello);
                }
                Some(id) => {
                    let demand = self.demand(index);
                    let at = self.arrival(id);
                    self.connections[id].up.push_back((at, Up::Message { sent_ms, version, demand }));
                }
                None => {}
            }
        }
    }

    fn connect(&mut self, index: usize, hello: OwnedHello) {
        let id = self.connections.len();
        self.connections.push(Connection {
            process: index,
            up: VecDeque::new(),
            down: VecDeque::new(),
            stream: None,
            is_whole_due: true,
            policies_sent: 0,
            is_closed: false,
            is_over: false,
        });
        let at = self.arrival(id);
        self.connections[id].up.push_back((at, Up::Hello(Box::new(hello))));
        self.runners[index].connection = Some(id);
    }

    fn demand(&self, index: usize) -> Vec<v1::Demand> {
        let wanted = self.runners[index].wanted.iter().filter(|(_, wanted)| **wanted > 0);
        wanted
            .map(|((policy, key), wanted)| v1::Demand {
                bucket: Some(v1::Bucket { policy: policy.clone(), key: key.clone() }),
                wanted: wanted / 20,
                interval_ms: 50,
            })
            .collect()
    }

    fn engine_receives(&mut self) {
        if self.engine.is_none() {
            return;
        }
        // Every other time the newest connection first: streams overtake each other.
        let mut order: Vec<usize> = (0..self.connections.len()).filter(|&id| !self.connections[id].is_over).collect();
        if self.random.one_in(2) {
            order.reverse();
        }
        for id in order {
            let real_ms = self.real_ms;
            while let Some((_, up)) = self.connections[id].up.pop_front_if(|(at, _)| *at <= real_ms) {
                self.engine_hears(id, up);
            }
        }
    }

    fn engine_hears(&mut self, id: usize, up: Up) {
        let now_ms = self.engine_ms();
        if let Up::Hello(hello) = up {
            self.engine_accepts(id, &hello);
            return;
        }
        let (Some(engine), Some(stream)) = (&mut self.engine, self.connections[id].stream) else { return };
        match up {
            Up::Message { sent_ms, version, demand } => {
                engine.heard(stream, sent_ms, version, now_ms);
                demand.iter().for_each(|demand| engine.demand(stream, demand, now_ms));
            }
            Up::Leave => {
                engine.leave(stream, now_ms);
                self.connections[id].is_over = true;
            }
            Up::Broken => {
                engine.disconnected(stream, now_ms);
                self.connections[id].is_over = true;
            }
            Up::Hello(_) => {}
        }
    }

    fn engine_accepts(&mut self, id: usize, hello: &OwnedHello) {
        let now_ms = self.engine_ms();
        let Some(engine) = &mut self.engine else { return };
        let runner = &self.runners[self.connections[id].process];
        let name = format!("r{}", runner.name);
        let hello = Hello {
            reporter: &name,
            epoch: runner.epoch,
            services: &hello.services,
            held: &hello.held,
            safe_shares: &hello.safe_shares,
            acknowledged_version: hello.version,
            sent_ms: hello.sent_ms,
        };
        let (name, epoch) = (runner.name, runner.epoch);
        let stream = engine.join(&hello, now_ms).unwrap();
        self.connections[id].stream = Some(stream);
        let process = self.connections[id].process;
        self.runners[process].has_joined = true;
        self.replace_others(id, name, epoch);
    }

    /// The contract for names: a process that was replaced while connected ends within one ttl; one that was cut off then
    /// has ended.
    fn replace_others(&mut self, id: usize, name: usize, epoch: u64) {
        for index in 0..self.runners.len() {
            let runner = &self.runners[index];
            if runner.name != name || runner.epoch == epoch || !runner.is_alive {
                continue;
            }
            let is_connected = self
                .connections
                .iter()
                .any(|connection| connection.process == index && connection.stream.is_some() && !connection.is_over);
            if !runner.has_joined {
                // It has yet to say hello and holds nothing.
                continue;
            }
            if is_connected {
                self.runners[index].dies_ms = self.real_ms + self.random.below(TTL_MS * 9 / 10);
            } else {
                self.kill(index);
            }
        }
        for other in 0..self.connections.len() {
            let process = self.connections[other].process;
            if other != id && self.runners[process].name == name && self.connections[other].stream.is_some() {
                self.connections[other].is_over = true;
            }
        }
    }

    fn engine_pushes(&mut self) {
        let now_ms = self.engine_ms();
        if let Some(engine) = &mut self.engine {
            engine.tick(now_ms);
        }
        for id in 0..self.connections.len() {
            self.push(id);
        }
    }

    fn push(&mut self, id: usize) {
        let now_ms = self.engine_ms();
        let connection = &self.connections[id];
        let (Some(engine), Some(stream)) = (&mut self.engine, connection.stream) else { return };
        let is_policy_due = connection.policies_sent != self.policies;
        if connection.is_over || !(is_policy_due || engine.has_changes(stream, now_ms)) {
            return;
        }
        self.version += 1;
        let changes = engine.changes(stream, self.version, now_ms);
        self.leases_given += changes.leases.len() as u64;
        self.kept = engine.members();
        let snapshot = Snapshot {
            version: self.version,
            is_whole: connection.is_whole_due,
            echo_ms: changes.echo_ms,
            limits: is_policy_due.then(|| self.limits.clone()),
            leases: changes.leases,
            safe_shares: changes.safe_shares,
        };
        let at = self.real_ms + self.delay();
        let policies = self.policies;
        let connection = &mut self.connections[id];
        connection.is_whole_due = false;
        connection.policies_sent = policies;
        let at = connection.down.back().map_or(at, |(last, _)| at.max(*last));
        if !connection.is_closed {
            connection.down.push_back((at, snapshot));
        }
    }

    fn reporters_receive(&mut self) {
        for index in 0..self.runners.len() {
            let Some(id) = self.runners[index].connection else { continue };
            let real_ms = self.real_ms;
            while let Some((_, snapshot)) = self.connections[id].down.pop_front_if(|(at, _)| *at <= real_ms) {
                if !self.runners[index].refuses {
                    self.runners[index].process.apply(&snapshot);
                }
            }
            if self.connections[id].is_over && self.connections[id].down.is_empty() {
                self.break_connection(index);
            }
        }
    }

    /// INVARIANT: no bucket is enforced at more than its limit. A limit that was lowered or removed counts for two times ttl
    /// and margin more, and for as long as a process is alive that has not heard of the change.
    fn check(&mut self) {
        let over_ms = 2 * (TTL_MS + TTL_MS / 100 + 50) * 1_005 / 1_000 + 1;
        while self.past.front().is_some_and(|(ended_ms, _)| ended_ms + over_ms < self.real_ms) {
            self.past.pop_front();
        }
        for key in &self.keys {
            let in_force = self.past.iter().map(|(_, limits)| limits).chain([&self.limits]);
            let rates = in_force.flatten().filter(|limit| *limit.policy == *key.0).map(|limit| limit.rate);
            let alive = || self.runners.iter().filter(|runner| runner.is_alive);
            let most = rates.chain(alive().map(|runner| runner.process.limit(&key.0))).max().unwrap_or(0);
            let enforced = |runner: &Runner| runner.process.enforced(key, runner.clock.read(self.real_ms));
            let sum: u64 = alive().map(enforced).sum();
            assert!(
                sum <= most,
                "seed {}: {sum} of {most} enforced for {key:?} at {} ms: {:?}",
                self.seed,
                self.real_ms,
                alive().map(|runner| (runner.name, runner.epoch, enforced(runner))).collect::<Vec<_>>(),
            );
        }
    }
}

fn ttl() -> Duration {
    Duration::from_millis(TTL_MS)
}

fn limit(index: usize, rate: u64) -> BucketLimit {
    let (policy, scope) = POLICIES[index];
    BucketLimit { policy: Arc::from(policy), scope: Arc::from(scope), rate, burst: rate }
}
