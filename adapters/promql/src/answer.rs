//! Answers to queries, as the HTTP API writes them.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, SerializeTuple, Serializer};

use crate::columns::{Column, Steps};
use crate::labels::Labels;

/// What a query gives. Times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// One number.
    Scalar(i64, f64),
    /// One text.
    Text(i64, String),
    /// One value for each series.
    Vector(i64, Vec<(Labels, f64)>),
    /// Many values for each series, which are sorted by their labels.
    Matrix(Vec<(Labels, Vec<(i64, f64)>)>),
}

impl Answer {
    pub(crate) fn vector(time_ms: i64, columns: Vec<Column>) -> Self {
        let value = |column: Column| Some((column.labels, column.values.first().copied().flatten()?));
        Self::Vector(time_ms, columns.into_iter().filter_map(value).collect())
    }

    pub(crate) fn matrix(steps: Steps, columns: Vec<Column>) -> Self {
        let samples = |values: Vec<Option<f64>>| {
            steps.times().zip(values).filter_map(|(time_ms, value)| Some((time_ms, value?))).collect::<Vec<_>>()
        };
        let series = columns.into_iter().map(|column| (column.labels, samples(column.values)));
        let mut series: Vec<_> = series.filter(|(_, samples)| !samples.is_empty()).collect();
        series.sort_by(|a, b| a.0.cmp(&b.0));
        Self::Matrix(series)
    }

    /// How many series it has; 0 for a number or a text.
    #[must_use]
    pub fn series(&self) -> usize {
        match self {
            Self::Scalar(..) | Self::Text(..) => 0,
            Self::Vector(_, series) => series.len(),
            Self::Matrix(series) => series.len(),
        }
    }
}

/// A value as Prometheus writes it: `+Inf`, `-Inf`, `NaN`, and the shortest digits that give the same number again.
#[must_use]
pub fn format_value(value: f64) -> String {
    let size = value.abs();
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value == 0.0 || value.is_nan() || (1e-6..1e21).contains(&size) {
        return value.to_string();
    }
    // Go writes at least two digits of an exponent, and its sign.
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// Seconds since the epoch, with milliseconds where there are any.
struct Time(i64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 1000 == 0 {
            serializer.serialize_i64(self.0 / 1000)
        } else {
            serializer.serialize_f64(self.0 as f64 / 1000.0)
        }
    }
}

/// `[1435781451.781, "1"]`
struct Sample(i64, f64);

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut pair = serializer.serialize_tuple(2)?;
        pair.serialize_element(&Time(self.0))?;
        pair.serialize_element(&format_value(self.1))?;
        pair.end()
    }
}

struct Samples<'a>(&'a [(i64, f64)]);

impl Serialize for Samples<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for &(time_ms, value) in self.0 {
            list.serialize_element(&Sample(time_ms, value))?;
        }
        list.end()
    }
}

#[derive(serde::Serialize)]
struct VectorElement<'a> {
    metric: &'a Labels,
    value: Sample,
}

#[derive(serde::Serialize)]
struct MatrixElement<'a> {
    metric: &'a Labels,
    values: Samples<'a>,
}

impl Serialize for Answer {
    /// `{"resultType": .., "result": ..}`
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        match self {
            Self::Scalar(time_ms, value) => {
                map.serialize_entry("resultType", "scalar")?;
                map.serialize_entry("result", &Sample(*time_ms, *value))?;
            }
            Self::Text(time_ms, text) => {
                map.serialize_entry("resultType", "string")?;
                map.serialize_entry("result", &(Time(*time_ms), text))?;
            }
            Self::Vector(time_ms, series) => {
                let element = |(metric, value)| VectorElement { metric, value: Sample(*time_ms, value) };
                let elements: Vec<_> = series.iter().map(|(metric, value)| element((metric, *value))).collect();
                map.serialize_entry("resultType", "vector")?;
                map.serialize_entry("result", &elements)?;
            }
            Self::Matrix(series) => {
                let element = |(metric, values)| MatrixElement { metric, values: Samples(values) };
                let elements: Vec<_> =
                    series.iter().map(|(metric, values)| element((metric, values.as_slice()))).collect();
                map.serialize_entry("resultType", "matrix")?;
                map.serialize_entry("result", &elements)?;
            }
        }
        map.end()
    }
}
