//! Cedar policies: compile, evaluate and enforce.
//!
//! [`Sources`] is a directory of policies as text, [`compile()`] checks all of it and gives [`Compiled`], and an
//! [`Enforcer`] decides requests by the snapshots that come of it. The engine and the proxies run the same [`Enforcer`].
//! Nothing here waits for anything: there is no I/O but reading a directory, and no task.

mod annotations;
mod answer;
mod bucket;
mod buckets;
mod cache;
mod cedar;
mod clock;
mod compile;
mod context;
mod data;
mod diagnostics;
mod enforcer;
mod entities;
mod facts;
mod ids;
mod index;
mod key;
mod lane;
mod links;
pub mod lists;
mod loaded;
mod model;
mod needs;
mod reads;
mod rule;
mod shaping;
mod slices;
mod sources;
mod spend;
mod tally;
mod text;
pub mod tools;
mod world;

pub use clock::Clock;
pub use compile::{Compiled, Effect, Mode, PolicyEntry, PolicyKind, compile, compile_aside};
pub use data::{Asked, DataPolicies, DataPolicy, Person};
pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use enforcer::{ApplyError, Enforcer, InForce};
pub use facts::{ConcurrencyPermits, Facts, LimitState, Verdict};
pub use ids::PolicyIds;
pub use model::{SignalSchema, SignalType};
pub use shaping::{ByKey, Concurrency, Cost, CostAttribute, Limit, Offline, Scope, Shaping};
pub use slices::{Slice, Slices, Standpoint};
pub use sources::{SourceFile, Sources};
pub use tally::CacheReport;
