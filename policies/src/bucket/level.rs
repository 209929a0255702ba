//! A token bucket of one rate and burst: a single atomic number, the generic cell rate algorithm counted in tokens.
//!
//! `produced` is a function of time alone; `spent` is the atomic. What is left is their difference, and `spent` is raised
//! first to where the bucket is full: it cannot hold more than its burst. Below zero it owes: tokens reserved for
//! requests that wait, or taken by a request dearer than the whole burst.

use std::sync::atomic::{AtomicI64, Ordering};

/// `spent` of a closed level.
const CLOSED: i64 = i64::MAX;
/// A level is replaced before it has produced so much, long before sums could overflow.
const PRODUCED_MAX: u64 = 1 << 61;
const NS_PER_S: u64 = 1_000_000_000;

#[derive(Debug)]
pub(crate) struct Level {
    /// Microtokens per second.
    rate: u64,
    /// Microtokens.
    burst: i64,
    /// Microtokens in the bucket at the start.
    start_left: i64,
    start_ns: u64,
    until_ns: u64,
    spent: AtomicI64,
}

/// What a bucket says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Take {
    /// The tokens are there after `wait_ns`, which may be 0. So many are left after it.
    Taken { wait_ns: u64, left: u64 },
    /// They would be there after `retry_ns` at the earliest; `u64::MAX` when nothing refills the bucket.
    Refused { retry_ns: u64, left: u64 },
}

impl Level {
    pub(crate) fn new(rate: u64, burst: u64, left: i64, now_ns: u64, until_ns: u64) -> Self {
        let lasts_ns = u128::from(PRODUCED_MAX) * u128::from(NS_PER_S) / u128::from(rate.max(1));
        let lasts_ns = u64::try_from(lasts_ns).unwrap_or(u64::MAX);
        Self {
            rate,
            burst: i64::try_from(burst).unwrap_or(i64::MAX >> 2),
            start_left: left,
            start_ns: now_ns,
            until_ns: until_ns.min(now_ns.saturating_add(lasts_ns)),
            spent: AtomicI64::new(0),
        }
    }

    /// Whether it may still be used; a lease may have run out.
    pub(crate) fn is_current(&self, now_ns: u64) -> bool {
        now_ns < self.until_ns
    }

    /// `None`: closed.
    pub(crate) fn take(&self, cost: u64, queue_ns: u64, now_ns: u64) -> Option<Take> {
        let mut spent = self.spent.load(Ordering::Acquire);
        loop {
            let (answer, spent_after) = self.answer(spent, cost, queue_ns, now_ns)?;
            if matches!(answer, Take::Refused { .. }) {
                return Some(answer);
            }
            match self.spent.compare_exchange_weak(spent, spent_after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(answer),
                Err(actual) => spent = actual,
            }
        }
    }

    /// `None`: closed.
    pub(crate) fn look(&self, cost: u64, queue_ns: u64, now_ns: u64) -> Option<Take> {
        self.answer(self.spent.load(Ordering::Acquire), cost, queue_ns, now_ns).map(|(answer, _)| answer)
    }

    /// `None`: closed.
    pub(crate) fn give_back(&self, cost: u64) -> Option<()> {
        let give = |spent| (spent != CLOSED).then(|| spent - clamp(cost));
        self.spent.fetch_update(Ordering::AcqRel, Ordering::Acquire, give).ok().map(|_| ())
    }

    /// Ends the level and returns what was left in it, below zero when it owes.
    pub(crate) fn close(&self, now_ns: u64) -> i64 {
        match self.spent.swap(CLOSED, Ordering::AcqRel) {
            CLOSED => 0,
            spent => self.left(spent, now_ns),
        }
    }

    /// Ends the level if it is full, so that nothing is lost that was not there before. Returns whether it did.
    pub(crate) fn close_if_full(&self, now_ns: u64) -> bool {
        let is_full = |spent| spent != CLOSED && self.left(spent, now_ns) >= self.burst;
        let close = |spent| is_full(spent).then_some(CLOSED);
        self.spent.fetch_update(Ordering::AcqRel, Ordering::Acquire, close).is_ok()
    }

    fn answer(&self, spent: i64, cost: u64, queue_ns: u64, now_ns: u64) -> Option<(Take, i64)> {
        if spent == CLOSED {
            return None;
        }
        let cost = clamp(cost);
        let left = self.left(spent, now_ns);
        // What costs more than the bucket can hold passes when it is full, and is paid off afterwards.
        let missing = cost.min(self.burst) - left;
        let wait_ns = if missing <= 0 { 0 } else { self.time_for(missing.unsigned_abs()) };
        if wait_ns > queue_ns {
            return Some((Take::Refused { retry_ns: wait_ns, left: left.max(0).unsigned_abs() }, spent));
        }
        let left_after = (left - cost).max(0).unsigned_abs();
        // `produced - left` is `spent`, raised to where the bucket is full.
        Some((Take::Taken { wait_ns, left: left_after }, self.produced(now_ns) - left + cost))
    }

    fn left(&self, spent: i64, now_ns: u64) -> i64 {
        (self.produced(now_ns) - spent).min(self.burst)
    }

    fn produced(&self, now_ns: u64) -> i64 {
        // Another thread may have opened the level after this one read the clock.
        let elapsed_ns = now_ns.saturating_sub(self.start_ns);
        let new = match self.rate.checked_mul(elapsed_ns) {
            Some(product) => product / NS_PER_S,
            None => (u128::from(self.rate) * u128::from(elapsed_ns) / u128::from(NS_PER_S)) as u64,
        };
        self.start_left.saturating_add_unsigned(new.min(PRODUCED_MAX))
    }

    /// Nanoseconds until so many microtokens are produced, rounded up.
    fn time_for(&self, microtokens: u64) -> u64 {
        if self.rate == 0 {
            return u64::MAX;
        }
        let ns = (u128::from(microtokens) * u128::from(NS_PER_S)).div_ceil(u128::from(self.rate));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

fn clamp(cost: u64) -> i64 {
    i64::try_from(cost).unwrap_or(i64::MAX).min(1 << 60)
}
