//! What policies mean, from text to verdict, through the public interface only.

#![allow(clippy::unwrap_used, clippy::panic, reason = "everything here is a test or serves one")]

mod arbitrary;
mod data;
mod decisions;
mod diagnostics;
mod differential;
mod limits;
mod listed;
mod plain_cedar;
mod remembered;
mod snapshots;
mod support;
mod templates;
