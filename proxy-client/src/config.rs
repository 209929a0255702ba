//! `proxy.yaml`: what is written, and what it means.
//!
//! [`ProxyConfig`] is valid by construction: [`ProxyConfig::load`] lists everything that is wrong at once.

mod raw;
mod valid;

pub use raw::{Identity, WithoutSnapshot};
pub use valid::{Buffers, Inbound, ProxyConfig, Timeouts, Upstream, UpstreamProtocol};
