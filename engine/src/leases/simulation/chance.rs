//! Chance that a seed repeats, and clocks that it sets.

/// `splitmix64`: a seed gives the same world for ever.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound.max(1)
    }

    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// A clock that drifts by up to 4 in 1,000, so that two differ by less than the margin of 1 % allows.
pub(super) struct Clock {
    offset_ms: u64,
    per_100_000: u64,
}

impl Clock {
    pub(super) fn new(random: &mut Random) -> Clock {
        Clock { offset_ms: random.below(1_000_000), per_100_000: 99_600 + random.below(801) }
    }

    pub(super) fn read(&self, real_ms: u64) -> u64 {
        self.offset_ms + real_ms * self.per_100_000 / 100_000
    }
}
