//! How the engine's own enforcers come by their snapshots.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use tollgate_api::v1;
use tollgate_policies::{Clock, Enforcer, Slice};

use crate::clock::WallTime;
use crate::published::{Published, Publisher};
use crate::session::{Outlet, SessionError, WatchSession};
use crate::signals::to_proto;

/// How often the one that spends says what it wants and takes what it is given.
pub(super) const INTERVAL: Duration = Duration::from_millis(50);
const REPORTER: &str = "engine";
const ALL: u32 = 1_000_000;
/// The scope of limits that are fixed to no service.
const EVERYWHERE: &str = "*";

/// Looks at limits as if all of each were its own, and spends nothing.
pub(super) struct Looking {
    enforcer: Enforcer,
    publisher: Arc<Publisher>,
    /// The policies that it holds.
    held: Mutex<Option<Arc<Slice>>>,
}

impl Looking {
    pub(super) fn new(outlet: &Outlet) -> Self {
        let looking = Self {
            enforcer: Enforcer::new(Clock::system()),
            publisher: Arc::clone(&outlet.publisher),
            held: Mutex::default(),
        };
        looking.apply(&outlet.publisher.newest());
        looking
    }

    pub(super) fn enforcer(&self) -> &Enforcer {
        &self.enforcer
    }

    /// Takes over whatever is published, for ever.
    pub(super) async fn follow(&self) {
        let mut newest = self.publisher.subscribe();
        loop {
            let published = Arc::clone(&newest.borrow_and_update());
            if published.version != self.enforcer.version() {
                self.apply(&published);
            }
            if newest.changed().await.is_err() {
                return;
            }
        }
    }

    fn apply(&self, published: &Published) {
        let mut held = self.held.lock();
        let all = published.slices.all();
        let delta = held.as_ref().map(|held| v1::PoliciesDelta::clone(&published.slices.delta(held, all)));
        let snapshot = v1::Snapshot {
            version: published.version,
            whole: true,
            policies: delta.is_none().then(|| all.to_proto()),
            policies_delta: delta,
            signals: published.signals.iter().map(|(key, values)| to_proto(key, Some(values))).collect(),
            safe_shares: published.scopes.iter().map(all_of).collect(),
            // Those that are held are not read again.
            lists: published.lists.values().cloned().collect(),
            ..v1::Snapshot::default()
        };
        match self.enforcer.apply(&snapshot) {
            Ok(_) => *held = Some(Arc::clone(all)),
            Err(error) => {
                *held = None;
                tracing::error!(%error, "the engine's own checks stay with older policies");
            }
        }
    }
}

fn all_of(scope: &Arc<str>) -> v1::SafeShare {
    v1::SafeShare { scope: scope.to_string(), parts_per_million: ALL }
}

/// Spends tokens as a member of the fleet.
pub(super) struct Taking {
    enforcer: Enforcer,
    outlet: Outlet,
    epoch: u64,
    member: Mutex<Member>,
}

#[derive(Default)]
struct Member {
    services: Vec<String>,
    session: Option<WatchSession>,
}

impl Taking {
    pub(super) fn new(outlet: Outlet, clock: Clock) -> Self {
        let epoch = u64::try_from(WallTime::now().us).unwrap_or(0);
        Self { enforcer: Enforcer::new(clock), outlet, epoch, member: Mutex::default() }
    }

    pub(super) fn enforcer(&self) -> &Enforcer {
        &self.enforcer
    }

    /// Joins the fleet of a service. Its first snapshot is in force when this returns.
    ///
    /// A service that no limit is fixed to needs no fleet of its own. So made-up names, which an asker may send without end,
    /// take no room among the services.
    pub(super) fn front(&self, service: &str) -> Result<(), SessionError> {
        let service = if self.outlet.publisher.newest().scopes.contains(service) { service } else { EVERYWHERE };
        let mut member = self.member.lock();
        let is_fronted = member.services.iter().any(|known| known == service);
        if member.session.is_some() && is_fronted {
            return Ok(());
        }
        let mut services = member.services.clone();
        if !is_fronted {
            services.push(service.to_owned());
        }
        let request = self.request(Some(v1::WatchHello {
            reporter: REPORTER.to_owned(),
            epoch: self.epoch,
            agent: concat!("tollgate-engine/", env!("CARGO_PKG_VERSION")).to_owned(),
            services: services.clone(),
            held: self.enforcer.held(),
            standpoint: Some(v1::Standpoint { everywhere: true, ..v1::Standpoint::default() }),
            policies_digest: self.enforcer.policies_digest(),
            lists: self.enforcer.held_lists(),
        }));
        member.session = Some(WatchSession::open(self.outlet.clone(), &request)?);
        member.services = services;
        self.exchange(&mut member);
        Ok(())
    }

    /// Takes what is due and says what is wanted.
    pub(super) fn follow(&self) {
        self.exchange(&mut self.member.lock());
    }

    fn exchange(&self, member: &mut Member) {
        let Some(session) = &mut member.session else { return };
        session.heard(&self.request(None));
        // One poll: whatever is due is there at once.
        while let Some(next) = session.next().now_or_never() {
            let Some(snapshot) = next else {
                member.session = None;
                return;
            };
            if let Err(error) = self.enforcer.apply(&snapshot) {
                tracing::error!(%error, "the engine's own checks stay with older policies");
            }
            session.heard(&self.request(None));
        }
        self.enforcer.heard();
    }

    fn request(&self, hello: Option<v1::WatchHello>) -> v1::WatchRequest {
        v1::WatchRequest {
            sent_ms: self.enforcer.clock().monotonic_ms(),
            hello,
            acknowledged_version: self.enforcer.version(),
            demand: self.enforcer.take_demand(),
            ..v1::WatchRequest::default()
        }
    }
}
