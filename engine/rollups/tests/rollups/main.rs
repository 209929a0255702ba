//! Rollups against the same aggregates over raw rows, computed the simple way.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bounds;
mod model;
mod properties;
mod sampling;
mod throughput;
mod totals;
