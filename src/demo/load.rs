//! The callers: customers who pay and who don't, a batch job, and an intruder.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::fleet::Fleet;
use super::http::Client;
use super::shop::Service;

/// Requests of one caller to one service.
struct Caller {
    name: &'static str,
    user_agent: &'static str,
    called: Service,
    per_second: u32,
    /// Method and path of the n-th request.
    request: fn(u64) -> (Method, String),
}

const CALLERS: &[Caller] = &[
    Caller {
        name: "customers/paying",
        user_agent: "shop-app/3.2",
        called: Service::Storefront,
        per_second: 40,
        request: visit,
    },
    Caller {
        name: "customers/free",
        user_agent: "shop-app/3.2",
        called: Service::Storefront,
        per_second: 40,
        request: visit,
    },
    Caller {
        name: "customers/paying",
        user_agent: "shop-app/3.2",
        called: Service::Search,
        per_second: 15,
        request: search,
    },
    Caller {
        name: "jobs/reindex",
        user_agent: "reindex/1.0",
        called: Service::Search,
        per_second: 20,
        request: search,
    },
    Caller {
        name: "unknown/intruder",
        user_agent: "curl/8.5",
        called: Service::Payments,
        per_second: 4,
        request: snoop,
    },
];

fn visit(n: u64) -> (Method, String) {
    if n.is_multiple_of(5) { (Method::POST, "/checkout".to_owned()) } else { (Method::GET, "/".to_owned()) }
}

fn search(n: u64) -> (Method, String) {
    (Method::GET, format!("/search?q=item{}", n % 97))
}

fn snoop(n: u64) -> (Method, String) {
    (Method::GET, format!("/accounts/{}", 1_000 + n % 50))
}

/// The running callers.
pub(super) struct Load {
    callers: JoinSet<()>,
    stop: CancellationToken,
}

impl Load {
    pub(super) fn start(fleet: &Fleet) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let mut callers = JoinSet::new();
        for caller in CALLERS {
            callers.spawn(call(caller, fleet.inbound(caller.called)?, stop.clone()));
        }
        Ok(Self { callers, stop })
    }

    /// Nobody calls any more, and who has called waits for the answer.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while self.callers.join_next().await.is_some() {}
    }
}

/// Sends at a steady pace, whatever the answers: an open loop, as customers are. At most a second's worth of requests is open
/// at a time; beyond that a caller skips.
async fn call(caller: &'static Caller, address: SocketAddr, stop: CancellationToken) {
    let client = Arc::new(Client::new(address));
    let mut pace = interval(Duration::from_secs(1) / caller.per_second);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut open = JoinSet::new();
    for n in 0.. {
        tokio::select! {
            _ = pace.tick() => {}
            () = stop.cancelled() => break,
        }
        while open.try_join_next().is_some() {}
        if open.len() >= caller.per_second as usize {
            continue;
        }
        let client = Arc::clone(&client);
        let (method, path) = (caller.request)(n);
        // What came back is for the engine to tell: nothing here counts.
        open.spawn(async move {
            client.send(method, &format!("{}.shop", caller.called.name()), &path, headers(caller)).await
        });
    }
    while open.join_next().await.is_some() {}
}

fn headers(caller: &Caller) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("x-tollgate-source"), HeaderValue::from_static(caller.name));
    headers.insert(USER_AGENT, HeaderValue::from_static(caller.user_agent));
    headers
}
