//! Turns keys and cells into rows of Arrow.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Int16Array, Int32Builder, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::cell::{Cell, KeyColumn};
use crate::error::RollupError;
use crate::interval::Interval;
use crate::key::{Holds, Place};
use crate::names::{ABSENT, Names};
use crate::status;

/// Where the texts of a key's numbers are found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Texts<'a> {
    pub(crate) names: &'a Names,
    pub(crate) words: &'a Names,
}

impl<'a> Texts<'a> {
    fn of(self, place: Place) -> &'a Names {
        if place.holds() == Holds::Words { self.words } else { self.names }
    }
}

/// The rows of some intervals, in no order.
pub(crate) fn unordered<'a, C: Cell + 'a>(
    intervals: impl Iterator<Item = &'a Interval<C>>,
    texts: Texts<'_>,
) -> Result<RecordBatch, ArrowError> {
    let mut rows = Rows::<C>::default();
    for interval in intervals {
        for (key, cell) in interval.keys.iter().zip(&interval.cells) {
            rows.push(interval.start_us, *key, cell);
        }
    }
    rows.finish(|place, number| texts.of(place).text(number))
}

/// A row that is to be sorted, and where its numbers are: in which source, at which place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) time_us: i64,
    /// Of numbers on entering, of ranks once sorted.
    pub(crate) key: u128,
    pub(crate) at: (u32, u32),
}

/// One row for each time and key, in order; `add` adds what an entry points to.
pub(crate) fn sorted<C: Cell>(
    mut entries: Vec<Entry>,
    texts: Texts<'_>,
    mut add: impl FnMut(&mut C, (u32, u32)) -> Result<(), RollupError>,
) -> Result<RecordBatch, RollupError> {
    let ranks = Ranks::new(texts);
    for entry in &mut entries {
        entry.key = ranks.rank::<C>(entry.key);
    }
    entries.sort_unstable_by_key(|entry| (entry.time_us, entry.key));
    let mut rows = Rows::<C>::default();
    let mut cell = C::default();
    for run in entries.chunk_by(|left, right| (left.time_us, left.key) == (right.time_us, right.key)) {
        cell.clear();
        run.iter().try_for_each(|entry| add(&mut cell, entry.at))?;
        rows.push(run[0].time_us, run[0].key, &cell);
    }
    Ok(rows.finish(|place, rank| ranks.text(place, rank))?)
}

/// The same rows, all at one time.
pub(crate) fn at_time(rows: &RecordBatch, time_us: i64) -> Result<RecordBatch, ArrowError> {
    let mut columns = rows.columns().to_vec();
    if let Some(time) = columns.first_mut() {
        *time = times(vec![time_us; rows.num_rows()]);
    }
    RecordBatch::try_new(rows.schema(), columns)
}

/// Places of all names in alphabetical order, null before them.
struct Ranks<'a> {
    texts: Texts<'a>,
    names: Ranking,
    words: Ranking,
}

impl<'a> Ranks<'a> {
    fn new(texts: Texts<'a>) -> Self {
        Self { texts, names: Ranking::new(texts.names), words: Ranking::new(texts.words) }
    }

    fn of(&self, place: Place) -> Option<&Ranking> {
        match place.holds() {
            Holds::Names => Some(&self.names),
            Holds::Words => Some(&self.words),
            // Codes are in order as they are.
            Holds::Codes => None,
        }
    }

    fn rank<C: Cell>(&self, key: u128) -> u128 {
        let rank = |place: Place| self.of(place).map_or(place.get(key), |ranking| ranking.rank(place.get(key)));
        C::KEYS.iter().fold(0, |ranked, (_, column)| ranked | column.place().put(rank(column.place())))
    }

    fn text(&self, place: Place, rank: u32) -> &'a str {
        self.texts.of(place).text(self.of(place).map_or(ABSENT, |ranking| ranking.number(rank)))
    }
}

struct Ranking {
    ranks: Vec<u32>,
    numbers: Vec<u32>,
}

impl Ranking {
    fn new(names: &Names) -> Self {
        let mut numbers: Vec<u32> = (0..names.len() as u32).collect();
        // The number 0, null, has the empty text, and stays before a name that is empty.
        numbers.sort_by_key(|number| (*number != ABSENT, names.text(*number)));
        let mut ranks = vec![0; numbers.len()];
        for (rank, number) in (0..).zip(&numbers) {
            ranks[*number as usize] = rank;
        }
        Self { ranks, numbers }
    }

    fn rank(&self, number: u32) -> u32 {
        self.ranks.get(number as usize).copied().unwrap_or(ABSENT)
    }

    fn number(&self, rank: u32) -> u32 {
        self.numbers.get(rank as usize).copied().unwrap_or(ABSENT)
    }
}

/// Rows being collected.
struct Rows<C: Cell> {
    times: Vec<i64>,
    keys: Vec<u128>,
    values: C::Values,
}

impl<C: Cell> Default for Rows<C> {
    fn default() -> Self {
        Self { times: Vec::new(), keys: Vec::new(), values: C::Values::default() }
    }
}

impl<C: Cell> Rows<C> {
    fn push(&mut self, time_us: i64, key: u128, cell: &C) {
        self.times.push(time_us);
        self.keys.push(key);
        cell.push(&mut self.values);
    }

    fn finish<'a>(self, text: impl Fn(Place, u32) -> &'a str) -> Result<RecordBatch, ArrowError> {
        let mut columns = vec![times(self.times)];
        for (_, column) in C::KEYS {
            let codes = |place: Place| self.keys.iter().map(move |key| place.get(*key));
            columns.push(match *column {
                KeyColumn::Texts(place) => text_column(codes(place), |number| text(place, number))?,
                KeyColumn::Class(place) => text_column(codes(place).map(status::coarse), status::class)?,
                KeyColumn::Status(place) => Arc::new(codes(place).map(status::exact).collect::<Int16Array>()),
                KeyColumn::Flag(place) => Arc::new(codes(place).map(status::flag).collect::<BooleanArray>()),
            });
        }
        columns.extend(C::finish(self.values)?);
        RecordBatch::try_new(C::schema(), columns)
    }
}

fn times(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
}

/// A dictionary column of the texts of numbers; only those that occur are in the dictionary.
fn text_column<'a>(
    numbers: impl ExactSizeIterator<Item = u32>,
    text: impl Fn(u32) -> &'a str,
) -> Result<ArrayRef, ArrowError> {
    const NONE: i32 = -1;
    let mut codes: Vec<i32> = Vec::new();
    let mut texts = StringBuilder::new();
    let (mut used, mut column) = (0, Int32Builder::with_capacity(numbers.len()));
    for number in numbers {
        if number == ABSENT {
            column.append_null();
            continue;
        }
        if codes.len() <= number as usize {
            codes.resize(number as usize + 1, NONE);
        }
        let code = &mut codes[number as usize];
        if *code == NONE {
            *code = used;
            used += 1;
            texts.append_value(text(number));
        }
        column.append_value(*code);
    }
    let texts: StringArray = texts.finish();
    Ok(Arc::new(DictionaryArray::try_new(column.finish(), Arc::new(texts))?))
}
