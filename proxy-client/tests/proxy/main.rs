//! The proxy between real HTTP clients and backends, with an engine that only keeps what it gets and pushes what it is told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy only exempts test functions, not what they share")]

mod backend;
mod client;
mod engine;
mod harness;

mod access;
mod engine_away;
mod http_rules;
mod identity;
mod limits;
mod outbound;
mod shutdown;
mod streaming;
