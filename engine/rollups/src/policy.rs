//! `policy_traffic_1m`: how often each policy decided, or would have, so that unused ones are found and refusals have names.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::cell::{Cell, KeyColumn};
use crate::error::RollupError;
use crate::key::{DECISION, DESTINATION, EFFECT, Fold, POLICY, SOURCE};
use crate::names::Names;
use crate::rows::{column, integers};
use crate::tables::policy_traffic_schema;

/// What a key of `policy_traffic` gives up: the policy last.
pub(crate) const STEPS: [Fold; 3] =
    [Fold::of(&[SOURCE]), Fold::of(&[SOURCE, DESTINATION]), Fold::of(&[SOURCE, DESTINATION, POLICY])];

/// The part of a request's key that its policies are counted by.
pub(crate) const KEY_MASK: u128 = SOURCE.mask() | DESTINATION.mask() | DECISION.mask();

/// Numbers of one row of `policy_traffic`.
#[derive(Debug)]
pub(crate) struct PolicyTally {
    requests: i64,
    last_us: i64,
}

impl PolicyTally {
    #[inline]
    pub(crate) fn count(&mut self, weight: i64, time_us: i64) {
        self.requests = self.requests.saturating_add(weight);
        self.last_us = self.last_us.max(time_us);
    }
}

impl Default for PolicyTally {
    fn default() -> Self {
        Self { requests: 0, last_us: i64::MIN }
    }
}

/// Columns of `policy_traffic`: written as vectors, read as slices.
impl Cell for PolicyTally {
    type Values = (Vec<i64>, Vec<i64>);
    type Columns<'a> = (&'a [i64], &'a [i64]);

    const KEYS: &'static [(&'static str, KeyColumn)] = &[
        ("destination", KeyColumn::Texts(DESTINATION)),
        ("source", KeyColumn::Texts(SOURCE)),
        ("policy", KeyColumn::Texts(POLICY)),
        ("effect", KeyColumn::Texts(EFFECT)),
        ("decision", KeyColumn::Texts(DECISION)),
    ];

    fn schema() -> SchemaRef {
        policy_traffic_schema()
    }

    fn requests(&self) -> i64 {
        self.requests
    }

    fn heap_bytes(&self) -> usize {
        0
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    fn absorb(&mut self, other: &Self) {
        self.count(other.requests, other.last_us);
    }

    fn push(&self, (requests, last): &mut Self::Values) {
        requests.push(self.requests);
        last.push(self.last_us);
    }

    fn finish((requests, last): Self::Values) -> Result<Vec<ArrayRef>, ArrowError> {
        let last = TimestampMicrosecondArray::from(last).with_timezone("UTC");
        Ok(vec![Arc::new(Int64Array::from(requests)), Arc::new(last)])
    }

    fn columns(rows: &RecordBatch) -> Result<Self::Columns<'_>, RollupError> {
        let last = column(rows, "last_time")?.as_primitive_opt::<TimestampMicrosecondType>();
        let missing = RollupError::Column { column: "last_time", expected: "timestamp in microseconds" };
        Ok((integers(rows, "requests")?, last.ok_or(missing)?.values()))
    }

    fn absorb_row(&mut self, (requests, last): &Self::Columns<'_>, row: usize) -> Result<(), RollupError> {
        self.count(requests[row], last[row]);
        Ok(())
    }
}

/// Policy ids of each row of a batch.
#[derive(Debug)]
pub(crate) struct PolicyIds<'a> {
    lists: &'a ListArray,
    ids: &'a StringArray,
}

impl<'a> PolicyIds<'a> {
    pub(crate) fn try_new(rows: &'a RecordBatch, name: &'static str) -> Result<Self, RollupError> {
        let missing = || RollupError::Column { column: name, expected: "list of texts" };
        let lists = column(rows, name)?.as_list_opt::<i32>().ok_or_else(missing)?;
        let ids = lists.values().as_string_opt::<i32>().ok_or_else(missing)?;
        Ok(Self { lists, ids })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lists.null_count() == self.lists.len() || self.ids.is_empty()
    }

    /// Ids of one row; null ones are left out.
    pub(crate) fn of(&self, row: usize) -> impl Iterator<Item = &'a str> {
        let (ids, offsets) = (self.ids, self.lists.value_offsets());
        let range = if self.lists.is_null(row) { 0..0 } else { offsets[row] as usize..offsets[row + 1] as usize };
        range.filter(|at| ids.is_valid(*at)).map(|at| ids.value(at))
    }
}

/// Numbers of ids that occurred lately in a batch, which spares most look-ups their hash of the whole text.
#[derive(Debug)]
pub(crate) struct RecentIds<'a> {
    slots: [(&'a str, u32); 64],
}

impl<'a> RecentIds<'a> {
    pub(crate) fn new() -> Self {
        Self { slots: [("", 0); 64] }
    }

    #[inline]
    pub(crate) fn number(&mut self, id: &'a str, names: &mut Names) -> u32 {
        let slot = &mut self.slots[spread(id) % 64];
        if slot.0 != id || slot.1 == 0 {
            *slot = (id, names.number(id));
        }
        slot.1
    }
}

/// Mixes length and ends, where ids differ.
fn spread(id: &str) -> usize {
    let ends = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let mixed = ends(id.as_bytes().last_chunk()).wrapping_mul(0x9e37_79b1)
        ^ ends(id.as_bytes().first_chunk()).wrapping_mul(0x85eb_ca6b)
        ^ (id.len() as u32).wrapping_mul(0xc2b2_ae35);
    (mixed >> 16) as usize
}
