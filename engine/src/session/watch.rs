//! A stream of snapshots.
//!
//! Bound: nothing is queued. A snapshot is made when the stream can take it, of the newest state, and a reporter that has
//! not acknowledged the newest 1,000 pushes is taken for lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_api::v1;

use tollgate_policies::Slice;

use super::lists::ListsHeld;
use super::slicing::{Place, RecentSlices};
use super::{SessionError, delta};
use crate::data::DataError;
use crate::decisions::{DecisionLog, Moment, Push};
use crate::fleet::{self, Fleet};
use crate::leases::{Hello, StreamId};
use crate::metrics::Metrics;
use crate::published::{Published, Publisher};
use crate::reporters::{Introduction, Reporter, Reporters, Stream};
use crate::signals::to_proto;

const UNACKNOWLEDGED_MAX: usize = 1_000;
/// The stream of a reporter that could not apply a snapshot ends after this, or when something changes.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// Where snapshots come from, and what counts them.
#[derive(Clone)]
pub(crate) struct Outlet {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) reporters: Arc<Reporters>,
    pub(crate) decisions: Arc<DecisionLog>,
    pub(crate) recent: Arc<RecentSlices>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) heartbeat: Duration,
    pub(crate) stop: CancellationToken,
}

/// One reporter's stream of snapshots. Dropping it ends the stream; the reporter stays a member of the fleet.
pub struct WatchSession {
    outlet: Outlet,
    reporter: Arc<Reporter>,
    id: StreamId,
    stream: fleet::Stream,
    newest: watch::Receiver<Arc<Published>>,
    place: Place,
    lists: ListsHeld,
    /// What the last snapshot was made of; `None` when the next one has to be whole.
    sent: Option<Sent>,
    /// After a refusal: what was refused, and when the stream ends although nothing has changed.
    refused: Option<(Arc<Published>, Instant)>,
    unacknowledged: VecDeque<Arc<Push>>,
}

/// A state, and what of its policies the reporter has got.
struct Sent {
    state: Arc<Published>,
    slice: Arc<Slice>,
}

impl WatchSession {
    pub(crate) fn open(outlet: Outlet, request: &v1::WatchRequest) -> Result<Self, SessionError> {
        if outlet.stop.is_cancelled() {
            return Err(SessionError::ShuttingDown);
        }
        let hello = request.hello.as_ref().ok_or(SessionError::NoHello)?;
        let said = hello.standpoint.as_ref();
        let introduction = Introduction {
            reporter: &hello.reporter,
            epoch: hello.epoch,
            agent: &hello.agent,
            services: Some(&hello.services),
            calls: said.map_or([&[], &[]], |said| [&said.calling, &said.calls]),
        };
        let reporter = outlet.reporters.connect(&introduction, Stream::Watch)?;
        let joined = supersedes(&reporter, hello).and_then(|()| Ok(outlet.fleet.join(&to_join(request, hello))?));
        let (id, stream) = joined.inspect_err(|_| Reporters::disconnect(&reporter, Stream::Watch))?;
        outlet.metrics.watcher_connected();
        tracing::info!(reporter = %reporter.name, agent = hello.agent, services = ?hello.services, "reporter follows");
        let newest = outlet.publisher.subscribe();
        let (place, lists, unacknowledged) = (Place::new(hello), ListsHeld::new(hello), VecDeque::new());
        let mut session =
            Self { outlet, reporter, id, stream, newest, place, lists, sent: None, refused: None, unacknowledged };
        session.heard(request);
        Ok(session)
    }

    /// A message of the reporter: acknowledgement, demand, or that a snapshot could not be applied.
    pub fn heard(&mut self, request: &v1::WatchRequest) {
        self.outlet.fleet.heard(self.id, request);
        self.reporter.update(|facts| {
            facts.acknowledged_version = request.acknowledged_version;
            facts.refused = request.refused.chars().take(1_024).collect();
            facts.note_enforced();
        });
        while let Some(push) = self.unacknowledged.pop_front_if(|push| push.version <= request.acknowledged_version) {
            self.outlet.metrics.acknowledged(push.acknowledge());
        }
        if !request.refused.is_empty() {
            self.refused_by_reporter(request);
        }
    }

