//! Decisions that a thread remembers, by exactly the attributes that they follow from.
//!
//! Bounded: a decision has one of [`WAYS`] places. Of those that are taken the one that was not asked for lately goes, so
//! that a flood of new keys cannot drive out what is asked for again and again.

use std::sync::Arc;

use crate::answer::Answer;

const WAYS: usize = 4;
const SLOTS_MIN: usize = 256;
const SLOTS_MAX: usize = 8_192;
/// Longest key that is remembered: a caller must not be able to fill the memory with long paths.
const KEY_BYTES_MAX: usize = 512;

#[derive(Default)]
pub(crate) struct Decisions {
    /// A power of two of them, or none.
    slots: Vec<Option<Slot>>,
    used: usize,
}

struct Slot {
    hash: u64,
    lane: u64,
    key: Box<[u8]>,
    answer: Arc<Answer>,
    is_recent: bool,
}

impl Decisions {
    /// The answer that a lane gave for this key. The number of a lane changes with all that the key does not tell.
    pub(crate) fn get(&mut self, hash: u64, lane: u64, key: &[u8]) -> Option<&Arc<Answer>> {
        let places = self.places(hash)?;
        let is_it = |slot: &&mut Slot| slot.hash == hash && slot.lane == lane && *slot.key == *key;
        let slot = self.slots[places].iter_mut().flatten().find(is_it)?;
        slot.is_recent = true;
        Some(&slot.answer)
    }

    /// Remembers an answer.
    pub(crate) fn put(&mut self, hash: u64, lane: u64, key: &[u8], answer: &Arc<Answer>) {
        if key.len() > KEY_BYTES_MAX {
            return;
        }
        if self.slots.len() < SLOTS_MAX && self.used * 2 >= self.slots.len() {
            self.grow();
        }
        self.insert(Slot { hash, lane, key: key.into(), answer: Arc::clone(answer), is_recent: false });
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn insert(&mut self, new: Slot) {
        let Some(places) = self.places(new.hash) else { return };
        let set = &mut self.slots[places];
        let free = set.iter().position(Option::is_none);
        let forgotten = || set.iter().position(|slot| slot.as_ref().is_some_and(|slot| !slot.is_recent));
        let place = free.or_else(forgotten).unwrap_or_else(|| {
            set.iter_mut().flatten().for_each(|slot| slot.is_recent = false);
            (new.hash >> 32) as usize % WAYS
        });
        self.used += usize::from(set[place].is_none());
        set[place] = Some(new);
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(SLOTS_MIN);
        let old = std::mem::replace(&mut self.slots, std::iter::repeat_with(|| None).take(slots).collect());
        self.used = 0;
        old.into_iter().flatten().for_each(|slot| self.insert(slot));
    }

    fn places(&self, hash: u64) -> Option<std::ops::Range<usize>> {
        let sets = self.slots.len() / WAYS;
        let first = (hash as usize & sets.checked_sub(1)?) * WAYS;
        Some(first..first + WAYS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Matches;
    use crate::loaded::Loaded;

    fn answer() -> Arc<Answer> {
        Arc::new(Answer::new(Matches::default(), &Loaded::default(), |_| false, |_| None))
    }

    fn spread(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn tells_lanes_and_keys_of_one_hash_apart() {
        let (mut decisions, answer) = (Decisions::default(), answer());
        assert!(decisions.get(7, 1, b"a").is_none());
        decisions.put(7, 1, b"a", &answer);
        assert!(decisions.get(7, 1, b"a").is_some());
        assert!(decisions.get(7, 2, b"a").is_none());
        assert!(decisions.get(7, 1, b"b").is_none());
    }

    #[test]
    fn a_flood_leaves_what_is_asked_for() {
        let (mut decisions, answer) = (Decisions::default(), answer());
        let mut hits = 0;
        for number in 0..100_000 {
            let hot = number % 50;
            match decisions.get(spread(hot), 1, b"hot") {
                Some(_) => hits += 1,
                None => decisions.put(spread(hot), 1, b"hot", &answer),
            }
            decisions.put(spread(1_000 + number), 2, b"flood", &answer);
        }
        assert!(decisions.slots.len() <= SLOTS_MAX);
        assert!(hits > 95_000, "{hits}");
    }

    #[test]
    fn long_keys_are_not_remembered() {
        let mut decisions = Decisions::default();
        decisions.put(1, 1, &[0; KEY_BYTES_MAX + 1], &answer());
        assert_eq!(decisions.used, 0);
    }
}
