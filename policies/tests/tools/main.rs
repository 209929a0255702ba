//! What people do with policies besides enforcing them, through the public interface only.

#![allow(clippy::unwrap_used, clippy::panic, reason = "everything here is a test or serves one")]

mod bounds;
mod cases;
mod diff;
mod docs;
mod explain;
mod format;
mod judge;
mod lint;
mod lists;
mod replay;
mod suggest;
mod support;
