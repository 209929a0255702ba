//! Streams of reporters: rows up ([`ReportSession`]), snapshots down ([`WatchSession`]).

mod delta;
mod lists;
mod report;
mod slicing;
mod watch;

pub(crate) use self::report::Intake;
pub use self::report::{Offered, ReportSession};
pub(crate) use self::slicing::RecentSlices;
pub(crate) use self::watch::Outlet;
pub use self::watch::WatchSession;
use crate::identity::NotThisReporter;
use crate::leases::TooManyMembers;

/// Why a stream was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The first message does not introduce the reporter.
    #[error("the first message of a stream has to say who reports")]
    NoHello,
    /// A name is empty, too long, or has characters that names do not have.
    #[error("`{name}` is no name for a {what}: 1 to 256 bytes without control characters and `|`")]
    Name {
        /// What was named.
        what: &'static str,
        /// The name, shortened.
        name: String,
    },
    /// A reporter fronts, or calls, more services than one can.
    #[error("{services} services at one reporter: at most {max} are taken")]
    TooManyServices {
        /// How many it named.
        services: usize,
        /// How many it may.
        max: usize,
    },
    /// Every place in the table of reporters is taken by one that is connected.
    #[error("too many reporters are connected: run another engine for further ones")]
    TooManyReporters,
    /// Limits are shared by as many reporters as they can be.
    #[error("{0}")]
    TooManyMembers(#[from] TooManyMembers),
    /// A later run of the same reporter is connected.
    #[error("another `{reporter}`, started later, is connected: give every reporter a name of its own")]
    Superseded {
        /// Name of the reporter.
        reporter: String,
    },
    /// Under this name somebody else reports.
    #[error(transparent)]
    NotThisReporter(#[from] NotThisReporter),
    /// No policy on data permits it.
    #[error("`{name}` may not report as `{reporter}`: no policy in `data/*.cedar` permits the action `report`")]
    Forbidden {
        /// Who would.
        name: String,
        /// Under which name.
        reporter: String,
    },
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    ShuttingDown,
}

impl SessionError {
    /// Whether it is for want of a permission.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::NotThisReporter(_) | Self::Forbidden { .. })
    }

    /// Whether it may go better later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::TooManyReporters | Self::TooManyMembers(_) | Self::ShuttingDown)
    }
}
