//! The columns of `requests` that rollups read, and the keys that follow from them.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Int16Array};
use arrow::datatypes::{Int16Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;

use crate::error::RollupError;
use crate::key::{DECISION, DESTINATION, DIRECTION, Holds, METHOD, MTLS, Place, ROUTE, SOURCE, STATUS, WORDS_MAX};
use crate::names::{ABSENT, Names};
use crate::policy::PolicyIds;
use crate::status::{code, code_of_flag};

/// Names of a key's words: effects first, so that their numbers are known.
pub(crate) fn words() -> Names {
    let mut words = Names::new(WORDS_MAX, usize::MAX);
    for word in ["decided", "shadow"] {
        words.number(word);
    }
    words
}

/// Numbers of the words that [`words`] begins with.
pub(crate) const DECIDED: u32 = 2;
pub(crate) const SHADOW: u32 = 3;

/// Places in a key of `traffic` that are filled from columns of names.
const NAMED: [(&str, Place); 6] = [
    ("direction", DIRECTION),
    ("source", SOURCE),
    ("destination", DESTINATION),
    ("route", ROUTE),
    ("method", METHOD),
    ("decision", DECISION),
];

/// Borrowed columns of one batch, all equally long.
#[derive(Debug)]
pub(crate) struct RequestRows<'a> {
    pub(crate) times: &'a [i64],
    pub(crate) weights: &'a [i64],
    pub(crate) durations: &'a [i64],
    pub(crate) request_bytes: &'a [i64],
    pub(crate) response_bytes: &'a [i64],
    pub(crate) policies: PolicyIds<'a>,
    pub(crate) shadow: PolicyIds<'a>,
    statuses: &'a Int16Array,
    mtls: &'a BooleanArray,
    named: Vec<(&'a DictionaryArray<Int32Type>, Place)>,
}

impl<'a> RequestRows<'a> {
    pub(crate) fn try_new(rows: &'a RecordBatch) -> Result<Self, RollupError> {
        let statuses = column(rows, "status")?.as_primitive_opt::<Int16Type>();
        let mtls = column(rows, "is_mtls")?.as_boolean_opt();
        let named = NAMED.iter().map(|(name, place)| Ok((names(rows, name)?, *place)));
        Ok(Self {
            times: times(rows)?,
            weights: integers(rows, "weight")?,
            durations: integers(rows, "duration_us")?,
            request_bytes: integers(rows, "request_bytes")?,
            response_bytes: integers(rows, "response_bytes")?,
            policies: PolicyIds::try_new(rows, "policies")?,
            shadow: PolicyIds::try_new(rows, "shadow")?,
            statuses: statuses.ok_or(RollupError::Column { column: "status", expected: "16-bit integer" })?,
            mtls: mtls.ok_or(RollupError::Column { column: "is_mtls", expected: "boolean" })?,
            named: named.collect::<Result<_, RollupError>>()?,
        })
    }

    /// The key of each row.
    pub(crate) fn keys(&self, keys: &mut Vec<u128>, names: &mut Names, words: &mut Names) {
        keys.clear();
        let codes = self.statuses.iter().zip(self.mtls);
        keys.extend(codes.map(|(status, mtls)| STATUS.put(code(status)) | MTLS.put(code_of_flag(mtls))));
        for (column, place) in &self.named {
            mark(column, *place, keys, if place.holds() == Holds::Words { words } else { names });
        }
    }
}

/// Whether the requests of a key failed: 5xx, or no status.
#[inline]
pub(crate) fn is_error(key: u128) -> bool {
    crate::status::is_error(STATUS.get(key))
}

/// Stretches of rows in the same interval of this length, with its start.
pub(crate) fn runs(times: &[i64], length_us: i64) -> impl Iterator<Item = (i64, Range<usize>)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let first = *times.get(from)?;
        let start = first.saturating_sub(first.rem_euclid(length_us));
        let end = start.saturating_add(length_us);
        let rest = times.get(from + 1..).unwrap_or_default();
        let more = rest.iter().take_while(|time| (start..end).contains(time)).count();
        let run = from..from + 1 + more;
        from = run.end;
        Some((start, run))
    })
}

/// Writes the numbers of a column's names into the keys of its rows. Only names that occur are given numbers.
pub(crate) fn mark(column: &DictionaryArray<Int32Type>, place: Place, keys: &mut [u128], names: &mut Names) {
    const UNKNOWN: u128 = u128::MAX;
    let Some(texts) = column.values().as_string_opt::<i32>() else { return };
    let mut parts = vec![UNKNOWN; texts.len()];
    let mut part = |code: i32| {
        let Some(part) = parts.get_mut(code as usize) else { return 0 };
        if *part == UNKNOWN {
            let text = texts.is_valid(code as usize).then(|| texts.value(code as usize));
            *part = place.put(text.map_or(ABSENT, |text| names.number(text)));
        }
        *part
    };
    let codes = column.keys().values();
    match column.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => keys.iter_mut().zip(codes).for_each(|(key, code)| *key |= part(*code)),
        Some(nulls) => {
            for ((key, code), is_valid) in keys.iter_mut().zip(codes).zip(nulls) {
                *key |= if is_valid { part(*code) } else { 0 };
            }
        }
    }
}

pub(crate) fn column<'a>(rows: &'a RecordBatch, name: &'static str) -> Result<&'a ArrayRef, RollupError> {
    rows.column_by_name(name).ok_or(RollupError::Column { column: name, expected: "any" })
}

pub(crate) fn integers<'a>(rows: &'a RecordBatch, name: &'static str) -> Result<&'a [i64], RollupError> {
    let array = column(rows, name)?.as_primitive_opt::<Int64Type>();
    Ok(array.ok_or(RollupError::Column { column: name, expected: "64-bit integer" })?.values())
}

pub(crate) fn times(rows: &RecordBatch) -> Result<&[i64], RollupError> {
    let array = column(rows, "time")?.as_primitive_opt::<TimestampMicrosecondType>();
    Ok(array.ok_or(RollupError::Column { column: "time", expected: "timestamp in microseconds" })?.values())
}

pub(crate) fn names<'a>(
    rows: &'a RecordBatch,
    name: &'static str,
) -> Result<&'a DictionaryArray<Int32Type>, RollupError> {
    let array = column(rows, name)?.as_dictionary_opt::<Int32Type>();
    let array = array.filter(|array| array.values().as_string_opt::<i32>().is_some());
    array.ok_or(RollupError::Column { column: name, expected: "dictionary of 32-bit codes and texts" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_the_numbers_that_are_relied_on() {
        let words = words();
        assert_eq!([DECIDED, SHADOW].map(|number| words.text(number)), ["decided", "shadow"]);
    }

    #[test]
    fn runs_are_cut_where_the_interval_changes() {
        let found: Vec<_> = runs(&[5, 9, 10, 3, 4, -1, -10, -11], 10).collect();
        assert_eq!(found, [(0, 0..2), (10, 2..3), (0, 3..5), (-10, 5..7), (-20, 7..8)]);
        assert_eq!(runs(&[], 10).count(), 0);
    }
}
