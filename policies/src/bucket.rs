//! One token bucket, and the count of requests under way. Taking is lock-free.
//!
//! A [`Level`] never changes its rate. What a bucket's share is changes by closing its level, which fixes what was spent
//! for good, and opening another with what was left.

mod level;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

pub(crate) use level::{Level, Take};

use crate::shaping::MICROTOKENS;

/// Marks the count of a bucket that was forgotten.
const FORGOTTEN: u32 = u32::MAX;
const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// What a reporter may spend of one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Share {
    /// The whole limit: microtokens per second, and microtokens.
    pub(crate) limit_rate: u64,
    pub(crate) limit_burst: u64,
    /// The part that needs no lease, in parts per million.
    pub(crate) safe_ppm: u32,
    pub(crate) lease: Option<Lease>,
}

/// A share that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) rate: u64,
    pub(crate) burst: u64,
    /// On the enforcer's monotonic clock, in milliseconds.
    pub(crate) expires_ms: u64,
}

impl Share {
    /// Rate and burst at a moment.
    ///
    /// The burst is never below one token: in a fleet larger than the burst the first request of a caller would be refused.
    fn at(&self, now_ns: u64) -> (u64, u64) {
        let lease = self.lease.filter(|lease| now_ns < lease.expires_ms.saturating_mul(NS_PER_MS));
        let (rate, burst) = lease.map_or((0, 0), |lease| (lease.rate, lease.burst));
        let safe = |whole: u64| (u128::from(whole) * u128::from(self.safe_ppm) / 1_000_000) as u64;
        let rate = rate.saturating_add(safe(self.limit_rate)).min(self.limit_rate);
        let burst = burst.saturating_add(safe(self.limit_burst)).min(self.limit_burst);
        (rate, burst.max(MICROTOKENS))
    }

    /// When [`Share::at`] changes by itself.
    fn until_ns(&self, now_ns: u64) -> u64 {
        let expires_ns = self.lease.map(|lease| lease.expires_ms.saturating_mul(NS_PER_MS));
        expires_ns.filter(|expires_ns| *expires_ns > now_ns).unwrap_or(u64::MAX)
    }
}

/// A bucket.
pub(crate) struct Bucket {
    level: ArcSwap<Level>,
    /// Taken only to change the share, never to take a token.
    share: Mutex<Owner>,
    in_flight: AtomicU32,
    wanted: AtomicU64,
    is_dry: AtomicBool,
    used_ns: AtomicU64,
}

struct Owner {
    share: Share,
    /// The largest burst that this bucket ever had. INVARIANT: only what exceeds it brings tokens with it. If every larger
    /// burst did, a share that goes up and down would make tokens from nothing.
    burst_max: u64,
}

impl Owner {
    /// A level of the share as it is now, with what is left as far as it fits.
    fn open(&self, left: i64, now_ns: u64) -> Level {
        let (rate, burst) = self.share.at(now_ns);
        Level::new(rate, burst, left.min(burst as i64), now_ns, self.share.until_ns(now_ns))
    }

    /// Whether the limit would have brought back, in the time that nobody used the bucket, what its largest burst exceeds
    /// the present one by.
    fn has_recovered(&self, quiet_ns: u64, now_ns: u64) -> bool {
        let missing = self.burst_max.saturating_sub(self.share.at(now_ns).1);
        let limit_rate = self.share.limit_rate;
        limit_rate == 0 || u128::from(missing) * u128::from(NS_PER_S) <= u128::from(quiet_ns) * u128::from(limit_rate)
    }
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(share: Share, now_ns: u64) -> Self {
        let (rate, burst) = share.at(now_ns);
        Self {
            level: ArcSwap::from_pointee(Level::new(rate, burst, burst as i64, now_ns, share.until_ns(now_ns))),
            share: Mutex::new(Owner { share, burst_max: burst }),
            in_flight: AtomicU32::new(0),
            wanted: AtomicU64::new(0),
            is_dry: AtomicBool::new(false),
            used_ns: AtomicU64::new(now_ns),
        }
    }

    /// Takes `cost` microtokens, now or within `queue_ns`. `None`: the bucket was forgotten, and another stands for it.
    pub(crate) fn take(&self, cost: u64, queue_ns: u64, now_ns: u64) -> Option<Take> {
        self.wanted.fetch_add(cost, Ordering::Relaxed);
        self.used_ns.store(now_ns, Ordering::Relaxed);
        self.with_level(now_ns, |level| level.take(cost, queue_ns, now_ns))
    }

