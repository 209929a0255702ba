//! One token bucket.

/// A place among the simultaneous requests of a bucket.
#[derive(Debug)]
pub struct Occupied;
