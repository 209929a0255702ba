//! Thins out raw rows once they are counted. Off unless there are rules.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use arrow::array::{
    Array, AsArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Int16Array, Int64Array, StringArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int16Type, Int32Type};
use arrow::record_batch::RecordBatch;

use crate::error::RollupError;
use crate::rows::{column, integers, names, times};

/// What is kept of the rows of one destination.
///
/// Whatever was refused or failed (5xx, or no status) is always kept, and what took longer than `slow_us`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplingRule {
    /// Of the other rows, one of this many.
    pub keep_one_in: NonZeroU32,
    /// Rows with a longer duration are kept.
    pub slow_us: Option<i64>,
}

/// Keeps some rows, with a weight that says how many each stands for, so that weighted sums stay unbiased.
///
/// A row with a trace id is kept or not by that id alone: rows of one trace are kept together, here and in every other
/// engine, and what is kept at one in 100 is also kept at one in 10. Whoever makes the trace ids can therefore choose what
/// is kept of his unsuspicious requests; rollups count them all. Without a trace id, request id and the row's values
/// decide, so that the same batch always gives the same rows.
#[derive(Debug, Clone, Default)]
pub struct Sampler {
    rules: HashMap<String, SamplingRule>,
    otherwise: Option<SamplingRule>,
}

impl Sampler {
    /// Rules by destination; `otherwise` is for all destinations without one. The last of several rules for one
    /// destination counts.
    pub fn new(rules: impl IntoIterator<Item = (String, SamplingRule)>, otherwise: Option<SamplingRule>) -> Self {
        Self { rules: rules.into_iter().collect(), otherwise }
    }

    /// Whether every row is kept, because there are no rules.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.rules.is_empty() && self.otherwise.is_none()
    }

    /// The rows of a batch of `requests` that are kept.
    ///
    /// # Errors
    /// When a column is missing or of another type.
    pub fn sample(&self, rows: &RecordBatch) -> Result<RecordBatch, RollupError> {
        if self.is_off() {
            return Ok(rows.clone());
        }
        let columns = Columns::try_new(rows)?;
        let rules = self.rules_by_code(columns.destinations);
        let factors: Vec<u32> =
            (0..rows.num_rows()).map(|row| columns.factor(row, self.rule(&rules, &columns, row))).collect();
        if factors.iter().all(|factor| *factor == 1) {
            return Ok(rows.clone());
        }
        let weights = factors.iter().zip(columns.weights);
        let weights: Int64Array = weights.map(|(factor, weight)| weight.saturating_mul(i64::from(*factor))).collect();
        let mut arrays = rows.columns().to_vec();
        if let Ok(at) = rows.schema_ref().index_of("weight") {
            arrays[at] = Arc::new(weights);
        }
        let kept: BooleanArray = factors.iter().map(|factor| Some(*factor > 0)).collect();
        Ok(filter_record_batch(&RecordBatch::try_new(rows.schema(), arrays)?, &kept)?)
    }

    fn rules_by_code(&self, destinations: &DictionaryArray<Int32Type>) -> Vec<Option<SamplingRule>> {
        let names = destinations.values().as_string_opt::<i32>().into_iter().flatten();
        names.map(|name| name.and_then(|name| self.rules.get(name)).copied().or(self.otherwise)).collect()
    }

    fn rule(&self, by_code: &[Option<SamplingRule>], columns: &Columns<'_>, row: usize) -> Option<SamplingRule> {
        if columns.destinations.is_null(row) {
            return self.otherwise;
        }
        by_code.get(columns.destinations.keys().value(row) as usize).copied().flatten()
    }
}

/// The columns that decide.
struct Columns<'a> {
    times: &'a [i64],
    weights: &'a [i64],
    durations: &'a [i64],
    response_bytes: &'a [i64],
    statuses: &'a Int16Array,
    destinations: &'a DictionaryArray<Int32Type>,
    decisions: &'a DictionaryArray<Int32Type>,
    /// By code of `decisions`.
    is_allow: Vec<bool>,
    trace_ids: &'a FixedSizeBinaryArray,
    request_ids: &'a StringArray,
}

impl<'a> Columns<'a> {
    fn try_new(rows: &'a RecordBatch) -> Result<Self, RollupError> {
        let missing = |column, expected| RollupError::Column { column, expected };
        let statuses = column(rows, "status")?.as_primitive_opt::<Int16Type>();
        let trace_ids = column(rows, "trace_id")?.as_fixed_size_binary_opt();
        let request_ids = column(rows, "request_id")?.as_string_opt::<i32>();
        let decisions = names(rows, "decision")?;
        let words = decisions.values().as_string_opt::<i32>().into_iter().flatten();
        Ok(Self {
            times: times(rows)?,
            weights: integers(rows, "weight")?,
            durations: integers(rows, "duration_us")?,
            response_bytes: integers(rows, "response_bytes")?,
            statuses: statuses.ok_or_else(|| missing("status", "16-bit integer"))?,
            destinations: names(rows, "destination")?,
            decisions,
            is_allow: words.map(|word| word == Some("allow")).collect(),
            trace_ids: trace_ids.ok_or_else(|| missing("trace_id", "16 bytes"))?,
            request_ids: request_ids.ok_or_else(|| missing("request_id", "text"))?,
        })
    }

    /// How many rows this one stands for: 0 when it is not kept.
    fn factor(&self, row: usize, rule: Option<SamplingRule>) -> u32 {
        let Some(rule) = rule else { return 1 };
        if self.is_always_kept(row, rule) {
            return 1;
        }
        // Hashes below 2^64 / n are one in n of all, and those of a greater n are among those of a smaller one.
        let n = rule.keep_one_in.get();
        if self.hash(row) <= u64::MAX / u64::from(n) { n } else { 0 }
    }

    fn is_always_kept(&self, row: usize, rule: SamplingRule) -> bool {
        // No decision is allowing: whoever reports without policies refuses nothing.
        let is_refused = self.decisions.is_valid(row)
            && self.is_allow.get(self.decisions.keys().value(row) as usize).is_some_and(|is_allow| !is_allow);
        let is_failed = self.statuses.is_null(row) || !(100..500).contains(&self.statuses.value(row));
        is_refused || is_failed || rule.slow_us.is_some_and(|slow_us| self.durations[row] > slow_us)
    }

    fn hash(&self, row: usize) -> u64 {
        if self.trace_ids.is_valid(row) {
            return mix(self.trace_ids.value(row));
        }
        let id = if self.request_ids.is_valid(row) {
            mix(self.request_ids.value(row).as_bytes())
        } else {
            finish(row as u64)
        };
        let values = [self.times[row], self.durations[row], self.response_bytes[row]];
        values.into_iter().fold(id, |hash, value| finish(hash ^ value as u64))
    }
}

/// A hash that never changes: the same rows are kept by every version and every engine.
fn mix(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(bytes.len() as u64, |hash, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        finish(hash ^ u64::from_le_bytes(word))
    })
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn finish(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
