//! What the annotations of a shaping policy say, as types.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tollgate_attributes::Priority;

/// Microtokens in one token. Rates and bursts are integers of them, so that shares of a limit never add up to more.
pub(crate) const MICROTOKENS: u64 = 1_000_000;

/// One shaping policy: how much, how fast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shaping {
    /// `@limit` and `@burst`.
    pub limit: Option<Limit>,
    /// `@by`: what one bucket counts by; empty for one bucket for all.
    pub by: Vec<ByKey>,
    /// `@queue`: how long a request may wait for its token instead of being refused.
    pub queue: Option<Duration>,
    /// `@priority`.
    pub priority: Option<Priority>,
    /// `@concurrency`.
    pub concurrency: Option<Concurrency>,
    /// `@cost`: what a request takes from the bucket.
    pub cost: Cost,
    /// `@offline`: what holds of the limit when the engine has been silent for longer than leases live.
    pub offline: Offline,
    /// `@mode("shadow")`: only say what would have happened.
    pub shadow: bool,
    /// Where the policy can apply, which is where its buckets are divided.
    pub scope: Scope,
}

/// A rate with a burst.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Microtokens per second, rounded down.
    pub rate: u64,
    /// Microtokens that a full bucket holds.
    pub burst: u64,
    /// Tokens per window, as written.
    pub amount: u64,
    /// The window as written, in seconds: 1, 60, 3,600 or 86,400.
    pub window_s: u64,
}

impl Limit {
    /// A limit of `amount` tokens per window.
    ///
    /// Without a burst of its own, a limit per second lets one second's worth through at once, which is what people mean by
    /// it. A longer window's worth at once would be no protection at all, so there it is a tenth, and at least one token.
    #[must_use]
    pub fn new(amount: u64, window_s: u64, burst: Option<u64>) -> Self {
        let rate = u128::from(amount) * u128::from(MICROTOKENS) / u128::from(window_s.max(1));
        let burst = burst.unwrap_or(if window_s == 1 { amount } else { (amount / 10).max(1) });
        Self {
            rate: u64::try_from(rate).unwrap_or(u64::MAX),
            burst: burst.saturating_mul(MICROTOKENS),
            amount,
            window_s,
        }
    }
}

/// One thing that a bucket counts by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ByKey {
    /// The calling service.
    Principal,
    /// The called service.
    Resource,
    /// The HTTP method.
    Method,
    /// The path.
    Path,
    /// The host.
    Host,
    /// The route.
    Route,
    /// The scheme.
    Scheme,
    /// The protocol.
    Protocol,
    /// The `User-Agent` header.
    UserAgent,
    /// The caller's address.
    SourceAddress,
    /// The end user.
    User,
    /// A header, by its lower-case name.
    Header(Arc<str>),
}

impl fmt::Display for ByKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Principal => "principal",
            Self::Resource => "resource",
            Self::Method => "context.method",
            Self::Path => "context.path",
            Self::Host => "context.host",
            Self::Route => "context.route",
            Self::Scheme => "context.scheme",
            Self::Protocol => "context.protocol",
            Self::UserAgent => "context.user_agent",
            Self::SourceAddress => "context.source_address",
            Self::User => "context.user",
            Self::Header(name) => return write!(f, "context.headers[\"{name}\"]"),
        })
    }
}

/// How many requests may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// This many at each reporter, for each value of `@by`. It is not divided among reporters.
    Fixed(u32),
    /// Found by measuring. This version parses it and does not enforce it.
    Adaptive,
}

/// What a request takes from a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cost {
    /// So many tokens.
    Tokens(u32),
    /// As many tokens as this says, at least one.
    Attribute(CostAttribute),
}

/// Where a cost is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CostAttribute {
    /// `request_bytes`: the announced size of the body.
    RequestBytes,
    /// `principal.NAME`: an integer attribute of the caller in `entities.json`.
    Principal(Arc<str>),
    /// `resource.NAME`: an integer attribute of the called service in `entities.json`.
    Resource(Arc<str>),
}

/// What holds of a limit while the engine is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Offline {
    /// The reporter's safe share.
    #[default]
    Safe,
    /// No limit.
    Allow,
    /// Nothing passes.
    Deny,
}

/// The service that a policy's resource is fixed to, or all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// `*`: more than one service.
    All,
    /// Exactly this service, as `namespace/name`.
    Service(Arc<str>),
}

impl Scope {
    /// `namespace/name`, or `*`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::All => "*",
            Self::Service(name) => name,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