    /// What [`Bucket::take`] would say.
    pub(crate) fn look(&self, cost: u64, queue_ns: u64, now_ns: u64) -> Option<Take> {
        self.with_level(now_ns, |level| level.look(cost, queue_ns, now_ns))
    }

    /// Gives back what was just taken.
    pub(crate) fn give_back(&self, cost: u64, now_ns: u64) {
        self.with_level(now_ns, |level| level.give_back(cost));
    }

    fn with_level<T>(&self, now_ns: u64, act: impl Fn(&Level) -> Option<T>) -> Option<T> {
        loop {
            let level = self.level.load();
            if level.is_current(now_ns)
                && let Some(result) = act(&level)
            {
                return Some(result);
            }
            drop(level);
            if self.is_forgotten() {
                return None;
            }
            // Either the lease has run out, or another thread is changing the share: it holds the lock for that.
            self.change(now_ns, |_| {});
        }
    }

    /// Changes the share. What is in the bucket stays, as far as it fits.
    pub(crate) fn change(&self, now_ns: u64, change: impl FnOnce(&mut Share)) {
        let mut owner = self.share.lock();
        let before = owner.share;
        change(&mut owner.share);
        let level = self.level.load();
        if self.is_forgotten() || (before == owner.share && level.is_current(now_ns)) {
            return;
        }
        let burst = owner.share.at(now_ns).1;
        let brought = burst.saturating_sub(owner.burst_max);
        owner.burst_max = owner.burst_max.max(burst);
        self.level.store(Arc::new(owner.open(level.close(now_ns).saturating_add_unsigned(brought), now_ns)));
        self.is_dry.store(false, Ordering::Relaxed);
    }

    /// Whether this is the first time since the last demand that the bucket had nothing to give.
    pub(crate) fn runs_dry(&self) -> bool {
        !self.is_dry.swap(true, Ordering::Relaxed)
    }

    /// Microtokens asked for since the last call, granted or not.
    pub(crate) fn take_wanted(&self) -> u64 {
        self.is_dry.store(false, Ordering::Relaxed);
        self.wanted.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn used_ns(&self) -> u64 {
        self.used_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn is_forgotten(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) == FORGOTTEN
    }

    /// Closes the bucket for good if that changes nothing: it is full, nothing was wanted since the last demand, no request
    /// is under way, and what its largest burst exceeds the present one by would have come back by now. Otherwise the
    /// bucket that follows would bring it again.
    pub(crate) fn forget_if_idle(&self, now_ns: u64) -> bool {
        let owner = self.share.lock();
        let quiet_ns = now_ns.saturating_sub(self.used_ns());
        // Full and closed in one step: whoever takes meanwhile has either taken, and it is not full, or waits for the lock.
        let may_be_idle = self.in_flight() == 0 && owner.has_recovered(quiet_ns, now_ns);
        if !may_be_idle || !self.level.load().close_if_full(now_ns) {
            return false;
        }
        let is_wanted = self.wanted.load(Ordering::Relaxed) > 0;
        let is_forgotten =
            !is_wanted && self.in_flight.compare_exchange(0, FORGOTTEN, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !is_forgotten {
            self.level.store(Arc::new(owner.open(i64::MAX, now_ns)));
        }
        is_forgotten
    }

    /// Closes the bucket for good, whatever is left in it, unless requests are under way. Threads that still know it look
    /// for another.
    pub(crate) fn forget(&self, now_ns: u64) -> bool {
        let _owner = self.share.lock();
        let is_free = self.in_flight.compare_exchange(0, FORGOTTEN, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if is_free {
            self.level.load().close(now_ns);
        }
        is_free
    }

    /// Takes one of `max` places. `None`: the bucket was forgotten.
    pub(crate) fn occupy(self: &Arc<Self>, max: u32) -> Option<Result<Occupied, Full>> {
        let occupied = self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
            (count < max && count != FORGOTTEN).then(|| count + 1)
        });
        match occupied {
            Ok(_) => Some(Ok(Occupied(Arc::clone(self)))),
            Err(FORGOTTEN) => None,
            Err(_) => Some(Err(Full)),
        }
    }

    /// Requests under way.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }
}

/// All places are taken.
pub(crate) struct Full;

/// A place among the requests under way, free again when dropped.
pub(crate) struct Occupied(Arc<Bucket>);

impl Drop for Occupied {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Occupied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Occupied").field("in_flight", &self.0.in_flight()).finish()
    }
}

#[cfg(test)]
mod tests;
