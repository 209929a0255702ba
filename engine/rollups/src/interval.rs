//! Cells by key within one interval, found by a hash table that a row's work fits into a few cache lines of.

use std::sync::OnceLock;

use arrow::record_batch::RecordBatch;

use crate::cell::Cell;
use crate::key::{Fold, hash};

/// How many requests were counted under a key that had to give up names, by what it gave up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Folded {
    /// The first step: of `traffic` the route, of `policy_traffic` the source.
    pub first: u64,
    /// The second step: of `traffic` also the source and the exact status, of `policy_traffic` also the destination.
    pub second: u64,
    /// All names and mutual TLS; direction, status class, decision and effect always stay.
    pub all: u64,
}

/// The bounds of one table, and what it took to keep them.
///
/// A key is kept whole while its interval has less than 3/4 of `keys_max` keys; then it gives up names in steps: the first
/// up to 7/8, the second up to `keys_max`, and at last all. Those without names are always taken: there are at most as
/// many as combinations of words. The same is given up when all intervals together have `cells_max` cells.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) steps: [Fold; 3],
    pub(crate) keys_max: usize,
    pub(crate) cells_max: usize,
    /// Cells of all intervals.
    pub(crate) cells: usize,
    pub(crate) folded: Folded,
}

impl Bounds {
    pub(crate) fn new(steps: [Fold; 3], keys_max: usize, cells_max: usize) -> Self {
        Self { steps, keys_max, cells_max, cells: 0, folded: Folded::default() }
    }

    /// Whether one more key may be added after this many folds.
    fn has_room(&self, keys: usize, folds: usize) -> bool {
        let share = [6, 7, 8].get(folds).map(|eighths| self.keys_max / 8 * eighths + self.keys_max % 8 * eighths / 8);
        share.is_none_or(|share| keys < share && self.cells < self.cells_max)
    }

    fn count(&mut self, folds: usize, requests: i64) {
        let requests = u64::try_from(requests).unwrap_or(0);
        match folds {
            0 => {}
            1 => self.folded.first += requests,
            2 => self.folded.second += requests,
            _ => self.folded.all += requests,
        }
    }
}

/// One second, minute or hour of a table.
#[derive(Debug, Clone)]
pub(crate) struct Interval<C> {
    pub(crate) start_us: i64,
    /// Upper half of a key's hash and its place plus one, or 0; a power of two of them, at most half in use.
    index: Vec<u64>,
    pub(crate) keys: Vec<u128>,
    pub(crate) cells: Vec<C>,
    /// The rows as they were last asked for, until something changes.
    pub(crate) rows: OnceLock<RecordBatch>,
}

impl<C: Cell> Interval<C> {
    /// An empty interval with room for `keys`.
    pub(crate) fn new(start_us: i64, keys: usize) -> Self {
        let places = (keys * 2).next_power_of_two().max(16);
        Self {
            start_us,
            index: vec![0; places],
            keys: Vec::with_capacity(keys),
            cells: Vec::with_capacity(keys),
            rows: OnceLock::new(),
        }
    }

    /// The place of the cell in which a key is counted; `requests` are what the bounds report when it has to be folded.
    #[inline]
    pub(crate) fn place(&mut self, key: u128, requests: i64, bounds: &mut Bounds) -> usize {
        match self.find(key) {
            Ok(place) => place,
            Err(free) => self.place_new(key, free, requests, bounds),
        }
    }

    /// Adds what another interval of the same table counted.
    pub(crate) fn absorb(&mut self, other: &Self, bounds: &mut Bounds) {
        for (key, cell) in other.keys.iter().zip(&other.cells) {
            let place = self.place(*key, cell.requests(), bounds);
            self.cells[place].absorb(cell);
        }
        self.rows.take();
    }

    /// No key will be looked up any more.
    pub(crate) fn settle(&mut self) {
        self.index = Vec::new();
        self.keys.shrink_to_fit();
        self.cells.shrink_to_fit();
    }

    pub(crate) fn bytes(&self) -> usize {
        let cells = self.cells.capacity() * size_of::<C>() + self.cells.iter().map(Cell::heap_bytes).sum::<usize>();
        let rows = self.rows.get().map_or(0, RecordBatch::get_array_memory_size);
        self.index.capacity() * size_of::<u64>() + self.keys.capacity() * size_of::<u128>() + cells + rows
    }

