//! The closed sets of values that some attributes take.

use std::fmt;
use std::str::FromStr;

/// A text that is none of the values that an attribute may take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} `{value}`: expected one of {expected}")]
pub struct UnknownValue {
    kind: &'static str,
    value: String,
    expected: String,
}

macro_rules! values {
    ($(#[doc = $doc:literal])+ $type:ident, $kind:literal { $($(#[doc = $value_doc:literal])+ $value:ident = $text:literal),* $(,)? }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type { $($(#[doc = $value_doc])+ $value),* }

        impl $type {
            /// Every value, in order.
            pub const ALL: &[Self] = &[$(Self::$value),*];

            /// The word for it in SQL, protobuf, metrics and logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text),* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownValue;

            fn from_str(text: &str) -> Result<Self, UnknownValue> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| UnknownValue {
                    kind: $kind,
                    value: text.to_owned(),
                    expected: [$(concat!("`", $text, "`")),*].join(", "),
                })
            }
        }
    };
}

values! {
    /// On which side of a call a reporter stood.
    Direction, "direction" {
        /// In front of the called service.
        Inbound = "inbound",
        /// Beside the calling service.
        Outbound = "outbound",
        /// At the edge, for services without a proxy of their own.
        Gateway = "gateway",
    }
}

values! {
    /// What happened to a request.
    Decision, "decision" {
        /// It was let through.
        Allow = "allow",
        /// Access was refused.
        Deny = "deny",
        /// It was over a rate.
        Limit = "limit",
        /// There was no capacity for it.
        Shed = "shed",
    }
}

values! {
    /// Why a request was decided so.
    Reason, "reason" {
        /// A policy permits it and none forbids it.
        Permitted = "permitted",
        /// A policy forbids it.
        Forbidden = "forbidden",
        /// No policy permits it.
        NoPermit = "no_permit",
        /// A `forbid` failed to evaluate, which denies.
        ForbidError = "forbid_error",
        /// It would have been refused, but the mode is `observe`.
        Observed = "observed",
        /// A token bucket was empty.
        Rate = "rate",
        /// A limit of simultaneous requests was reached.
        Concurrency = "concurrency",
        /// The reporter has no snapshot yet.
        NoSnapshot = "no_snapshot",
        /// The request itself was malformed, and no policy was asked.
        BadRequest = "bad_request",
        /// No service is known by the name that was asked for, and no policy was asked.
        UnknownService = "unknown_service",
    }
}

values! {
    /// In what order requests are served when there is not enough for all. The first is the most important.
    Priority, "priority" {
        /// Served as long as anything is.
        Critical = "critical",
        /// Before what is normal.
        High = "high",
        /// What is not said otherwise.
        Normal = "normal",
        /// What can wait.
        Batch = "batch",
    }
}
