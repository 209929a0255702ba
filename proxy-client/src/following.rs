//! Follows the engine's decisions: the stream `Decisions.Watch` on one side, an [`Enforcer`] on the other.
//!
//! While the engine is away the enforcer goes on with the last snapshot; nothing here is ever waited for by a request.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tollgate_api::v1;
use tollgate_api::v1::decisions_client::DecisionsClient;
use tollgate_policies::{Enforcer, Standpoint};
use tonic::Streaming;

use crate::backoff::Backoff;
use crate::engine_channel::{EngineAddress, connect, in_time, log_end};

const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often demand is looked for.
const DEMAND_INTERVAL: Duration = Duration::from_millis(100);
/// How long urgent demand waits for more of it: a burst of new buckets becomes one message.
const URGENT_DELAY: Duration = Duration::from_millis(5);
const QUEUE_MESSAGES: usize = 4;
/// Largest snapshot. A whole one holds every policy, entity and signal, more than tonic's 4 MiB.
const SNAPSHOT_BYTES_MAX: usize = 256 << 20;
/// How long a stream that is to end may take to hand over its last message.
const FAREWELL: Duration = Duration::from_secs(1);

/// Who follows, and whom.
#[derive(Debug, Clone)]
pub struct FollowingConfig {
    /// The engine.
    pub engine: EngineAddress,
    /// Name of the reporter, unique in the fleet.
    pub reporter: String,
    /// Microseconds since the epoch at the start of this run.
    pub epoch: u64,
    /// Software and version.
    pub agent: String,
    /// The requests that it is asked about: it gets only the policies that can matter to them.
    pub standpoint: Standpoint,
}

/// Keeps one enforcer up to date. Cheap to clone.
#[derive(Clone)]
pub struct Following {
    shared: Arc<Shared>,
}

struct Shared {
    config: FollowingConfig,
    enforcer: Arc<Enforcer>,
    urgent: Arc<Notify>,
    is_connected: AtomicBool,
    /// What was pushed could not be applied: the next stream starts from nothing.
    starts_over: AtomicBool,
}

impl Following {
    /// Nothing is followed before [`Following::run`].
    #[must_use]
    pub fn new(config: FollowingConfig, enforcer: Arc<Enforcer>) -> Self {
        let urgent = Arc::new(Notify::new());
        let wake = Arc::clone(&urgent);
        enforcer.on_urgent_demand(move || wake.notify_one());
        let (is_connected, starts_over) = <(AtomicBool, AtomicBool)>::default();
        Self { shared: Arc::new(Shared { config, enforcer, urgent, is_connected, starts_over }) }
    }

    /// Whether a snapshot has come on the present stream.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.is_connected.load(Ordering::Relaxed)
    }

    /// Applies snapshots and sends demand until `stop`; reconnects with backoff for as long as it takes. At the end it says
    /// that nothing is enforced here any more, so it may only be told to stop when that is so.
    pub async fn run(&self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        loop {
            let ended = self.watch(&mut backoff, &stop).await;
            self.set_connected(false);
            if stop.is_cancelled() {
                return;
            }
            let wait = backoff.next_wait();
            log_end("watch", &ended, wait);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Runs one stream and says why it ended.
    async fn watch(&self, backoff: &mut Backoff, stop: &CancellationToken) -> tonic::Status {
        let opened = tokio::select! {
            opened = in_time(Session::open(&self.shared)) => opened,
            () = stop.cancelled() => return tonic::Status::cancelled("stopped"),
        };
        match opened {
            Ok(session) => {
                let Err(ended) = session.run(self, backoff, stop).await;
                ended
            }
            Err(error) => error,
        }
    }

    fn set_connected(&self, is_connected: bool) {
        self.shared.is_connected.store(is_connected, Ordering::Relaxed);
    }
}

/// One stream.
struct Session<'a> {
    shared: &'a Shared,
    requests: mpsc::Sender<v1::WatchRequest>,
    snapshots: Streaming<v1::Snapshot>,
    heartbeat: Interval,
    /// A delta is worth nothing before the whole that it changes has been applied.
    has_whole: bool,
}