    #[cold]
    fn place_new(&mut self, key: u128, free: usize, requests: i64, bounds: &mut Bounds) -> usize {
        if bounds.has_room(self.keys.len(), 0) {
            return self.insert(key, free, bounds);
        }
        let mut folds = 0;
        loop {
            let Some(fold) = bounds.steps.get(folds) else {
                // The last step always has room.
                return self.insert(key, free, bounds);
            };
            folds += 1;
            let folded = fold.apply(key);
            let found = self.find(folded);
            if let Ok(place) = found {
                bounds.count(if folded == key { 0 } else { folds }, requests);
                return place;
            }
            if let Err(free) = found
                && bounds.has_room(self.keys.len(), folds)
            {
                bounds.count(if folded == key { 0 } else { folds }, requests);
                return self.insert(folded, free, bounds);
            }
        }
    }

    /// The place of a key, or the free place of the index at which it belongs.
    #[inline]
    fn find(&self, key: u128) -> Result<usize, usize> {
        let hash = hash(key);
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let entry = self.index[at];
            if entry == 0 {
                return Err(at);
            }
            let place = entry as u32 as usize - 1;
            if entry >> 32 == hash >> 32 && self.keys[place] == key {
                return Ok(place);
            }
            at = (at + 1) & mask;
        }
    }

    fn insert(&mut self, key: u128, free: usize, bounds: &mut Bounds) -> usize {
        let place = self.keys.len();
        self.index[free] = entry(key, place);
        self.keys.push(key);
        self.cells.push(C::default());
        bounds.cells += 1;
        if self.keys.len() * 2 > self.index.len() {
            self.grow();
        }
        place
    }

    fn grow(&mut self) {
        let mut index = vec![0_u64; self.index.len() * 2];
        let mask = index.len() - 1;
        for (place, key) in self.keys.iter().enumerate() {
            let mut at = hash(*key) as usize & mask;
            while index[at] != 0 {
                at = (at + 1) & mask;
            }
            index[at] = entry(*key, place);
        }
        self.index = index;
    }
}

fn entry(key: u128, place: usize) -> u64 {
    hash(key) >> 32 << 32 | (place as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{DESTINATION, DIRECTION, ROUTE, SOURCE};
    use crate::names::OTHER;
    use crate::traffic::{STEPS, Tally};

    fn key(destination: u32, source: u32, route: u32) -> u128 {
        DESTINATION.put(destination) | SOURCE.put(source) | ROUTE.put(route) | DIRECTION.put(2)
    }

    #[test]
    fn finds_what_it_was_given_while_it_grows() {
        let mut bounds = Bounds::new(STEPS, usize::MAX, usize::MAX);
        let mut interval = Interval::<Tally>::new(0, 0);
        let keys: Vec<u128> = (0..3_000).map(|n| key(n % 7, n % 50, n)).collect();
        for (place, key) in keys.iter().enumerate() {
            assert_eq!(interval.place(*key, 1, &mut bounds), place);
        }
        for (place, key) in keys.iter().enumerate() {
            assert_eq!(interval.place(*key, 1, &mut bounds), place);
        }
        assert_eq!((bounds.cells, bounds.folded), (3_000, Folded::default()));
    }

    #[test]
    fn gives_up_the_route_then_the_source_then_all() {
        let mut bounds = Bounds::new(STEPS, 8, usize::MAX);
        let mut interval = Interval::<Tally>::new(0, 0);
        let mut keys = |destination, source, route, requests| {
            let place = interval.place(key(destination, source, route), requests, &mut bounds);
            let key = interval.keys[place];
            ((DESTINATION.get(key), SOURCE.get(key), ROUTE.get(key)), bounds.folded)
        };
        for route in 2..8 {
            assert_eq!(keys(2, 2, route, 1).0, (2, 2, route));
        }
        let folded = |first, second, all| Folded { first, second, all };
        assert_eq!(keys(2, 2, 8, 3), ((2, 2, OTHER), folded(3, 0, 0)));
        assert_eq!(keys(2, 3, 9, 5), ((2, OTHER, OTHER), folded(3, 5, 0)));
        assert_eq!(keys(3, 3, 9, 7), ((OTHER, OTHER, OTHER), folded(3, 5, 7)));
        assert_eq!(keys(2, 2, 9, 1), ((2, 2, OTHER), folded(4, 5, 7)), "what is there is found again");
        assert_eq!(keys(2, 2, 3, 1), ((2, 2, 3), folded(4, 5, 7)), "whole keys too");
    }

    #[test]
    fn all_intervals_together_are_bounded() {
        let mut bounds = Bounds::new(STEPS, 100, 2);
        for start in 0..10 {
            let mut interval = Interval::<Tally>::new(start, 0);
            for n in 0..5 {
                interval.place(key(n, n, n), 1, &mut bounds);
            }
            assert!(interval.keys.len() <= if start == 0 { 3 } else { 1 });
        }
        assert_eq!((bounds.cells, bounds.folded.all), (12, 48));
    }
}
