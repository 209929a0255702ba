//! Decides single requests for those who cannot evaluate themselves.
//!
//! The same [`Enforcer`] as in a proxy. One only looks at limits; another, made when somebody first asks for tokens, is a
//! member of the fleet like any reporter, so that what it spends is part of what is divided.

mod following;

use std::sync::Arc;

use parking_lot::Mutex;
use tollgate_api::v1;
use tollgate_attributes::Decision;
use tollgate_policies::{Clock, Enforcer, Facts, Verdict};

use self::following::{Looking, Taking};
use crate::metrics::Metrics;
use crate::session::Outlet;

/// How long an answer holds that depends on nothing that moves by itself.
const CACHEABLE_MS: u64 = 5_000;
/// How long one holds that depends on signals or the time.
const CACHEABLE_MOVING_MS: u64 = 1_000;

/// Decides requests.
pub(crate) struct Checker {
    looking: Looking,
    taking: Mutex<Option<Arc<Taking>>>,
    outlet: Outlet,
    metrics: Arc<Metrics>,
}

impl Checker {
    pub(crate) fn new(outlet: Outlet) -> Self {
        let metrics = Arc::clone(&outlet.metrics);
        Self { looking: Looking::new(&outlet), taking: Mutex::new(None), outlet, metrics }
    }

    /// Decides one request. Blocks for as long as a decision takes, which is microseconds.
    pub(crate) fn check(&self, request: &v1::CheckRequest) -> v1::CheckResponse {
        let headers: Vec<(Arc<str>, String)> =
            request.headers.iter().map(|(name, value)| (Arc::from(name.to_ascii_lowercase()), value.clone())).collect();
        let facts = facts(request, &headers);
        let taking = request.take_tokens.then(|| self.taking(&request.destination)).flatten();
        let (verdict, enforcer) = match &taking {
            Some(taking) => (taking.enforcer().decide(&facts), taking.enforcer()),
            None => {
                let enforcer = self.looking.enforcer();
                enforcer.heard();
                (enforcer.look(&facts), enforcer)
            }
        };
        self.metrics.checked(verdict.decision.as_str());
        answer(&verdict, enforcer)
    }

    /// Follows what is published, for ever.
    pub(crate) async fn run(&self) {
        let taking = async {
            loop {
                let taking = self.taking.lock().clone();
                if let Some(taking) = &taking {
                    taking.follow();
                }
                tokio::time::sleep(following::INTERVAL).await;
            }
        };
        tokio::join!(self.looking.follow(), taking);
    }

    /// The one that spends, as a member of the fleet of this service. `None` when it could not become one.
    fn taking(&self, destination: &str) -> Option<Arc<Taking>> {
        let mut slot = self.taking.lock();
        let taking = slot.get_or_insert_with(|| Arc::new(Taking::new(self.outlet.clone(), Clock::system())));
        match taking.front(destination) {
            Ok(()) => Some(Arc::clone(taking)),
            Err(error) => {
                tracing::warn!(destination, %error, "tokens cannot be taken here: limits are only looked at");
                None
            }
        }
    }
}

fn facts<'a>(request: &'a v1::CheckRequest, headers: &'a [(Arc<str>, String)]) -> Facts<'a> {
    Facts {
        source: &request.source,
        destination: &request.destination,
        method: &request.method,
        path: &request.path,
        host: &request.host,
        route: &request.route,
        scheme: &request.scheme,
        protocol: &request.protocol,
        user_agent: &request.user_agent,
        source_address: request.source_address.parse().ok(),
        user: &request.user,
        is_mtls: request.is_mtls,
        headers,
        request_bytes: None,
    }
}

fn answer(verdict: &Verdict, enforcer: &Enforcer) -> v1::CheckResponse {
    let depends_on = enforcer.depends_on();
    let moves = |attribute: &String| attribute.contains("signals") || attribute == "context.time";
    let cacheable_ms = if verdict.snapshot == 0 || verdict.limit.is_some() {
        0
    } else if depends_on.iter().any(moves) {
        CACHEABLE_MOVING_MS
    } else {
        CACHEABLE_MS
    };
    let limited = verdict.limit.as_ref().filter(|_| verdict.decision == Decision::Limit);
    let retry_after_ms = limited.map_or(0, |limit| limit.retry_after.as_millis());
    v1::CheckResponse {
        decision: verdict.decision.to_string(),
        reason: verdict.reason.to_string(),
        policies: verdict.policies.iter().map(ToString::to_string).collect(),
        shadow: verdict.shadow.iter().map(ToString::to_string).collect(),
        priority: verdict.priority.to_string(),
        snapshot: verdict.snapshot,
        cacheable_ms,
        depends_on,
        retry_after_ms: u64::try_from(retry_after_ms).unwrap_or(u64::MAX),
    }
}
