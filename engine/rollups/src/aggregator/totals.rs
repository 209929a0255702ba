//! What was counted since a moment, by key: the counters that a process shows.
//!
//! INVARIANT: no number falls, nor does a sum over keys of one edge: direction, source and destination. A key is given up for good
//! when there is no room for it, and edges that nothing was counted for in [`IDLE_US`] make room only when there is little; one
//! that comes back begins at zero, as after a restart.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::TimestampMicrosecondArray;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::Limits;
use crate::cell::Cell as _;
use crate::emit::{Texts, unordered};
use crate::interval::{Bounds, Interval};
use crate::key::{EDGE, Holds, Place};
use crate::names::{ABSENT, Names};
use crate::rows::words;
use crate::traffic::{STEPS, Tally};

/// An edge without requests for as long may make room.
const IDLE_US: i64 = 3_600_000_000;
/// A number of the aggregator's names whose number here is not known yet.
const UNKNOWN: u32 = u32::MAX;

/// Counts that only grow.
///
/// Bound: the keys of one interval, and names, as [`Limits`] says.
#[derive(Debug, Clone)]
pub(super) struct Totals {
    names: Names,
    words: Names,
    counted: Interval<Tally>,
    /// The last second in which each key was counted.
    heard_us: Vec<i64>,
    bounds: Bounds,
    newest_us: i64,
    known_names: Vec<u32>,
    known_words: Vec<u32>,
}

impl Totals {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            names: Names::new(limits.names_max, limits.name_bytes_max),
            words: words(),
            counted: Interval::new(0, 64),
            heard_us: Vec::new(),
            bounds: Bounds::new(STEPS, limits.keys_max, usize::MAX),
            newest_us: i64::MIN,
            known_names: Vec::new(),
            known_words: Vec::new(),
        }
    }

    /// Adds a second that is over, whose keys are numbers of these names and words.
    pub(super) fn add(&mut self, second: &Interval<Tally>, names: &Names, words: &Names) {
        self.newest_us = self.newest_us.max(second.start_us);
        if self.counted.keys.len() >= self.bounds.keys_max / 2 || self.names.is_half_full() {
            self.make_room();
        }
        for (key, cell) in second.keys.iter().zip(&second.cells) {
            let key = self.translate(*key, names, words);
            let place = self.counted.place(key, cell.requests(), &mut self.bounds);
            self.counted.cells[place].absorb(cell);
            self.heard_us.resize(self.counted.cells.len(), i64::MIN);
            let heard = &mut self.heard_us[place];
            *heard = (*heard).max(second.start_us);
        }
    }

    /// The aggregator's names begin anew.
    pub(super) fn forget_numbers(&mut self) {
        self.known_names.clear();
        self.known_words.clear();
    }

    /// One row for each key; `time` is when it was counted last.
    pub(super) fn rows(&self) -> Result<RecordBatch, ArrowError> {
        let rows = unordered(std::iter::once(&self.counted), Texts { names: &self.names, words: &self.words })?;
        let mut columns = rows.columns().to_vec();
        if let Some(time) = columns.first_mut() {
            *time = Arc::new(TimestampMicrosecondArray::from(self.heard_us.clone()).with_timezone("UTC"));
        }
        RecordBatch::try_new(rows.schema(), columns)
    }

    fn translate(&mut self, key: u128, names: &Names, words: &Names) -> u128 {
        let mut translated = key;
        for place in Tally::KEYS.iter().map(|(_, column)| column.place()) {
            let (from, to, known) = match place.holds() {
                Holds::Words => (words, &mut self.words, &mut self.known_words),
                Holds::Names => (names, &mut self.names, &mut self.known_names),
                Holds::Codes => continue,
            };
            translated = replace(translated, place, number(place.get(key), from, to, known));
        }
        translated
    }

    /// Leaves out what was not counted for long, with its names: whole edges, as a series may count several keys of one.
    fn make_room(&mut self) {
        let idle_since = self.newest_us.saturating_sub(IDLE_US);
        let edge = EDGE.iter().fold(0, |mask, place| mask | place.mask());
        let mut heard = HashMap::<u128, i64>::new();
        for (key, heard_us) in self.counted.keys.iter().zip(&self.heard_us) {
            let heard = heard.entry(key & edge).or_insert(*heard_us);
            *heard = (*heard).max(*heard_us);
        }
        let is_kept = |key: &u128| heard.get(&(key & edge)).is_some_and(|heard| *heard >= idle_since);
        // Rebuilding costs as much as a scrape: only where a quarter goes.
        if self.counted.keys.iter().filter(|key| is_kept(key)).count() * 4 > self.counted.keys.len() * 3 {
            return;
        }
        let fresh = Self {
            names: self.names.renewed(),
            words: words(),
            counted: Interval::new(0, 64),
            heard_us: Vec::new(),
            bounds: Bounds { cells: 0, ..self.bounds.clone() },
            newest_us: self.newest_us,
            known_names: Vec::new(),
            known_words: Vec::new(),
        };
        let old = std::mem::replace(self, fresh);
        for ((key, cell), heard_us) in old.counted.keys.iter().zip(&old.counted.cells).zip(&old.heard_us) {
            if is_kept(key) {
                let key = self.translate(*key, &old.names, &old.words);
                let place = self.counted.place(key, 0, &mut self.bounds);
                self.counted.cells[place].absorb(cell);
                self.heard_us.resize(self.counted.cells.len(), *heard_us);
            }
        }
        // They were those of the old names.
        self.forget_numbers();
    }
}

fn replace(key: u128, place: Place, number: u32) -> u128 {
    key & !place.mask() | place.put(number)
}

fn number(number: u32, from: &Names, to: &mut Names, known: &mut Vec<u32>) -> u32 {
    if number == ABSENT {
        return ABSENT;
    }
    let at = number as usize;
    if known.len() <= at {
        known.resize(at + 1, UNKNOWN);
    }
    if known[at] == UNKNOWN {
        known[at] = to.number(from.text(number));
    }
    known[at]
}
