//! The `tollgate.v1` protobuf API and its generated Rust.
//!
//! The generated code is committed, so that building needs no protobuf compiler; a test checks that it is current.

/// Version 1 of the API, as generated from `proto/tollgate/v1`.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used, unreachable_pub)]
#[rustfmt::skip]
#[path = "generated/tollgate.v1.rs"]
pub mod v1;
