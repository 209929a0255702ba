//! A whole engine, driven through its public interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests, and what they share")]

mod access;
mod authorize;
mod checks;
mod files;
mod following;
mod harness;
mod histograms;
mod policies;
mod queries;
mod reporting;
mod storage;
mod watching;
