//! What the store has to know about a table: its columns, how its files are split and sorted, and how long they are kept.

use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

/// One table of the store.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// Its name in SQL and in paths.
    pub name: &'static str,
    /// Its columns.
    pub schema: SchemaRef,
    /// The column of each row's time: microseconds since the epoch in UTC, never null.
    pub time: &'static str,
    /// The order of rows in a compacted file.
    pub sort: &'static [&'static str],
    /// Columns that are searched for single values: their files carry bloom filters.
    pub bloom: &'static [&'static str],
    /// How rows are split over directories.
    pub partition: Partition,
    /// Turns rows with the same key into one, when files are compacted. It gets rows sorted by [`sort`](Self::sort), all rows
    /// of one key in one call, and returns them sorted alike.
    pub merge: Option<Merge>,
    /// How long rows are kept.
    pub retention: Retention,
}

/// See [`TableSpec::merge`].
pub type Merge = fn(&[RecordBatch]) -> Result<RecordBatch, ArrowError>;

/// How long rows are kept. Whatever bound is reached first counts; files go as a whole, the oldest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// How long after its time a row is kept.
    pub age: Option<Duration>,
    /// Most bytes that the table's files may take.
    pub bytes: Option<u64>,
}

/// The span of time of one directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// `date=2026-03-01/hour=09`
    Hour,
    /// `date=2026-03-01`
    Day,
    /// `month=2026-03`
    Month,
}

/// Rows before the year 0 or after 9999 are counted to these, so that every time has a directory.
const YEARS: std::ops::RangeInclusive<i32> = 0..=9999;

impl Partition {
    /// Start of the partition that a time is in, in microseconds since the epoch.
    pub(crate) fn start_us(self, time_us: i64) -> i64 {
        let time = datetime(time_us);
        let (date, hour) = match self {
            Self::Hour => (time.date(), time.hour()),
            Self::Day => (time.date(), 0),
            Self::Month => (time.date().with_day(1).unwrap_or(time.date()), 0),
        };
        micros(date.and_time(NaiveTime::from_hms_opt(hour, 0, 0).unwrap_or_default()))
    }

    /// End of the partition that a time is in: the first microsecond of the next one.
    pub(crate) fn end_us(self, time_us: i64) -> i64 {
        let start_us = self.start_us(time_us);
        match self {
            Self::Hour => start_us + HOUR_US,
            Self::Day => start_us + 24 * HOUR_US,
            Self::Month => self.start_us(start_us + 32 * 24 * HOUR_US),
        }
    }

    /// The directory below the table's, without a slash at either end.
    pub(crate) fn directory(self, time_us: i64) -> String {
        let time = datetime(time_us);
        match self {
            Self::Hour => time.format("date=%Y-%m-%d/hour=%H").to_string(),
            Self::Day => time.format("date=%Y-%m-%d").to_string(),
            Self::Month => time.format("month=%Y-%m").to_string(),
        }
    }
}

const HOUR_US: i64 = 3_600_000_000;

fn datetime(time_us: i64) -> NaiveDateTime {
    let time = DateTime::from_timestamp_micros(time_us).map(|time| time.naive_utc());
    let (first, last) = (year(*YEARS.start()), year(*YEARS.end()));
    match time {
        Some(time) if YEARS.contains(&time.year()) => time,
        _ if time_us < 0 => first,
        _ => last,
    }
}

fn year(year: i32) -> NaiveDateTime {
    NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or_default().and_time(NaiveTime::default())
}

fn micros(time: NaiveDateTime) -> i64 {
    time.and_utc().timestamp_micros()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    #[test]
    fn a_time_is_in_the_directory_of_its_hour_day_and_month() {
        let time_us = at("2026-12-31T23:59:59.999999Z");
        assert_eq!(Partition::Hour.directory(time_us), "date=2026-12-31/hour=23");
        assert_eq!(Partition::Day.directory(time_us), "date=2026-12-31");
        assert_eq!(Partition::Month.directory(time_us), "month=2026-12");
        for partition in [Partition::Hour, Partition::Day, Partition::Month] {
            assert_eq!(partition.end_us(time_us), at("2027-01-01T00:00:00Z"));
        }
        assert_eq!(Partition::Month.start_us(time_us), at("2026-12-01T00:00:00Z"));
    }

    proptest! {
        #[test]
        fn every_time_has_a_directory(time_us in prop_oneof![any::<i64>(), -4_000_000_000_000_000..4_000_000_000_000_000_i64]) {
            for partition in [Partition::Hour, Partition::Day, Partition::Month] {
                let (start_us, end_us) = (partition.start_us(time_us), partition.end_us(time_us));
                prop_assert!(start_us < end_us);
                prop_assert_eq!(partition.directory(start_us), partition.directory(time_us));
                if (-60_000_000_000_000_000..250_000_000_000_000_000).contains(&time_us) {
                    prop_assert!(start_us <= time_us && time_us < end_us);
                    prop_assert_eq!(partition.directory(end_us - 1), partition.directory(time_us));
                }
            }
        }
    }
}