impl<'a> Session<'a> {
    async fn open(shared: &'a Shared) -> Result<Self, tonic::Status> {
        let connection = connect(&shared.config.engine).await?;
        let mut client = DecisionsClient::new(connection.channel.clone()).max_decoding_message_size(SNAPSHOT_BYTES_MAX);
        let (requests, queue) = mpsc::channel(QUEUE_MESSAGES);
        let Standpoint { called, calling, calls } = shared.config.standpoint.clone();
        let starts_over = shared.starts_over.load(Ordering::Relaxed);
        let hello = v1::WatchHello {
            reporter: shared.config.reporter.clone(),
            epoch: shared.config.epoch,
            agent: shared.config.agent.clone(),
            services: called,
            held: shared.enforcer.held(),
            standpoint: Some(v1::Standpoint { calling, calls, everywhere: false }),
            policies_digest: if starts_over { String::new() } else { shared.enforcer.policies_digest() },
            lists: if starts_over { Vec::new() } else { shared.enforcer.held_lists() },
        };
        // The queue is new and has room.
        let _ = requests.try_send(v1::WatchRequest { hello: Some(hello), ..request(shared) });
        let snapshots = client.watch(connection.request(ReceiverStream::new(queue))).await?.into_inner();
        Ok(Self { shared, requests, snapshots, heartbeat: interval(HEARTBEAT), has_whole: false })
    }

    async fn run(
        mut self,
        following: &Following,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Result<Infallible, tonic::Status> {
        let mut demand = interval(DEMAND_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Err(self.leave().await),
                snapshot = self.snapshots.message() => {
                    let snapshot = snapshot?.ok_or_else(|| tonic::Status::unavailable("the engine closed the stream"))?;
                    self.enforce(&snapshot).await?;
                    following.set_connected(true);
                    backoff.reset();
                }
                () = self.shared.urgent.notified() => {
                    tokio::time::sleep(URGENT_DELAY).await;
                    self.send_demand().await?;
                }
                _ = demand.tick() => self.send_demand().await?,
                _ = self.heartbeat.tick() => {
                    // The transport ends a stream whose other end is gone: one that is still open is a sign of life.
                    if self.has_whole {
                        self.shared.enforcer.heard();
                    }
                    self.send(request(self.shared)).await?;
                }
            }
        }
    }

    /// Applies a snapshot and acknowledges it at once; the engine gives a share away when its former holder has.
    async fn enforce(&mut self, snapshot: &v1::Snapshot) -> Result<(), tonic::Status> {
        self.has_whole |= snapshot.whole;
        if !self.has_whole {
            return self.refuse(snapshot.version, "the first snapshot of the stream is not whole".to_owned()).await;
        }
        if let Err(error) = self.shared.enforcer.apply(snapshot) {
            self.shared.starts_over.store(true, Ordering::Relaxed);
            return self.refuse(snapshot.version, error.to_string()).await;
        }
        self.shared.starts_over.store(false, Ordering::Relaxed);
        if snapshot.heartbeat_ms > 0 {
            self.heartbeat = interval(Duration::from_millis(snapshot.heartbeat_ms.into()));
        }
        self.send(request(self.shared)).await
    }

    /// Says why, and ends the stream: later deltas would build on what was refused, while a new stream begins with a whole.
    async fn refuse(&mut self, version: u64, why: String) -> Result<(), tonic::Status> {
        tracing::error!(version, error = why, "a snapshot was refused, and the last good one stays in force");
        self.send(v1::WatchRequest { refused: why.clone(), ..request(self.shared) }).await?;
        self.close().await;
        Err(tonic::Status::failed_precondition(why))
    }

    /// Gives back whatever is held, which would otherwise stay reserved until the engine forgets the reporter.
    async fn leave(&mut self) -> tonic::Status {
        match self.send(v1::WatchRequest { leaving: true, ..request(self.shared) }).await {
            Ok(()) => self.close().await,
            Err(error) => tracing::debug!(%error, "the engine was not told that the proxy leaves"),
        }
        tonic::Status::cancelled("stopped")
    }

    /// Ends the stream once the engine has read its last message.
    async fn close(&mut self) {
        let (closed, _) = mpsc::channel(1);
        self.requests = closed;
        let rest = async { while let Ok(Some(_)) = self.snapshots.message().await {} };
        let _ = tokio::time::timeout(FAREWELL, rest).await;
    }

    async fn send_demand(&mut self) -> Result<(), tonic::Status> {
        let demand = self.shared.enforcer.take_demand();
        if demand.is_empty() {
            return Ok(());
        }
        self.heartbeat.reset();
        self.send(v1::WatchRequest { demand, ..request(self.shared) }).await
    }

    async fn send(&self, request: v1::WatchRequest) -> Result<(), tonic::Status> {
        let sent = self.requests.send(request);
        in_time(async { sent.await.map_err(|_| tonic::Status::unavailable("the stream was closed")) }).await
    }
}

fn request(shared: &Shared) -> v1::WatchRequest {
    let enforcer = &shared.enforcer;
    v1::WatchRequest {
        sent_ms: enforcer.clock().monotonic_ms(),
        acknowledged_version: enforcer.version(),
        ..v1::WatchRequest::default()
    }
}

fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
