//! Durations and sizes as people write them: `250ms`, `7d`, `512MiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text that is no duration or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}: write a whole number with its unit, such as {example}")]
pub struct UnitError {
    text: String,
    what: &'static str,
    example: &'static str,
}

/// A duration with its unit: `us`, `ms`, `s`, `m`, `h` or `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurationText(pub Duration);

/// A number of bytes, with or without a unit: `B`, `KiB`, `MiB`, `GiB`, `kB`, `MB`, `GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const DURATIONS_US: &[(&str, u64)] =
    &[("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];
const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// The number before a unit times the unit's size.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, size) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*size)
}

/// The number in the largest unit that divides it.
fn write(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fitting = units.iter().filter(|(_, size)| value >= *size && value.is_multiple_of(*size));
    match fitting.max_by_key(|(_, size)| *size).or(units.first()) {
        Some((unit, size)) => write!(f, "{}{unit}", value / size),
        None => write!(f, "{value}"),
    }
}

impl FromStr for DurationText {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse(text.trim(), DURATIONS_US).map(|us| Self(Duration::from_micros(us))).ok_or_else(|| UnitError {
            text: text.to_owned(),
            what: "duration",
            example: "`250ms`, `10s` or `7d`",
        })
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bytes = text.trim().parse().ok().or_else(|| parse(text.trim(), SIZES));
        bytes.map(Self).ok_or_else(|| UnitError { text: text.to_owned(), what: "size", example: "`512MiB` or `2GB`" })
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX), DURATIONS_US)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, &SIZES[..4])
    }
}

macro_rules! serde_as_text {
    ($type:ident) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

serde_as_text!(DurationText);
serde_as_text!(ByteSize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_alike() {
        for (text, us) in [("250ms", 250_000), ("10s", 10_000_000), ("7d", 604_800_000_000), ("90s", 90_000_000)] {
            let duration: DurationText = text.parse().unwrap();
            assert_eq!(duration.0.as_micros(), us);
            assert_eq!(duration.to_string(), text);
        }
        assert_eq!("120s".parse::<DurationText>().unwrap().to_string(), "2m");
    }

    #[test]
    fn sizes_read_with_and_without_unit() {
        for (text, bytes) in [("512MiB", 512 << 20), ("1024", 1024), ("2GB", 2_000_000_000), ("0", 0)] {
            assert_eq!(text.parse::<ByteSize>().unwrap(), ByteSize(bytes));
        }
        assert_eq!(ByteSize(512 << 20).to_string(), "512MiB");
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["", "10", "s", "1.5s", "-1s", "10 parsecs", "99999999999999999999d"] {
            assert!(text.parse::<DurationText>().is_err(), "{text}");
        }
        let error = "ten".parse::<ByteSize>().unwrap_err().to_string();
        assert_eq!(error, "`ten` is no size: write a whole number with its unit, such as `512MiB` or `2GB`");
    }
}
