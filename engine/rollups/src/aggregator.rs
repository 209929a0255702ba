//! Counts batches of `requests` as they arrive, and gives out what was counted as deltas.

mod taken;
mod totals;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::OnceLock;

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

pub use self::taken::Taken;
use self::totals::Totals;
use crate::cell::Cell;
use crate::emit::{Texts, at_time, unordered};
use crate::error::RollupError;
use crate::interval::{Bounds, Folded, Interval};
use crate::key::{EFFECT, NAMES_MAX, POLICY};
use crate::names::Names;
use crate::policy::{self, KEY_MASK, PolicyTally, RecentIds};
use crate::rows::{DECIDED, RequestRows, SHADOW, is_error, runs, words};
use crate::tables::Table;
use crate::traffic::{self, Observation, Tally};

/// Most seconds that rows are added to at a time. Reporters whose clocks differ, and rows that come late, need more than one.
const OPEN_MAX: usize = 8;
/// Seconds that are over are kept in groups of about this many rows, each of which becomes one batch when asked for.
const GROUP_ROWS: usize = 8_192;

/// The bounds of an [`Aggregator`]. Beyond them names are given up, in steps, and counted; totals stay exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most keys of one interval, beside those that gave up all names: one for each combination of words.
    pub keys_max: usize,
    /// Most rows of one table until the next [`Aggregator::take`], beside those that gave up all names.
    pub cells_max: usize,
    /// Most distinct names until the next [`Aggregator::take`]; 16 million at most.
    pub names_max: usize,
    /// Most bytes of these names.
    pub name_bytes_max: usize,
}

impl Default for Limits {
    /// 20,000 keys, 400,000 rows, 100,000 names of 32 MiB.
    fn default() -> Self {
        Self { keys_max: 20_000, cells_max: 400_000, names_max: 100_000, name_bytes_max: 32 << 20 }
    }
}

/// What an [`Aggregator`] holds, and how often its bounds were hit since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// Requests counted, each as often as its weight says.
    pub requests: u64,
    /// Rows of `traffic_1s` held. When they come near [`Limits::cells_max`], it is time to [`Aggregator::take`].
    pub cells: usize,
    /// About how many bytes all tables take.
    pub bytes: usize,
    /// Requests whose names were given up, in the order of [`Table::ALL`].
    pub folded: [Folded; 4],
    /// How often a batch held a name that became `(other)` because there were too many.
    pub names_refused: u64,
}

/// Counts requests until they are taken.
///
/// A second is open while rows come for it. When it has to make room for another it is over: its cells go into its minute
/// and hour, and are only read from then on. A row that comes later still opens the same second again, so that a
/// second may be in several parts until [`Taken::finish`] puts them together.
///
/// Bound: [`Limits`], and the number of distinct seconds, which the oldest and newest time that is admitted bounds.
#[derive(Debug)]
pub struct Aggregator {
    names: Names,
    words: Names,
    bounds: BoundsByTable,
    open: Vec<Open>,
    uses: u64,
    over: Vec<Group>,
    minutes: BTreeMap<i64, Interval<Tally>>,
    hours: BTreeMap<i64, Interval<Tally>>,
    policies: BTreeMap<i64, Interval<PolicyTally>>,
    totals: Totals,
    requests: u64,
    limits: Limits,
    /// Keys of the batch being added; kept for its memory.
    keys: Vec<u128>,
}

/// Second that rows are added to.
#[derive(Debug)]
struct Open {
    interval: Interval<Tally>,
    /// When it was used last, in uses of any.
    used: u64,
}

/// Seconds that are over.
#[derive(Debug, Default)]
struct Group {
    intervals: Vec<Interval<Tally>>,
    cells: usize,
    bytes: usize,
    rows: OnceLock<RecordBatch>,
}

#[derive(Debug)]
struct BoundsByTable {
    seconds: Bounds,
    minutes: Bounds,
    hours: Bounds,
    policies: Bounds,
}

