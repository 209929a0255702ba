//! What a proxy links to take part in Tollgate, and the proxy `tollgate-proxy` itself.
//!
//! A proxy that has its own way with requests needs two things of this crate: [`Reporting`], which streams rows to the engine within a
//! bound of memory, and [`Following`], which keeps an [`Enforcer`](tollgate_policies::Enforcer) at the newest snapshot. Neither makes a
//! request wait for the engine. [`run_proxy`] is everything else: `tollgate-proxy` as a function.

pub mod cli;
mod config;
mod names;
mod routes;

mod backoff;
mod engine_channel;
mod following;
mod reporting;

mod admin;
mod listen;
mod metrics;
mod proxy;
mod worker;

mod body;
mod destinations;
mod exchange;
mod handle;
pub mod hygiene;
mod refusal;
mod upstream;
mod wanted_headers;

pub use config::{Buffers, Identity, Inbound, ProxyConfig, Timeouts, Upstream, UpstreamProtocol, WithoutSnapshot};
pub use engine_channel::{EngineAddress, EngineTls};
pub use following::{Following, FollowingConfig};
pub use listen::ListenError;
pub use names::{BadServiceName, ServiceName};
pub use proxy::{Addresses, Proxy, run_proxy};
pub use reporting::{OutboxState, Recorded, Recorder, Reporting, ReportingConfig, RowLosses};
