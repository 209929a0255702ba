//! A request as JSON has it: a row of the table `requests`, or what somebody wrote to try something.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::context::rfc3339;

/// What is known of a request, under the names of the columns of `requests`. What is left out is unknown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestFacts {
    /// Calling service as `namespace/name`; empty for an anonymous caller.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Called service as `namespace/name`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub destination: String,
    /// HTTP method, in upper case.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// Path without the query string.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Host and port that was asked for.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Template of the route that matched.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub route: String,
    /// `http` or `https`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub scheme: String,
    /// `http/1.0`, `http/1.1`, `http/2` or `grpc`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// The `User-Agent` header.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// Address of the caller's end of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_address: Option<IpAddr>,
    /// End user.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Whether the caller proved its identity by mutual TLS.
    #[serde(deserialize_with = "or_default")]
    pub is_mtls: bool,
    /// Headers by lower-case name.
    #[serde(alias = "headers", deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Lists that it is on, by name.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeSet::is_empty")]
    pub lists: BTreeSet<String>,
    /// When: microseconds since the epoch, or a text such as `2026-01-02T03:04:05Z`. Now, where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// Size of the body, where it was announced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_bytes: Option<u64>,
    /// Signals by entity, such as `{"shop/search": {"p99_ms": 120}, "User::\"ann\"": {..}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signals: Option<BTreeMap<String, Map<String, Value>>>,
}

/// A moment, as Cedar reads it: `2026-01-02T03:04:05.678Z`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Time(String);

impl Time {
    /// A moment in microseconds since the epoch.
    #[must_use]
    pub fn from_us(time_us: i64) -> Self {
        Self(rfc3339(time_us))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads `2026-01-02`, `2026-01-02T03:04:05`, with fractions of any length and with or without `Z`.
    fn read(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_end_matches('Z').replace(' ', "T");
        let (date, time) = text.split_once('T').unwrap_or((&text, "00:00:00"));
        let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let is_shaped = |part: &str, separator, lengths: &[usize]| {
            let parts: Vec<_> = part.split(separator).collect();
            parts.len() == lengths.len()
                && parts.iter().zip(lengths).all(|(part, length)| part.len() == *length && is_digits(part))
        };
        if !is_shaped(date, '-', &[4, 2, 2]) || !is_shaped(time, ':', &[2, 2, 2]) || !is_digits(fraction) {
            return Err(format!("`{text}` is not a time: write `2026-01-02T03:04:05Z`"));
        }
        let ms: String = fraction.chars().chain("000".chars()).take(3).collect();
        Ok(Self(format!("{date}T{time}.{ms}Z")))
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(number) if number.is_i64() => Ok(Self::from_us(number.as_i64().unwrap_or_default())),
            Value::String(text) => Self::read(&text).map_err(serde::de::Error::custom),
            other => Err(serde::de::Error::custom(format!("`{other}` is not a time"))),
        }
    }
}

/// SQL says null where nothing is known.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_as_sql_writes_them() {
        let time = |text: &str| Time::read(text).map(|time| time.0);
        assert_eq!(time("2026-11-22T19:07:31.123456Z"), Ok("2026-11-22T19:07:31.123Z".to_owned()));
        assert_eq!(time("2026-11-22 19:07:31"), Ok("2026-11-22T19:07:31.000Z".to_owned()));
        assert_eq!(time("2026-11-22"), Ok("2026-11-22T00:00:00.000Z".to_owned()));
        assert!(time("yesterday").is_err());
        assert!(time("2026-1-22T00:00:00").is_err());
    }

    #[test]
    fn a_row_with_nulls_and_other_columns_is_read() {
        let row =
            r#"{"time": 0, "source": null, "destination": "a/b", "status": 200, "labels": null, "is_mtls": true}"#;
        let facts: RequestFacts = serde_json::from_str(row).unwrap();
        assert_eq!((facts.source.as_str(), facts.destination.as_str(), facts.is_mtls), ("", "a/b", true));
        assert_eq!(facts.time.unwrap().as_str(), "1970-01-01T00:00:00.000Z");
    }
}
