//! Metrics: the engine's totals as cumulative sums and exponential histograms, by the service that they belong to.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, BooleanArray, Int16Array, RecordBatch, StringArray};
use arrow::datatypes::{Int16Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Metric, NumberDataPoint, Sum,
};
use tollgate_rollups::HistogramColumns;

use super::rows::{flag, integer, pair, text};
use super::spans::Service;
use super::time_nano;
use crate::prometheus::texts_of;

/// A key without requests for so long is left out until it has some again.
const IDLE_US: i64 = 15 * 60 * 1_000_000;
/// Most keys, those with the most requests.
const KEYS_MAX: usize = 10_000;
/// Keys of one message.
const KEYS_OF_MESSAGE: usize = 500;
/// The rollups' buckets grow by 2^(1/8) = 2^(2^-3).
const SCALE: i32 = 3;

/// Attributes of a point: the column of `traffic`, and its name.
const ATTRIBUTES: [(&str, &str); 7] = [
    ("direction", "tollgate.direction"),
    ("source", "tollgate.source"),
    ("destination", "tollgate.destination"),
    ("route", "http.route"),
    ("method", "http.request.method"),
    ("status_class", "tollgate.status_class"),
    ("decision", "tollgate.decision"),
];

/// When counting began, and now, in microseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) since_us: i64,
    pub(super) now_us: i64,
}

/// The metrics of each service, in portions, with the number of points in each.
pub(super) fn metrics(totals: &RecordBatch, span: Span) -> Result<Vec<(Service, Vec<Metric>, usize)>, ArrowError> {
    let columns = Columns::new(totals)?;
    let heard = totals["time"].as_primitive::<TimestampMicrosecondType>();
    let mut rows: Vec<usize> = (0..totals.num_rows()).filter(|row| span.now_us - heard.value(*row) < IDLE_US).collect();
    if rows.len() > KEYS_MAX {
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(columns.requests[*row]));
        rows.truncate(KEYS_MAX);
    }
    let mut by_service = BTreeMap::<Service, Vec<usize>>::new();
    for row in rows {
        by_service.entry(columns.service(row)).or_default().push(row);
    }
    let mut made = Vec::new();
    for (service, rows) in by_service {
        for rows in rows.chunks(KEYS_OF_MESSAGE) {
            let metrics = columns.metrics(rows, span)?;
            made.push((service.clone(), metrics, rows.len() * 4));
        }
    }
    Ok(made)
}

struct Columns<'a> {
    names: Vec<(&'static str, StringArray)>,
    statuses: &'a Int16Array,
    mtls: &'a BooleanArray,
    requests: &'a [i64],
    duration_us: &'a [i64],
    request_bytes: &'a [i64],
    response_bytes: &'a [i64],
    histograms: HistogramColumns<'a>,
}

impl<'a> Columns<'a> {
    fn new(totals: &'a RecordBatch) -> Result<Self, ArrowError> {
        let names = ATTRIBUTES.iter().map(|(column, name)| Ok((*name, texts_of(totals, column)?)));
        let column = |name: &str| {
            let missing = || ArrowError::SchemaError(format!("the column `{name}` is missing"));
            totals.column_by_name(name).ok_or_else(missing)
        };
        let wrong = |name: &str| ArrowError::SchemaError(format!("the column `{name}` is of another type"));
        let integers = |name: &str| {
            let integers = column(name)?.as_primitive_opt::<Int64Type>();
            integers.map(|column| &column.values()[..]).ok_or_else(|| wrong(name))
        };
        let histograms =
            HistogramColumns::try_new(column("duration_offset")?, column("duration_counts")?, column("duration_zero")?);
        Ok(Self {
            names: names.collect::<Result<_, ArrowError>>()?,
            statuses: column("status")?.as_primitive_opt::<Int16Type>().ok_or_else(|| wrong("status"))?,
            mtls: column("is_mtls")?.as_boolean_opt().ok_or_else(|| wrong("is_mtls"))?,
            requests: integers("requests")?,
            duration_us: integers("duration_sum_us")?,
            request_bytes: integers("request_bytes")?,
            response_bytes: integers("response_bytes")?,
            histograms: histograms.map_err(|error| ArrowError::ExternalError(Box::new(error)))?,
        })
    }

    fn name(&self, name: &str, row: usize) -> Option<&str> {
        let (_, texts) = self.names.iter().find(|(known, _)| *known == name)?;
        texts.is_valid(row).then(|| texts.value(row))
    }

    fn service(&self, row: usize) -> Service {
        let is_outbound = self.name("tollgate.direction", row) == Some("outbound");
        let service = self.name(if is_outbound { "tollgate.source" } else { "tollgate.destination" }, row);
        (service.unwrap_or("unknown").to_owned(), None)
    }

    fn metrics(&self, rows: &[usize], span: Span) -> Result<Vec<Metric>, ArrowError> {
        let sum = |name: &str, description: &str, unit: &str, values: &[i64]| {
            let points = rows.iter().map(|row| NumberDataPoint {
                attributes: self.attributes(*row),
                start_time_unix_nano: time_nano(span.since_us),
                time_unix_nano: time_nano(span.now_us),
                value: Some(Value::AsInt(values[*row])),
                ..NumberDataPoint::default()
            });
            let data = Data::Sum(Sum {
                data_points: points.collect(),
                aggregation_temporality: AggregationTemporality::Cumulative.into(),
                is_monotonic: true,
            });
            metric(name, description, unit, data)
        };
        let durations = rows.iter().map(|row| self.duration(*row, span)).collect::<Result<Vec<_>, _>>()?;
        let durations = Data::ExponentialHistogram(ExponentialHistogram {
            data_points: durations,
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
        });
        Ok(vec![
            sum("tollgate.requests", "Requests.", "{request}", self.requests),
            sum("tollgate.request.bytes", "Bytes of requests' bodies.", "By", self.request_bytes),
            sum("tollgate.response.bytes", "Bytes of responses' bodies.", "By", self.response_bytes),
            metric("tollgate.request.duration", "Duration of requests.", "us", durations),
        ])
    }

    fn duration(&self, row: usize, span: Span) -> Result<ExponentialHistogramDataPoint, ArrowError> {
        let view = self.histograms.get(row).map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
        let unsigned = |count: i64| u64::try_from(count).unwrap_or(0);
        let positive = view.map(|view| Buckets {
            offset: view.offset(),
            bucket_counts: view.counts().iter().copied().map(unsigned).collect(),
        });
        Ok(ExponentialHistogramDataPoint {
            attributes: self.attributes(row),
            start_time_unix_nano: time_nano(span.since_us),
            time_unix_nano: time_nano(span.now_us),
            // The histogram's own count: a receiver checks that buckets add up to it.
            count: view.map_or(0, |view| unsigned(view.count())),
            sum: Some(self.duration_us[row] as f64),
            scale: SCALE,
            zero_count: view.map_or(0, |view| unsigned(view.zero())),
            positive,
            ..ExponentialHistogramDataPoint::default()
        })
    }

    fn attributes(&self, row: usize) -> Vec<KeyValue> {
        let given = self.names.iter().filter(|(_, texts)| texts.is_valid(row));
        let mut attributes: Vec<_> = given.map(|(name, texts)| pair(name, text(texts.value(row)))).collect();
        if self.statuses.is_valid(row) {
            attributes.push(pair("http.response.status_code", integer(self.statuses.value(row).into())));
        }
        if self.mtls.is_valid(row) {
            attributes.push(pair("tollgate.is_mtls", flag(self.mtls.value(row))));
        }
        attributes
    }
}

fn metric(name: &str, description: &str, unit: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        description: description.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}
