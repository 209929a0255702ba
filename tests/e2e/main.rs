//! End to end: real processes, real clients, the whole loop.
//!
//! `harness` starts and stops things; each other module is a group of scenarios. Nothing sleeps for a fixed time: scenarios
//! wait for a condition, with a deadline.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test or benchmark that cannot go on fails"
)]

mod access;
mod closed_loop;
mod command_line;
mod demo;
mod export;
mod gateway;
mod harness;
mod limits;
mod lists;
mod live;
mod openapi;
mod peers;
mod policies;
mod postgres;
mod prometheus;
mod resilience;
mod storage;
