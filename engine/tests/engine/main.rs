//! A whole engine, driven through its public interface.

mod checks;
mod harness;
mod policies;
mod queries;
mod reporting;
mod watching;
