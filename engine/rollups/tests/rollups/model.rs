//! Requests, and what rollups of them must be: maps that are filled row by row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use tollgate_attributes::{BatchBuilder, BatchLimits, Row};
use tollgate_rollups::{Histogram, HistogramColumns, Table};

/// One request, with words for its small sets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) time: i64,
    pub(crate) direction: &'static str,
    pub(crate) source: String,
    pub(crate) destination: String,
    pub(crate) route: String,
    pub(crate) method: &'static str,
    pub(crate) status: Option<i16>,
    pub(crate) is_mtls: bool,
    pub(crate) decision: &'static str,
    pub(crate) duration_us: i64,
    pub(crate) request_bytes: i64,
    pub(crate) response_bytes: i64,
    pub(crate) weight: i64,
    pub(crate) policies: Vec<Arc<str>>,
    pub(crate) shadow: Vec<Arc<str>>,
    pub(crate) trace_id: Option<[u8; 16]>,
}

pub(crate) fn batch(requests: &[Request]) -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX });
    for request in requests {
        let _ = builder.push(&Row {
            time: request.time,
            direction: request.direction,
            source: &request.source,
            destination: &request.destination,
            route: &request.route,
            method: request.method,
            status: request.status,
            is_mtls: request.is_mtls,
            decision: request.decision,
            duration_us: request.duration_us,
            request_bytes: request.request_bytes,
            response_bytes: request.response_bytes,
            weight: request.weight,
            policies: &request.policies,
            shadow: &request.shadow,
            trace_id: request.trace_id,
            ..Row::default()
        });
    }
    builder.finish().unwrap()
}

/// Any request of a few services in about two hours.
pub(crate) fn request() -> impl Strategy<Value = Request> {
    let name = |prefix: &'static str, n: u8| {
        (0..n).prop_map(move |i| if i == 0 { String::new() } else { format!("{prefix}-{i}") })
    };
    let words = (
        prop::sample::select(vec!["inbound", "outbound", "gateway", ""]),
        prop::sample::select(vec!["GET", "POST", ""]),
        prop::sample::select(vec!["allow", "deny", "limit", "shed", ""]),
        prop::option::of(prop::sample::select(vec![0_i16, 99, 100, 101, 200, 204, 304, 404, 500, 503, 599, 600, 999])),
        any::<bool>(),
    );
    let names = (name("s", 4), name("d", 4), name("r", 5));
    let ids = || prop::collection::vec((1..4_u8).prop_map(|i| Arc::from(format!("policy-{i}"))), 0..3);
    // Mostly near one time, sometimes late by up to two hours, before the epoch too.
    let time = prop_oneof![8 => 0_i64..3_000_000, 2 => -7_200_000_000_i64..0];
    let duration = (0_i64..1 << 44, 0_u32..44).prop_map(|(value, shift)| value >> shift);
    let numbers = (duration, 0_i64..10_000, 0_i64..1 << 40, prop_oneof![4 => Just(1_i64), 1 => 0_i64..1_000]);
    (words, names, ids(), ids(), time, numbers).prop_map(|(words, names, policies, shadow, time, numbers)| Request {
        time,
        direction: words.0,
        source: names.0,
        destination: names.1,
        route: names.2,
        method: words.1,
        status: words.3,
        is_mtls: words.4,
        decision: words.2,
        duration_us: numbers.0,
        request_bytes: numbers.1,
        response_bytes: numbers.2,
        weight: numbers.3,
        policies,
        shadow,
        trace_id: None,
    })
}

/// Start of the interval and the texts of the keys, nulls as "", in the order of the table's columns.
pub(crate) type Key = (i64, Vec<String>);

/// Sums, least and greatest duration, histogram; of policies the number and the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) values: Vec<i64>,
    pub(crate) histogram: Histogram,
}

pub(crate) type Rollup = BTreeMap<Key, Numbers>;