impl Aggregator {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let bounds = |steps| Bounds::new(steps, limits.keys_max, limits.cells_max);
        Self {
            names: Names::new(limits.names_max.min(NAMES_MAX), limits.name_bytes_max),
            words: words(),
            bounds: BoundsByTable {
                seconds: bounds(traffic::STEPS),
                minutes: bounds(traffic::STEPS),
                hours: bounds(traffic::STEPS),
                policies: bounds(policy::STEPS),
            },
            open: Vec::with_capacity(OPEN_MAX),
            uses: 0,
            over: Vec::new(),
            minutes: BTreeMap::new(),
            hours: BTreeMap::new(),
            policies: BTreeMap::new(),
            totals: Totals::new(&limits),
            requests: 0,
            limits,
            keys: Vec::new(),
        }
    }

    /// Counts every row of a batch of `requests`, `weight` times each; rows whose weight is below 1 are left out.
    ///
    /// # Errors
    /// When a column is missing or of another type; nothing was counted then.
    pub fn add(&mut self, rows: &RecordBatch) -> Result<(), RollupError> {
        let rows = RequestRows::try_new(rows)?;
        let mut keys = std::mem::take(&mut self.keys);
        rows.keys(&mut keys, &mut self.names, &mut self.words);
        for (start_us, run) in runs(rows.times, Table::Traffic1s.interval_us()) {
            let at = self.open_second(start_us);
            if let Some(open) = self.open.get_mut(at) {
                self.requests += count_traffic(&mut open.interval, &mut self.bounds.seconds, &rows, &keys, run);
            }
        }
        self.add_policies(&rows, &keys);
        self.keys = keys;
        Ok(())
    }

    /// What was counted and not yet taken. Rows of one key may be spread over several batches, and are in no order.
    ///
    /// Only what has changed since the last time is made anew: the seconds that rows came for, and the current minute and
    /// hour once in a second.
    ///
    /// # Errors
    /// Arrow's own, when a batch would be too large for it.
    pub fn snapshot(&self) -> Result<Vec<(Table, RecordBatch)>, ArrowError> {
        let texts = Texts { names: &self.names, words: &self.words };
        let mut batches = Vec::new();
        for group in &self.over {
            let rows = cached(&group.rows, || unordered(group.intervals.iter(), texts))?;
            batches.push((Table::Traffic1s, rows));
        }
        for (table, intervals) in [(Table::Traffic1m, &self.minutes), (Table::Traffic1h, &self.hours)] {
            for interval in intervals.values() {
                batches.push((table, interval_rows(interval, texts)?));
            }
        }
        for open in &self.open {
            // They are not in their minute and hour yet.
            let rows = interval_rows(&open.interval, texts)?;
            for table in [Table::Traffic1m, Table::Traffic1h] {
                batches.push((table, at_time(&rows, table.start_us(open.interval.start_us))?));
            }
            batches.push((Table::Traffic1s, rows));
        }
        for interval in self.policies.values() {
            batches.push((Table::PolicyTraffic1m, interval_rows(interval, texts)?));
        }
        batches.retain(|(_, rows)| rows.num_rows() > 0);
        Ok(batches)
    }

    /// Takes out all that was counted, and begins anew. Cheap: the work is left to [`Taken::finish`].
    #[must_use = "what was taken is no longer in the aggregator"]
    pub fn take(&mut self) -> Taken {
        self.end_seconds();
        self.totals.forget_numbers();
        let bounds = &mut self.bounds;
        for bounds in [&mut bounds.seconds, &mut bounds.minutes, &mut bounds.hours, &mut bounds.policies] {
            bounds.cells = 0;
        }
        let names = self.names.renewed();
        Taken {
            names: std::mem::replace(&mut self.names, names),
            words: std::mem::replace(&mut self.words, words()),
            seconds: std::mem::take(&mut self.over).into_iter().flat_map(|group| group.intervals).collect(),
            minutes: std::mem::take(&mut self.minutes).into_values().collect(),
            hours: std::mem::take(&mut self.hours).into_values().collect(),
            policies: std::mem::take(&mut self.policies).into_values().collect(),
        }
    }

    /// Begins the totals anew: what was counted so far was counted by an earlier process, too.
    pub fn restart_totals(&mut self) {
        self.end_seconds();
        self.totals = Totals::new(&self.limits);
    }

    /// What was counted since the totals began, in rows of `traffic` without an order; `time` is when a key was counted last.
    /// No number ever falls, whatever is taken meanwhile.
    ///
    /// The work is left to what is returned, which is a copy. Seconds that are open end, to be counted.
    pub fn totals(&mut self) -> impl FnOnce() -> Result<RecordBatch, ArrowError> + Send + use<> {
        self.end_seconds();
        let totals = self.totals.clone();
        move || totals.rows()
    }

    /// What is held, and how often bounds were hit.
    #[must_use]
    pub fn status(&self) -> Status {
        let Bounds { cells, .. } = self.bounds.seconds;
        let open: usize = self.open.iter().map(|open| open.interval.bytes()).sum();
        let over: usize = self.over.iter().map(Group::bytes).sum();
        let longer: usize = self.minutes.values().chain(self.hours.values()).map(Interval::bytes).sum();
        let policies: usize = self.policies.values().map(Interval::bytes).sum();
        let bounds = &self.bounds;
        let folded = [&bounds.seconds, &bounds.minutes, &bounds.hours, &bounds.policies].map(|bounds| bounds.folded);
        Status {
            requests: self.requests,
            cells,
            bytes: open + over + longer + policies + self.names.bytes(),
            folded,
            names_refused: self.names.refused(),
        }
    }

    /// The place of a second among the open ones.
    fn open_second(&mut self, start_us: i64) -> usize {
        self.uses += 1;
        if let Some(at) = self.open.iter().position(|open| open.interval.start_us == start_us) {
            self.open[at].used = self.uses;
            return at;
        }
        if self.open.len() >= OPEN_MAX {
            let longest_unused = self.open.iter().enumerate().min_by_key(|(_, open)| open.used).map(|(at, _)| at);
            self.end_second(longest_unused.unwrap_or(0));
        }
        self.open.push(Open { interval: Interval::new(start_us, 64), used: self.uses });
        self.open.len() - 1
    }

    fn end_seconds(&mut self) {
        while !self.open.is_empty() {
            self.end_second(0);
        }
    }

    /// Ends an open second; another takes its place.
    fn end_second(&mut self, at: usize) {
        let Open { mut interval, .. } = self.open.swap_remove(at);
        interval.settle();
        self.totals.add(&interval, &self.names, &self.words);
        for (table, intervals, bounds) in [
            (Table::Traffic1m, &mut self.minutes, &mut self.bounds.minutes),
            (Table::Traffic1h, &mut self.hours, &mut self.bounds.hours),
        ] {
            let start_us = table.start_us(interval.start_us);
            let longer = intervals.entry(start_us).or_insert_with(|| Interval::new(start_us, interval.keys.len()));
            longer.absorb(&interval, bounds);
        }
        match self.over.last_mut() {
            Some(group) if group.cells + interval.cells.len() <= GROUP_ROWS => group.push(interval),
            _ => {
                let mut group = Group::default();
                group.push(interval);
                self.over.push(group);
            }
        }
    }

    fn add_policies(&mut self, rows: &RequestRows<'_>, keys: &[u128]) {
        let mut recent = RecentIds::new();
        for (ids, effect) in [(&rows.policies, DECIDED), (&rows.shadow, SHADOW)] {
            if ids.is_empty() {
                continue;
            }
            for (start_us, run) in runs(rows.times, Table::PolicyTraffic1m.interval_us()) {
                let minute = self.policies.entry(start_us).or_insert_with(|| Interval::new(start_us, 64));
                minute.rows.take();
                for row in run {
                    let weight = rows.weights[row];
                    for id in ids.of(row).filter(|_| weight > 0) {
                        let policy = POLICY.put(recent.number(id, &mut self.names));
                        let key = keys[row] & KEY_MASK | policy | EFFECT.put(effect);
                        let place = minute.place(key, weight, &mut self.bounds.policies);
                        minute.cells[place].count(weight, rows.times[row]);
                    }
                }
            }
        }
    }
}

