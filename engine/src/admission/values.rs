//! Checks the values of a batch, column by column.

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, StringArray};
use arrow::compute::{max, min};
use arrow::datatypes::{ArrowNumericType, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use tollgate_attributes::{ATTRIBUTES, Decision, Direction, Kind, Priority, UnknownValue};

use super::{Arrival, Refusal};

const SECOND_US: i64 = 1_000_000;
/// A reporter that was cut off sends what it kept, but nothing from before yesterday.
pub(super) const AGE_US_MAX: i64 = 24 * 60 * 60 * SECOND_US;
/// Clocks differ, but not by more than this.
const AHEAD_US_MAX: i64 = 5 * 60 * SECOND_US;
/// Longer than any request, and small enough that the sum over any batch fits into 64 bits.
const DURATION_US_MAX: i64 = 366 * 24 * 60 * 60 * SECOND_US;
const BYTES_MAX: i64 = 1 << 46;
const WEIGHT_MAX: i64 = 1 << 30;
/// Reporters cut texts at 2,048 bytes; others get some room.
const TEXT_BYTES_MAX: i32 = 8_192;

/// Least and greatest value of the numeric columns that have no limit of another kind.
const RANGES: &[(&str, i64, i64)] = &[
    ("status", 0, 999),
    ("grpc_status", 0, 999),
    ("duration_us", 0, DURATION_US_MAX),
    ("upstream_us", 0, DURATION_US_MAX),
    ("queued_us", 0, DURATION_US_MAX),
    ("request_bytes", 0, BYTES_MAX),
    ("response_bytes", 0, BYTES_MAX),
    ("attempts", 0, i16::MAX as i64),
    ("snapshot", 0, i64::MAX),
    ("weight", 1, WEIGHT_MAX),
];

/// Refuses a batch in which a value cannot be.
pub(super) fn check(batch: &RecordBatch, arrival: Arrival<'_>) -> Result<(), Refusal> {
    check_time(batch, arrival)?;
    for &(name, least, greatest) in RANGES {
        check_range(name, column(batch, name)?, least, greatest)?;
    }
    check_words(batch, "direction", |word| word.parse::<Direction>().map(drop))?;
    check_words(batch, "decision", |word| word.parse::<Decision>().map(drop))?;
    check_words(batch, "priority", |word| word.parse::<Priority>().map(drop))?;
    check_reporter(batch, arrival.reporter)?;
    ATTRIBUTES.iter().zip(batch.columns()).try_for_each(|(attribute, array)| match attribute.kind {
        Kind::Name => check_texts(attribute.name, names(array)?.values().as_string()),
        Kind::Text => check_texts(attribute.name, array.as_string()),
        Kind::Ids => check_texts(attribute.name, array.as_list::<i32>().values().as_string()),
        Kind::Labels => {
            let entries = array.as_map().entries();
            entries.columns().iter().try_for_each(|texts| check_texts(attribute.name, texts.as_string()))
        }
        _ => Ok(()),
    })
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, Refusal> {
    batch.column_by_name(name).ok_or_else(|| Refusal::schema(format!("the column `{name}` is missing")))
}

fn names(array: &ArrayRef) -> Result<&DictionaryArray<Int32Type>, Refusal> {
    array.as_dictionary_opt().ok_or_else(|| Refusal::schema("a column of names is not a dictionary"))
}

fn check_time(batch: &RecordBatch, arrival: Arrival<'_>) -> Result<(), Refusal> {
    let Arrival { now_us, age_us_max, .. } = arrival;
    let (earliest, latest) = bounds::<TimestampMicrosecondType>(column(batch, "time")?);
    if earliest < now_us - age_us_max {
        let (seconds, most) = (now_us.saturating_sub(earliest) / SECOND_US, age_us_max / SECOND_US);
        return Err(Refusal::value(format!(
            "`time` of a row lies {seconds} s in the past: at most {most} s are taken"
        )));
    }
    if latest > now_us + AHEAD_US_MAX {
        let seconds = latest.saturating_sub(now_us) / SECOND_US;
        return Err(Refusal::value(format!(
            "`time` of a row lies {seconds} s in the future, at most 5 min are taken: compare the clocks"
        )));
    }
    Ok(())
}

fn check_range(name: &str, array: &ArrayRef, least: i64, greatest: i64) -> Result<(), Refusal> {
    let (found_least, found_greatest) = match array.as_primitive_opt::<Int16Type>() {
        Some(codes) if codes.null_count() == codes.len() => return Ok(()),
        Some(_) => bounds::<Int16Type>(array),
        None if array.null_count() == array.len() => return Ok(()),
        None => bounds::<Int64Type>(array),
    };
    let offending = if found_least < least { found_least } else { found_greatest };
    if (least..=greatest).contains(&offending) {
        return Ok(());
    }
    Err(Refusal::value(format!("`{name}` is {offending}: {least} to {greatest} are possible")))
}

/// Least and greatest value; the caller has excluded an array without values.
fn bounds<T: ArrowNumericType>(array: &ArrayRef) -> (i64, i64)
where
    T::Native: Into<i64>,
{
    let array = array.as_primitive::<T>();
    (min(array).map_or(0, Into::into), max(array).map_or(0, Into::into))
}

fn check_words(batch: &RecordBatch, name: &str, parse: fn(&str) -> Result<(), UnknownValue>) -> Result<(), Refusal> {
    let words = names(column(batch, name)?)?.values().as_string::<i32>();
    words.iter().flatten().try_for_each(|word| {
        parse(word).map_err(|error| Refusal::value(format!("`{name}`: {}", shorten(&error.to_string()))))
    })
}

fn check_reporter(batch: &RecordBatch, reporter: &str) -> Result<(), Refusal> {
    let array = names(column(batch, "reporter")?)?;
    if array.null_count() > 0 {
        return Err(Refusal::value("`reporter` of a row is null: leave the column out, or name the stream's reporter"));
    }
    let mut names = array.values().as_string::<i32>().iter();
    match names.find(|name| *name != Some(reporter)) {
        None => Ok(()),
        Some(other) => Err(Refusal::value(format!(
            "`reporter` is `{}` on the stream of `{reporter}`",
            shorten(other.unwrap_or_default())
        ))),
    }
}

fn check_texts(name: &str, texts: &StringArray) -> Result<(), Refusal> {
    let longest = texts.value_offsets().windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
    if longest <= TEXT_BYTES_MAX {
        return Ok(());
    }
    Err(Refusal::value(format!("a text of `{name}` has {longest} bytes: at most {TEXT_BYTES_MAX} are taken")))
}

/// What came from outside is not repeated at any length.
fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}