/// What a table must hold after these requests.
pub(crate) fn expected(table: Table, requests: &[Request]) -> Rollup {
    let mut rollup = Rollup::new();
    for request in requests.iter().filter(|request| request.weight > 0) {
        let time = request.time.div_euclid(table.interval_us()) * table.interval_us();
        if table == Table::PolicyTraffic1m {
            for (effect, ids) in [("decided", &request.policies), ("shadow", &request.shadow)] {
                for id in ids {
                    let key = [&request.destination, &request.source, &**id, effect, request.decision];
                    let numbers =
                        Numbers { values: vec![request.weight, request.time], histogram: Histogram::default() };
                    add(table, &mut rollup, (time, key.map(str::to_owned).to_vec()), numbers);
                }
            }
            continue;
        }
        let status = request.status.filter(|status| (100..600).contains(status));
        let class = status.map(|status| format!("{}xx", status / 100));
        let is_error = class.as_ref().is_none_or(|class| class == "5xx");
        let class = class.unwrap_or_default();
        let key = [
            request.direction,
            &request.source,
            &request.destination,
            &request.route,
            request.method,
            &class,
            &status.map(|status| status.to_string()).unwrap_or_default(),
            request.decision,
            &request.is_mtls.to_string(),
        ];
        let weight = request.weight;
        let mut histogram = Histogram::default();
        histogram.record(request.duration_us, weight);
        let values = vec![
            weight,
            request.request_bytes * weight,
            request.response_bytes * weight,
            if is_error { weight } else { 0 },
            request.duration_us * weight,
            request.duration_us,
            request.duration_us,
        ];
        add(table, &mut rollup, (time, key.map(str::to_owned).to_vec()), Numbers { values, histogram });
    }
    rollup
}

/// What batches of a table hold, as a reader would sum them up.
pub(crate) fn found(table: Table, batches: &[RecordBatch]) -> Rollup {
    let mut rollup = Rollup::new();
    for rows in batches {
        assert_eq!(rows.schema(), table.schema());
        let is_key = |column: &&ArrayRef| {
            column.as_any_dictionary_opt().is_some()
                || matches!(column.data_type(), DataType::Int16 | DataType::Boolean)
        };
        let texts: Vec<&ArrayRef> = rows.columns().iter().filter(is_key).collect();
        let histograms = HistogramColumns::try_new;
        let histograms = rows
            .column_by_name("duration_offset")
            .map(|offsets| histograms(offsets, &rows["duration_counts"], &rows["duration_zero"]).unwrap());
        for row in 0..rows.num_rows() {
            let time = rows["time"].as_primitive::<TimestampMicrosecondType>().value(row);
            let key = texts.iter().map(|column| text(column, row)).collect();
            let values = match table {
                Table::PolicyTraffic1m => vec![
                    rows["requests"].as_primitive::<Int64Type>().value(row),
                    rows["last_time"].as_primitive::<TimestampMicrosecondType>().value(row),
                ],
                _ => {
                    rows.columns()[10..17].iter().map(|column| column.as_primitive::<Int64Type>().value(row)).collect()
                }
            };
            let histogram = histograms.as_ref().map(|all| all.get(row).unwrap().unwrap().into()).unwrap_or_default();
            add(table, &mut rollup, (time, key), Numbers { values, histogram });
        }
    }
    rollup
}

/// Rows of one batch may repeat a key only before they are merged.
pub(crate) fn has_one_row_for_each_key(table: Table, rows: &RecordBatch) -> bool {
    found(table, std::slice::from_ref(rows)).len() == rows.num_rows()
}

fn text(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return String::new();
    }
    match column.data_type() {
        DataType::Int16 => return column.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Boolean => return column.as_boolean().value(row).to_string(),
        _ => {}
    }
    let column = column.as_dictionary::<Int32Type>();
    column.values().as_string::<i32>().value(column.keys().value(row) as usize).to_owned()
}

fn add(table: Table, rollup: &mut Rollup, key: Key, numbers: Numbers) {
    let Some(sum) = rollup.get_mut(&key) else {
        rollup.insert(key, numbers);
        return;
    };
    let policy: &[fn(i64, i64) -> i64] = &[|a, b| a + b, i64::max];
    let plus = |a, b| a + b;
    let traffic: &[fn(i64, i64) -> i64] = &[plus, plus, plus, plus, plus, i64::min, i64::max];
    let how = if table == Table::PolicyTraffic1m { policy } else { traffic };
    for ((sum, value), how) in sum.values.iter_mut().zip(&numbers.values).zip(how) {
        *sum = how(*sum, *value);
    }
    sum.histogram.absorb(numbers.histogram.view());
}
