//! Keys of rollup rows: the numbers of their names, packed into 128 bits.
//!
//! The places are in the order by which rows are sorted, so that sorting keys of ranks sorts rows.

use crate::names::OTHER;

/// The place of one part of a key. Null is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    shift: u32,
    bits: u32,
    holds: Holds,
}

/// What the numbers at a place stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Names, of which there are many.
    Names,
    /// Words, of which there is a closed set.
    Words,
    /// Themselves: see [`status`](crate::status).
    Codes,
}

/// Most names that a key has room for in a place of names.
pub(crate) const NAMES_MAX: usize = (1 << NAME_BITS) - 1;
/// Most words that a key has room for in a place of words.
pub(crate) const WORDS_MAX: usize = (1 << WORD_BITS) - 1;
const NAME_BITS: u32 = 24;
const WORD_BITS: u32 = 8;

pub(crate) const DESTINATION: Place = names(104);
pub(crate) const SOURCE: Place = names(80);
/// The route in `traffic`, the policy in `policy_traffic`.
pub(crate) const ROUTE: Place = names(56);
pub(crate) const POLICY: Place = ROUTE;
pub(crate) const METHOD: Place = names(32);
pub(crate) const DIRECTION: Place = words(24);
pub(crate) const EFFECT: Place = DIRECTION;
/// Who calls whom, as seen from which side.
pub(crate) const EDGE: [Place; 3] = [DIRECTION, SOURCE, DESTINATION];
pub(crate) const STATUS: Place = codes(14, 10);
pub(crate) const DECISION: Place = words(6);
pub(crate) const MTLS: Place = codes(4, 2);

const fn names(shift: u32) -> Place {
    Place { shift, bits: NAME_BITS, holds: Holds::Names }
}

const fn words(shift: u32) -> Place {
    Place { shift, bits: WORD_BITS, holds: Holds::Words }
}

const fn codes(shift: u32, bits: u32) -> Place {
    Place { shift, bits, holds: Holds::Codes }
}

impl Place {
    pub(crate) const fn holds(self) -> Holds {
        self.holds
    }

    /// The part of a key that says `number` here.
    #[inline]
    pub(crate) const fn put(self, number: u32) -> u128 {
        (number as u128 & ((1 << self.bits) - 1)) << self.shift
    }

    #[inline]
    pub(crate) const fn get(self, key: u128) -> u32 {
        (key >> self.shift) as u32 & ((1 << self.bits) - 1)
    }

    pub(crate) const fn mask(self) -> u128 {
        ((1 << self.bits) - 1) << self.shift
    }
}

/// What a key gives up when there is no room for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fold {
    clear: u128,
    set: u128,
}

impl Fold {
    /// Replaces the names in these places by "(other)".
    pub(crate) const fn of(places: &[Place]) -> Self {
        Self::clearing(0, places)
    }

    /// The same, and clears these bits.
    pub(crate) const fn clearing(mut clear: u128, places: &[Place]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < places.len() {
            clear |= places[at].mask();
            set |= places[at].put(OTHER);
            at += 1;
        }
        Self { clear, set }
    }

    pub(crate) fn apply(self, key: u128) -> u128 {
        key & !self.clear | self.set
    }
}

/// Mixes a key into a hash. Its parts are numbers given in order of arrival, which nobody outside chooses.
#[inline]
pub(crate) fn hash(key: u128) -> u64 {
    let low = key as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let high = (key >> 64) as u64 ^ 0xd1b5_4a32_d192_ed03;
    let product = u128::from(low) * u128::from(high);
    let mixed = product as u64 ^ (product >> 64) as u64;
    // Once more: a product with a factor of few digits leaves the upper bits poor.
    mixed.wrapping_mul(0x9fb2_1c65_1e98_df25) ^ mixed >> 32
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn places_do_not_overlap() {
        let places = [DESTINATION, SOURCE, ROUTE, METHOD, DIRECTION, STATUS, DECISION, MTLS];
        let numbers = |scale: u32| {
            places.map(|place| match (place, place.holds()) {
                (MTLS, _) => 2,
                (_, Holds::Names) => scale * 1_000,
                (_, Holds::Words | Holds::Codes) => scale,
            })
        };
        let key = places.iter().zip(numbers(200)).fold(0, |key, (place, number)| key | place.put(number));
        assert_eq!(places.map(|place| place.get(key)), numbers(200));
        let folded = Fold::of(&[ROUTE, SOURCE]).apply(key);
        assert_eq!((ROUTE.get(folded), SOURCE.get(folded)), (OTHER, OTHER));
        assert_eq!((DESTINATION.get(folded), DECISION.get(folded)), (200_000, 200));
    }

    #[test]
    fn hashes_spread_in_their_upper_and_lower_bits() {
        let keys =
            || (0..64_u32).flat_map(|a| (0..64_u32).map(move |b| DESTINATION.put(a) | ROUTE.put(b) | DECISION.put(2)));
        let low: HashSet<u64> = keys().map(|key| hash(key) & 0x3fff).collect();
        let high: HashSet<u64> = keys().map(|key| hash(key) >> 50).collect();
        // 4,096 keys thrown at random into 16,384 places hit about 3,620.
        assert!(low.len() > 3_400 && high.len() > 3_400, "{} and {}", low.len(), high.len());
    }
}
