//! From rows of `requests` to what is asked of policies.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, MapArray, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion::common::internal_datafusion_err;
use datafusion::error::Result;
use tollgate_attributes::Reason;
use tollgate_policies::tools::{Columns, RequestFacts, Time};

use super::{LABELS, REASON, TIME};

/// Requests whose times are in one second are taken to have come at its beginning, as a replay does.
const TIME_STEP_US: i64 = 1_000_000;

/// The columns of a batch that a set of policies reads.
pub(super) struct Rows {
    texts: Vec<(&'static str, StringArray)>,
    is_mtls: Option<BooleanArray>,
    time: Option<TimestampMicrosecondArray>,
    /// Values of each header that policies read.
    headers: Vec<(String, StringArray)>,
}

impl Rows {
    pub(super) fn new(batch: &RecordBatch, columns: &Columns) -> Result<Self> {
        let column = |name: &str| {
            let missing = || internal_datafusion_err!("requests without `{name}`");
            batch.column_by_name(name).ok_or_else(missing)
        };
        let mut texts = Vec::new();
        let mut is_mtls = None;
        for name in columns.columns.iter().copied().filter(|name| !matches!(*name, "decision" | REASON)).chain([REASON])
        {
            match name {
                "is_mtls" => is_mtls = Some(cast(column(name)?, &DataType::Boolean)?.as_boolean().clone()),
                name => texts.push((name, cast(column(name)?, &DataType::Utf8)?.as_string().clone())),
            }
        }
        let time = if columns.time {
            let of_type = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            Some(cast(column(TIME)?, &of_type)?.as_primitive().clone())
        } else {
            None
        };
        let mut headers = Vec::new();
        if !columns.headers.is_empty() {
            let labels = column(LABELS)?;
            let labels = labels.as_map_opt().ok_or_else(|| internal_datafusion_err!("`labels` is no map"))?;
            for name in &columns.headers {
                headers.push((name.clone(), header(labels, name)?));
            }
        }
        Ok(Self { texts, is_mtls, time, headers })
    }

    /// What tells requests apart, as columns.
    pub(super) fn keys(&self) -> Vec<ArrayRef> {
        let texts = self.texts.iter().map(|(_, values)| values).chain(self.headers.iter().map(|(_, values)| values));
        let mut keys: Vec<ArrayRef> = texts.map(|values| Arc::new(values.clone()) as ArrayRef).collect();
        keys.extend(self.is_mtls.iter().map(|values| Arc::new(values.clone()) as ArrayRef));
        let step = |time: i64| time - time.rem_euclid(TIME_STEP_US);
        let steps = self.time.iter().map(|times| times.unary::<_, Int64Type>(step));
        keys.extend(steps.map(|steps| Arc::new(steps) as ArrayRef));
        keys
    }

    /// The request of one row. `None` for one that no policy was asked about: it was malformed, or names no service.
    pub(super) fn facts(&self, row: usize) -> Option<RequestFacts> {
        let mut facts = RequestFacts::default();
        for (name, values) in &self.texts {
            let value = if values.is_valid(row) { values.value(row) } else { "" };
            let slot = match *name {
                "source" => &mut facts.source,
                "destination" => &mut facts.destination,
                "method" => &mut facts.method,
                "path" => &mut facts.path,
                "host" => &mut facts.host,
                "route" => &mut facts.route,
                "scheme" => &mut facts.scheme,
                "protocol" => &mut facts.protocol,
                "user_agent" => &mut facts.user_agent,
                "user" => &mut facts.user,
                "source_address" => {
                    facts.source_address = value.parse().ok();
                    continue;
                }
                REASON if is_before_policies(value) => return None,
                _ => continue,
            };
            value.clone_into(slot);
        }
        if facts.destination.is_empty() {
            return None;
        }
        facts.is_mtls = self.is_mtls.as_ref().is_some_and(|values| values.is_valid(row) && values.value(row));
        let time = self.time.as_ref().map(|times| times.value(row));
        facts.time = time.map(|time| Time::from_us(time - time.rem_euclid(TIME_STEP_US)));
        let held = self.headers.iter().filter(|(_, values)| values.is_valid(row));
        facts.labels =
            held.map(|(name, values)| (name.clone(), values.value(row).to_owned())).collect::<BTreeMap<_, _>>();
        Some(facts)
    }
}

/// Whether a request was refused before any policy was asked.
fn is_before_policies(reason: &str) -> bool {
    [Reason::BadRequest, Reason::UnknownService, Reason::NoSnapshot].iter().any(|before| before.as_str() == reason)
}

fn header(labels: &MapArray, name: &str) -> Result<StringArray> {
    let keys = cast(labels.keys(), &DataType::Utf8)?;
    let values = cast(labels.values(), &DataType::Utf8)?;
    let (keys, values) = (keys.as_string::<i32>(), values.as_string::<i32>());
    let offsets = labels.value_offsets();
    let of_row = |row: usize| {
        if labels.is_null(row) {
            return None;
        }
        let mut entries = offsets[row] as usize..offsets[row + 1] as usize;
        entries.find(|at| keys.value(*at) == name && values.is_valid(*at)).map(|at| values.value(at))
    };
    Ok((0..labels.len()).map(of_row).collect())
}