    /// The next snapshot, as soon as there is one; `None` when the stream has to end. May be dropped and called again.
    pub async fn next(&mut self) -> Option<v1::Snapshot> {
        loop {
            if self.outlet.stop.is_cancelled() || self.stream.replaced.is_cancelled() {
                return None;
            }
            let newest = Arc::clone(&self.newest.borrow_and_update());
            let due = match &self.refused {
                // Its reporter comes back with what it holds, and gets everything anew.
                Some((refused, retry)) if refused.version != newest.version || Instant::now() >= *retry => return None,
                Some(_) => Ok(None),
                None => self.due(&newest),
            };
            match due {
                Ok(Some(snapshot)) => return Some(snapshot),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(reporter = %self.reporter.name, %error, "nothing can be pushed until this is mended");
                    return None;
                }
            }
            let retry = self.refused.as_ref().map(|(_, retry)| *retry);
            tokio::select! {
                () = self.outlet.stop.cancelled() => return None,
                () = self.stream.replaced.cancelled() => return None,
                () = self.stream.wake.notified() => {}
                () = until(retry) => {}
                changed = self.newest.changed() => changed.ok()?,
            }
        }
    }

    /// Name of the reporter.
    #[must_use]
    pub fn reporter(&self) -> &str {
        &self.reporter.name
    }

    /// Makes a snapshot if anything is due.
    fn due(&mut self, newest: &Arc<Published>) -> Result<Option<v1::Snapshot>, DataError> {
        let sent = self.sent.as_ref();
        let slice = self.place.cut(newest, sent.map(|sent| (&*sent.state, &sent.slice)));
        let policies = self.place.policies(&newest.slices, sent.map(|sent| &sent.slice), &slice, &self.outlet.recent);
        let signals = match sent {
            Some(sent) => delta::signals(&sent.state.signals, &newest.signals),
            None => newest.signals.iter().map(|(key, values)| to_proto(key, Some(values))).collect(),
        };
        let is_whole = sent.is_none();
        let lists = self.lists.due(slice.lists(), &newest.lists, is_whole);
        let is_quiet = !is_whole && !policies.is_change() && signals.is_empty() && lists.is_empty();
        if is_quiet && !self.outlet.fleet.has_changes(self.id) {
            self.keep(newest, slice);
            return Ok(None);
        }
        // A newer state is published already: the loop comes round to it.
        let Some(version) = self.outlet.publisher.stamp(newest)? else { return Ok(None) };
        let changes = self.outlet.fleet.changes(self.id, version)?;
        if is_quiet && changes.is_empty() {
            return Ok(None);
        }
        let has_policies = policies.is_change();
        let (policies, policies_delta) = policies.into_parts();
        let heartbeat_ms = u32::try_from(self.outlet.heartbeat.as_millis()).unwrap_or(u32::MAX);
        let snapshot = v1::Snapshot {
            version,
            whole: is_whole,
            echo_ms: changes.echo_ms,
            policies,
            policies_delta,
            signals,
            lists,
            leases: changes.leases,
            safe_shares: changes.safe_shares,
            heartbeat_ms: if is_whole { heartbeat_ms } else { 0 },
        };
        self.note(&snapshot, newest, has_policies);
        self.lists.pushed(&snapshot.lists, is_whole);
        if is_whole || has_policies {
            self.place.pushed(&slice, &self.outlet.recent);
            self.reporter.update(|facts| facts.held.pushed_version = version);
        }
        self.keep(newest, slice);
        Ok(Some(snapshot))
    }

    /// Notes of which state the reporter has everything that concerns it.
    fn keep(&mut self, newest: &Arc<Published>, slice: Arc<Slice>) {
        let is_known = self.sent.as_ref().is_some_and(|sent| Arc::ptr_eq(&sent.state, newest));
        if is_known {
            return;
        }
        self.reporter.update(|facts| {
            facts.held.cut_version = newest.policies_version;
            facts.held.policies = slice.len();
            slice.digest().clone_into(&mut facts.held.digest);
            facts.note_enforced();
        });
        self.sent = Some(Sent { state: Arc::clone(newest), slice });
    }

    fn note(&mut self, snapshot: &v1::Snapshot, newest: &Published, has_policies: bool) {
        let (version, has_lists, has_signals) =
            (snapshot.version, !snapshot.lists.is_empty(), !snapshot.signals.is_empty());
        let parts = [
            (has_policies, "policies"),
            (has_lists, "lists"),
            (has_signals, "signals"),
            (!snapshot.leases.is_empty(), "leases"),
            (!snapshot.safe_shares.is_empty(), "safe_shares"),
        ];
        let parts = parts.into_iter().filter(|(is_in, _)| *is_in).map(|(_, part)| part).collect();
        let (cause, changed) = if snapshot.whole {
            ("connected", Moment::now())
        } else if has_policies {
            ("policies", newest.policies_changed)
        } else if has_lists {
            ("lists", newest.lists_changed)
        } else if has_signals {
            ("signals", newest.signals_changed)
        } else {
            ("leases", Moment::now())
        };
        let push = Arc::new(Push::new(version, Arc::clone(&self.reporter.name), cause, parts, changed));
        if self.unacknowledged.len() == UNACKNOWLEDGED_MAX {
            self.unacknowledged.pop_front();
        }
        self.unacknowledged.push_back(Arc::clone(&push));
        self.outlet.decisions.push(push);
        self.outlet.metrics.snapshot_pushed(version);
        self.reporter.update(|facts| facts.pushed_version = version);
    }

    /// A delta on top of what was refused would not fit, so that nothing is pushed on this stream any more.
    fn refused_by_reporter(&mut self, request: &v1::WatchRequest) {
        // The reporter repeats itself with each message.
        let Some(sent) = self.sent.take() else { return };
        self.outlet.metrics.snapshot_refused();
        tracing::warn!(reporter = %self.reporter.name, error = request.refused, "reporter could not apply a snapshot");
        self.refused = Some((sent.state, Instant::now() + REFUSED_PAUSE));
    }
}

impl Drop for WatchSession {
    fn drop(&mut self) {
        self.outlet.fleet.disconnected(self.id);
        Reporters::disconnect(&self.reporter, Stream::Watch);
        self.outlet.metrics.watcher_disconnected();
        tracing::info!(reporter = %self.reporter.name, "reporter follows no more");
    }
}

/// Two processes under one name would take turns throwing each other out; the one that started later stays.
fn supersedes(reporter: &Reporter, hello: &v1::WatchHello) -> Result<(), SessionError> {
    let is_older = reporter.read(|facts| hello.epoch < facts.epoch && facts.watching > 1);
    if is_older { Err(SessionError::Superseded { reporter: hello.reporter.clone() }) } else { Ok(()) }
}

fn to_join<'a>(request: &v1::WatchRequest, hello: &'a v1::WatchHello) -> Hello<'a> {
    Hello {
        reporter: &hello.reporter,
        epoch: hello.epoch,
        services: &hello.services,
        held: &hello.held,
        safe_shares: &[],
        acknowledged_version: request.acknowledged_version,
        sent_ms: request.sent_ms,
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
