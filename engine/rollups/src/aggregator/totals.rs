//! What was counted since a moment, by key: the counters that a process shows.
//!
//! INVARIANT: no number falls, nor does a sum over keys of one edge (direction, source and destination) but to begin anew. What was
//! not counted for [`IDLE_US`] makes room when there is little: edges without requests and, where those are few, edges half of
//! whose keys had none. An edge is left out as a whole, so that it begins at zero, as after a restart.

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

/// What is without requests for as long may make room.
const IDLE_US: i64 = 3_600_000_000;
/// How often it is looked for room: looking takes as long as a scrape.
const LOOK_US: i64 = 60_000_000;
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
    look_again_us: i64,
    known_names: Vec<u32>,
    known_words: Vec<u32>,
}

/// Keys of one edge, and how many of them are idle.
#[derive(Debug, Clone, Copy, Default)]
struct Edge {
    keys: usize,
    idle: usize,
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
            look_again_us: i64::MIN,
            known_names: Vec::new(),
            known_words: Vec::new(),
        }
    }

    /// Adds a second that is over, whose keys are numbers of these names and words.
    pub(super) fn add(&mut self, second: &Interval<Tally>, names: &Names, words: &Names) {
        self.newest_us = self.newest_us.max(second.start_us);
        let is_crowded = self.counted.keys.len() >= self.bounds.keys_max / 2 || self.names.is_half_full();
        if is_crowded && self.newest_us >= self.look_again_us {
            self.look_again_us = self.newest_us.saturating_add(LOOK_US);
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
        let of_key = EDGE.iter().fold(0, |mask, place| mask | place.mask());
        let edges = self.edges(of_key);
        let edge = |key: u128| edges.get(&(key & of_key)).copied().unwrap_or_default();
        let is_idle = |key: u128| edge(key).idle == edge(key).keys;
        let is_stale = |key: u128| edge(key).idle * 2 >= edge(key).keys;
        let keys = &self.counted.keys;
        let is_a_quarter =
            |is_left_out: &dyn Fn(u128) -> bool| keys.iter().filter(|key| is_left_out(**key)).count() * 4 >= keys.len();
        if is_a_quarter(&is_idle) {
            self.leave_out(is_idle);
        } else if is_a_quarter(&is_stale) || self.names.is_half_full() {
            self.leave_out(is_stale);
        }
    }

    fn edges(&self, of_key: u128) -> HashMap<u128, Edge> {
        let idle_since = self.newest_us.saturating_sub(IDLE_US);
        let mut edges = HashMap::<u128, Edge>::new();
        for (key, heard_us) in self.counted.keys.iter().zip(&self.heard_us) {
            let edge = edges.entry(key & of_key).or_default();
            edge.keys += 1;
            edge.idle += usize::from(*heard_us < idle_since);
        }
        edges
    }

    fn leave_out(&mut self, is_left_out: impl Fn(u128) -> bool) {
        let fresh = Self {
            names: self.names.renewed(),
            words: words(),
            counted: Interval::new(0, 64),
            heard_us: Vec::new(),
            bounds: Bounds { cells: 0, ..self.bounds.clone() },
            known_names: Vec::new(),
            known_words: Vec::new(),
            ..*self
        };
        let old = std::mem::replace(self, fresh);
        for ((key, cell), heard_us) in old.counted.keys.iter().zip(&old.counted.cells).zip(&old.heard_us) {
            if !is_left_out(*key) {
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
