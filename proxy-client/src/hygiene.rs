//! What HTTP asks of an intermediary, as pure functions over a request's head: what is malformed, what is not passed on, what is
//! added. Nothing here does I/O or knows about policies.
//!
//! One rule holds everywhere: what was decided is what is forwarded. A path is normalised once, and routing, policy, row and
//! upstream all see that one.

mod forwarded;
mod framing;
mod headers;
mod target;
mod trace;

pub(crate) use forwarded::X_REQUEST_ID;
pub use forwarded::{append_forwarded_for, append_via, request_id};
pub use framing::check_framing;
pub use headers::{Upgrade, join_cookies, requested_upgrade, strip_hop_by_hop};
pub use target::{Target, normal_path, read_target};
pub use trace::{TraceContext, continue_trace};

use http::StatusCode;

/// Why a request is refused before any policy is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct BadRequest {
    /// What the caller gets.
    pub status: StatusCode,
    /// What was wrong, for the caller.
    pub detail: &'static str,
}

impl BadRequest {
    const fn new(detail: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, detail }
    }

    const fn not_implemented(detail: &'static str) -> Self {
        Self { status: StatusCode::NOT_IMPLEMENTED, detail }
    }
}
