//! The engine: ingest, store, SQL, signals, leases and snapshots.

mod admission;
mod clock;
mod config;
mod hot;
mod metrics;
mod sql;
mod suggest;

pub use admission::{DecodeLimits, Refusal, RefusalCode, decode};
pub use config::EngineConfig;
pub use metrics::Metrics;
pub use sql::{QueryError, QueryErrorKind, QueryResult};