/// Counts some rows of a batch in their second, and returns how many requests they stand for.
fn count_traffic(
    second: &mut Interval<Tally>,
    bounds: &mut Bounds,
    rows: &RequestRows<'_>,
    keys: &[u128],
    run: Range<usize>,
) -> u64 {
    second.rows.take();
    let mut last = None;
    let mut requests = 0;
    for row in run {
        let (key, weight) = (keys[row], rows.weights[row]);
        if weight <= 0 {
            continue;
        }
        let place = match last {
            Some((last_key, place)) if last_key == key => place,
            _ => second.place(key, weight, bounds),
        };
        // A folded key is looked up each time, so that what was folded is counted.
        last = (second.keys[place] == key).then_some((key, place));
        second.cells[place].count(Observation {
            weight,
            request_bytes: rows.request_bytes[row],
            response_bytes: rows.response_bytes[row],
            duration_us: rows.durations[row],
            is_error: is_error(key),
        });
        requests += weight as u64;
    }
    requests
}

impl Group {
    fn push(&mut self, interval: Interval<Tally>) {
        self.cells += interval.cells.len();
        self.bytes += interval.bytes();
        self.intervals.push(interval);
        self.rows.take();
    }

    fn bytes(&self) -> usize {
        self.bytes + self.rows.get().map_or(0, RecordBatch::get_array_memory_size)
    }
}

fn interval_rows<C: Cell>(interval: &Interval<C>, texts: Texts<'_>) -> Result<RecordBatch, ArrowError> {
    cached(&interval.rows, || unordered(std::iter::once(interval), texts))
}

fn cached(
    cell: &OnceLock<RecordBatch>,
    make: impl FnOnce() -> Result<RecordBatch, ArrowError>,
) -> Result<RecordBatch, ArrowError> {
    if let Some(rows) = cell.get() {
        return Ok(rows.clone());
    }
    let rows = make()?;
    Ok(cell.get_or_init(|| rows).clone())
}
