//! The rollup tables: names, schemas, order of rows, and what each column means.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::histogram::counts_type;

/// A rollup table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `traffic_1s`
    Traffic1s,
    /// `traffic_1m`
    Traffic1m,
    /// `traffic_1h`
    Traffic1h,
    /// `policy_traffic_1m`
    PolicyTraffic1m,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 4] = [Self::Traffic1s, Self::Traffic1m, Self::Traffic1h, Self::PolicyTraffic1m];

    /// Name in SQL and in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traffic1s => "traffic_1s",
            Self::Traffic1m => "traffic_1m",
            Self::Traffic1h => "traffic_1h",
            Self::PolicyTraffic1m => "policy_traffic_1m",
        }
    }

    /// Length of its intervals.
    #[must_use]
    pub const fn interval_us(self) -> i64 {
        match self {
            Self::Traffic1s => 1_000_000,
            Self::Traffic1m | Self::PolicyTraffic1m => 60_000_000,
            Self::Traffic1h => 3_600_000_000,
        }
    }

    /// Schema of its rows.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        match self {
            Self::PolicyTraffic1m => policy_traffic_schema(),
            _ => traffic_schema(),
        }
    }

    /// Start of the interval that a time belongs to.
    pub(crate) fn start_us(self, time_us: i64) -> i64 {
        time_us.saturating_sub(time_us.rem_euclid(self.interval_us()))
    }
}

/// A column, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnDoc {
    /// Its name.
    pub name: &'static str,
    /// One line.
    pub doc: &'static str,
}

macro_rules! columns {
    ($($name:literal: $doc:literal),* $(,)?) => { &[$(ColumnDoc { name: $name, doc: $doc }),*] };
}

/// Columns of `traffic_1s`, `traffic_1m` and `traffic_1h`, in the order of [`traffic_schema`].
pub const TRAFFIC_COLUMNS: &[ColumnDoc] = columns! {
    "time": "Start of the interval, UTC; a request counts in the interval in which it began.",
    "direction": "`inbound`, `outbound` or `gateway`: on which side of the call the reporter stood.",
    "source": "The calling service; null when it is anonymous, `(other)` when there were too many keys.",
    "destination": "The called service; `(other)` when there were too many keys.",
    "route": "Template of the route that matched; `(other)` when there were too many keys.",
    "method": "HTTP method; `(other)` when there were too many keys.",
    "status_class": "`1xx` to `5xx`; null when the connection broke before a status, or it was none from 100 to 599.",
    "status": "Exact status; null where there is no class, there were too many keys, or the row is from before it was kept.",
    "decision": "`allow`, `deny`, `limit` (over a rate) or `shed` (no capacity).",
    "is_mtls": "Whether callers proved their identity by mutual TLS; null when there were too many keys, or from before it was kept.",
    "requests": "Number of requests; sampled rows count as many as they stand for.",
    "request_bytes": "Bytes of all requests' bodies.",
    "response_bytes": "Bytes of all responses' bodies.",
    "errors": "Requests answered with 5xx, or with no status at all.",
    "duration_sum_us": "Sum of all durations in microseconds.",
    "duration_min_us": "Shortest duration in microseconds.",
    "duration_max_us": "Longest duration in microseconds.",
    "duration_offset": "Number of the first bucket in `duration_counts`; bucket i holds durations in (2^(i/8), 2^((i+1)/8)] us.",
    "duration_counts": "Requests in each bucket of the duration's exponential histogram, from `duration_offset` on.",
    "duration_zero": "Requests with a duration of zero, which have no bucket.",
};

/// Columns of `policy_traffic_1m`, in the order of [`policy_traffic_schema`].
pub const POLICY_TRAFFIC_COLUMNS: &[ColumnDoc] = columns! {
    "time": "Start of the minute, UTC; a request counts in the minute in which it began.",
    "destination": "The called service; `(other)` when there were too many keys.",
    "source": "The calling service; null when it is anonymous, `(other)` when there were too many keys.",
    "policy": "Id of the policy; a request counts once for each policy that it names. `(other)` when there were too many keys.",
    "effect": "`decided`: the policy decided; `shadow`: in shadow mode, it would have denied or limited.",
    "decision": "What happened to the requests: `allow`, `deny`, `limit` or `shed`.",
    "requests": "Number of requests; sampled rows count as many as they stand for.",
    "last_time": "When the last of them began, UTC.",
};

/// Order of rows in deltas and merged batches of the `traffic` tables, nulls first.
pub const TRAFFIC_SORT: &[&str] =
    &["time", "destination", "source", "route", "method", "direction", "status_class", "status", "decision", "is_mtls"];

/// Order of rows in deltas and merged batches of `policy_traffic_1m`, nulls first.
pub const POLICY_TRAFFIC_SORT: &[&str] = &["time", "destination", "source", "policy", "effect", "decision"];

static TRAFFIC: LazyLock<SchemaRef> = LazyLock::new(|| schema(TRAFFIC_COLUMNS));
static POLICY_TRAFFIC: LazyLock<SchemaRef> = LazyLock::new(|| schema(POLICY_TRAFFIC_COLUMNS));

/// Schema of `traffic_1s`, `traffic_1m` and `traffic_1h`.
#[must_use]
pub fn traffic_schema() -> SchemaRef {
    Arc::clone(&TRAFFIC)
}

/// Schema of `policy_traffic_1m`.
#[must_use]
pub fn policy_traffic_schema() -> SchemaRef {
    Arc::clone(&POLICY_TRAFFIC)
}

fn schema(columns: &[ColumnDoc]) -> SchemaRef {
    let field = |column: &ColumnDoc| match column.name {
        "time" | "last_time" => {
            Field::new(column.name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false)
        }
        "status" => Field::new(column.name, DataType::Int16, true),
        "is_mtls" => Field::new(column.name, DataType::Boolean, true),
        "duration_offset" => Field::new(column.name, DataType::Int32, false),
        "duration_counts" => Field::new(column.name, counts_type(), false),
        "requests" | "request_bytes" | "response_bytes" | "errors" | "duration_sum_us" | "duration_min_us"
        | "duration_max_us" | "duration_zero" => Field::new(column.name, DataType::Int64, false),
        name => Field::new_dictionary(name, DataType::Int32, DataType::Utf8, true),
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}
