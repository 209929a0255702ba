//! The reporters that follow the engine's snapshots, and the leases that are divided among them.
//!
//! [`Leases`] holds the rules and has neither clock nor disk; here it gets both, and who has to be woken is woken.

mod table;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tollgate_api::v1;

pub(crate) use self::table::LeasesTable;
use crate::clock::Clock;
use crate::data::{DataDir, DataError};
use crate::leases::{BucketLimit, Changes, Hello, LeaseConfig, Leases, Member, StreamId, TooManyMembers};
use crate::metrics::Metrics;

const MEMBERS: &str = "members";
/// Leases are looked at this often, and at once when somebody wants something.
const TICK: Duration = Duration::from_millis(100);
/// Demand of many reporters is answered together, at most this often.
const URGENT_TICK: Duration = Duration::from_millis(5);

const COUNT_EVERY_MS: u64 = 5_000;

/// All streams of snapshots and the leases behind them.
pub(crate) struct Fleet {
    clock: Clock,
    dir: Arc<DataDir>,
    metrics: Arc<Metrics>,
    leases: Mutex<Leases>,
    /// What of the members is on disk.
    saved: Mutex<Saved>,
    /// When the leases were last counted, which means walking through all of them.
    counted_ms: Mutex<u64>,
    streams: Mutex<HashMap<StreamId, Stream>>,
    urgent: Notify,
}

/// Revisions of the members, as [`Leases`] counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Saved {
    /// What they may hold has grown: kept before they are told.
    revision: u64,
    /// It has shrunk: kept when there is time.
    slack: u64,
}

impl Saved {
    fn of(leases: &Leases) -> Self {
        Self { revision: leases.members_revision(), slack: leases.members_slack() }
    }
}

/// One stream, as its session sees it.
#[derive(Clone)]
pub(crate) struct Stream {
    reporter: Arc<str>,
    /// Something is due.
    pub(crate) wake: Arc<Notify>,
    /// A newer stream of the same reporter has taken its place.
    pub(crate) replaced: CancellationToken,
}

impl Fleet {
    pub(crate) fn open(
        config: LeaseConfig,
        clock: Clock,
        dir: Arc<DataDir>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, DataError> {
        let known: Option<Vec<Member>> = match dir.read(MEMBERS)? {
            Some(text) => Some(serde_json::from_str(&text).map_err(|error| dir.damaged(MEMBERS, error))?),
            None => None,
        };
        let leases = Leases::new(config, clock.monotonic_ms(), known);
        save(&dir, &leases)?;
        let saved = Mutex::new(Saved::of(&leases));
        let (leases, streams) = (Mutex::new(leases), Mutex::default());
        let counted_ms = Mutex::default();
        Ok(Self { clock, dir, metrics, leases, saved, counted_ms, streams, urgent: Notify::new() })
    }

    /// What is divided from now on.
    pub(crate) fn set_limits(&self, limits: &[BucketLimit]) {
        self.leases.lock().set_limits(limits, self.clock.monotonic_ms());
        self.urgent.notify_one();
    }

    /// A stream begins; an older one of the same reporter ends.
    pub(crate) fn join(&self, hello: &Hello<'_>) -> Result<(StreamId, Stream), TooManyMembers> {
        // One lock over both, so that of two streams of one reporter the one that joined last is the one that stays.
        let mut leases = self.leases.lock();
        let id = leases.join(hello, self.clock.monotonic_ms())?;
        let stream =
            Stream { reporter: hello.reporter.into(), wake: Arc::default(), replaced: CancellationToken::new() };
        let mut streams = self.streams.lock();
        streams.retain(|_, older| {
            let is_replaced = older.reporter == stream.reporter;
            if is_replaced {
                older.replaced.cancel();
            }
            !is_replaced
        });
        streams.insert(id, stream.clone());
        drop(streams);
        drop(leases);
        self.urgent.notify_one();
        Ok((id, stream))
    }

    /// A message of a stream.
    pub(crate) fn heard(&self, stream: StreamId, request: &v1::WatchRequest) {
        let now_ms = self.clock.monotonic_ms();
        let mut leases = self.leases.lock();
        leases.heard(stream, request.sent_ms, request.acknowledged_version, now_ms);
        for demand in &request.demand {
            leases.demand(stream, demand, now_ms);
        }
        if request.leaving {
            leases.leave(stream, now_ms);
        }
        drop(leases);
        self.urgent.notify_one();
    }

    /// A stream has ended.
    pub(crate) fn disconnected(&self, stream: StreamId) {
        self.leases.lock().disconnected(stream, self.clock.monotonic_ms());
        self.streams.lock().remove(&stream);
        self.urgent.notify_one();
    }

    pub(crate) fn has_changes(&self, stream: StreamId) -> bool {
        self.leases.lock().has_changes(stream, self.clock.monotonic_ms())
    }

    /// What to push under `version`. An error means that it must not be pushed: the members could not be kept.
    pub(crate) fn changes(&self, stream: StreamId, version: u64) -> Result<Changes, DataError> {
        let mut leases = self.leases.lock();
        let changes = leases.changes(stream, version, self.clock.monotonic_ms());
        let mut saved = self.saved.lock();
        if saved.revision != leases.members_revision() {
            // INVARIANT: what a member may enforce is on disk before it is told, so that a restarted engine reserves it.
            // It is a small file, rarely written, and nobody may be given anything until it is.
            save(&self.dir, &leases)?;
            *saved = Saved::of(&leases);
        }
        Ok(changes)
    }

    /// Keeps what the members hold less of than is on disk, without keeping the leases from anybody meanwhile.
    fn save_slack(&self) {
        let leases = self.leases.lock();
        let mut saved = self.saved.lock();
        let now = Saved::of(&leases);
        if *saved == now {
            return;
        }
        let members = leases.members();
        drop(leases);
        match write(&self.dir, &members) {
            Ok(()) => *saved = now,
            Err(error) => tracing::warn!(%error, "members were not kept: too much stays reserved until they are"),
        }
    }

    /// Looks after the leases for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = self.urgent.notified() => {}
            }
            if self.tick() {
                let fleet = Arc::clone(&self);
                // It ends by itself, and one that is not waited for at shutdown loses nothing.
                drop(tokio::task::spawn_blocking(move || fleet.save_slack()));
            }
            tokio::time::sleep(URGENT_TICK).await;
        }
    }

    /// Says whether it is time for what is done rarely.
    fn tick(&self) -> bool {
        let now_ms = self.clock.monotonic_ms();
        let mut leases = self.leases.lock();
        leases.tick(now_ms);
        let streams = self.streams.lock();
        streams
            .iter()
            .filter(|(id, _)| leases.has_changes(**id, now_ms))
            .for_each(|(_, stream)| stream.wake.notify_one());
        drop(streams);
        let mut counted_ms = self.counted_ms.lock();
        let is_time = now_ms.saturating_sub(*counted_ms) >= COUNT_EVERY_MS;
        if is_time {
            *counted_ms = now_ms;
            self.metrics.leases(leases.rows(now_ms).iter().filter(|row| row.expires_in_ms > 0).count());
        }
        is_time
    }
}

fn save(dir: &DataDir, leases: &Leases) -> Result<(), DataError> {
    write(dir, &leases.members())
}

fn write(dir: &DataDir, members: &[Member]) -> Result<(), DataError> {
    let members = serde_json::to_string(members).map_err(|error| dir.damaged(MEMBERS, error))?;
    dir.write(MEMBERS, &members)
}
