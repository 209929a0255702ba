//! The engine: takes in what reporters saw, answers SQL about it, computes signals, and pushes what is to be enforced.
//!
//! In reading order: `admission` turns bytes into rows, `kept` keeps them, `sql` answers over them, `taps` show them as they come; `signals` and
//! `book` make policies and their inputs, `lists` fetches what they look up, `watcher` notices changes, `leases` and `fleet` divide limits,
//! `published` is the newest of all that, `session` carries it to reporters and `check` applies it here. `engine`
//! puts the parts together.

mod access;
mod admission;
mod book;
mod check;
mod clock;
mod columns;
mod config;
mod data;
mod decisions;
mod engine;
mod fleet;
mod identity;
mod kept;
pub mod leases;
mod lists;
mod metrics;
pub mod offline;
mod published;
mod reporters;
mod session;
mod signals;
mod sql;
mod suggest;
mod tables;
mod taps;
mod watcher;

pub use access::Reader;
pub use admission::{DecodeLimits, Refusal, RefusalCode, decode};
pub use book::{PolicyReport, Refused, check_policies};
pub use clock::WallTime;
pub use config::EngineConfig;
pub use data::DataError;
pub use engine::{Engine, EngineError, PolicyStatus, Status};
pub use identity::{Identity, NotThisReporter};
pub use kept::{RemoteConfig, RemoteError, RetentionConfig, SamplingConfig, StorageState, StorageStatus};
pub use lists::{FetchList, FetchedList, LIST_BYTES_MAX};
pub use metrics::Metrics;
pub use session::{Offered, ReportSession, SessionError, WatchSession};
pub use signals::FileStatus;
pub use sql::{
    FollowQuery, Followed, FollowedRows, MINUTES_KEPT_MIN, QueryError, QueryErrorKind, QueryResult, SECONDS_KEPT_MIN,
};
pub use taps::Tap;
pub use tollgate_store::{Durability, Retention as TableRetention};
