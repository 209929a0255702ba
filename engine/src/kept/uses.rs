//! How often requests named each policy: counted as rows come, and after a restart from the rollups that were kept.

use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use datafusion::dataframe::DataFrame;
use datafusion::error::Result;
use datafusion::execution::context::SessionState;
use parking_lot::Mutex;
use tollgate_rollups::{OTHER_NAME, PolicyUse, PolicyUses, Table};
use tollgate_store::View;

use super::tables::index;
use crate::clock::WallTime;
use crate::sql::at_once;

/// Everything that was kept of policies before.
const KEPT: &str = "SELECT CAST(policy AS VARCHAR), effect = 'shadow', CAST(sum(requests) AS BIGINT), max(last_time) \
                    FROM policy_traffic_1m WHERE policy IS NOT NULL GROUP BY 1, 2";

/// Counts by policy, and since when.
///
/// They live in memory. The minutes' rollups say the same of the time that they are kept, `retention.traffic_1m`, so that a restart
/// begins with what they hold; requests whose policy they gave up, because there were too many, are then missing.
#[derive(Default)]
pub(crate) struct CountedUses(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    uses: PolicyUses,
    since: Option<WallTime>,
}

impl CountedUses {
    pub(super) fn add(&self, rows: &RecordBatch) {
        if let Err(error) = self.0.lock().uses.add(rows) {
            tracing::error!(%error, rows = rows.num_rows(), "policies could not be counted");
        }
    }

    /// What is known of these policies, and since when it is counted.
    pub(crate) fn of<'a>(&self, policies: impl Iterator<Item = &'a str>) -> (Vec<Option<PolicyUse>>, Option<WallTime>) {
        let counted = self.0.lock();
        (policies.map(|policy| counted.uses.of(policy)).collect(), counted.since)
    }

    /// Begins to count at this view, which is that of the session now, and gives the work of adding what is kept in it.
    pub(crate) fn begin(self: &Arc<Self>, view: &View, state: SessionState) -> impl Future<Output = ()> + Send + use<> {
        // What was counted while the log was read again is in the view.
        *self.0.lock() = Counted { uses: PolicyUses::default(), since: Some(WallTime::now()) };
        let (kept_since, state, counted) = (earliest_us(view), at_once(state), Arc::clone(self));
        async move {
            match kept(state).await {
                Ok(batches) => counted.absorb(&batches, kept_since),
                Err(error) => tracing::warn!(%error, "how often policies were used is counted from now on only"),
            }
        }
    }

    fn absorb(&self, batches: &[RecordBatch], kept_since: Option<WallTime>) {
        let mut counted = self.0.lock();
        for batch in batches {
            let policies = batch.column(0).as_string::<i32>();
            let (is_shadow, requests) = (batch.column(1).as_boolean(), batch.column(2).as_primitive::<Int64Type>());
            let last = batch.column(3).as_primitive::<TimestampMicrosecondType>();
            for row in (0..batch.num_rows()).filter(|row| policies.value(*row) != OTHER_NAME) {
                let requests = u64::try_from(requests.value(row)).unwrap_or(0);
                counted.uses.absorb(policies.value(row), is_shadow.value(row), requests, last.value(row));
            }
        }
        counted.since = counted.since.into_iter().chain(kept_since).min_by_key(|time| time.us);
    }
}

async fn kept(state: SessionState) -> Result<Vec<RecordBatch>> {
    let plan = state.create_logical_plan(KEPT).await?;
    let batches = DataFrame::new(state, plan).collect().await?;
    let texts = |batch: RecordBatch| {
        let mut columns = batch.columns().to_vec();
        if let Some(first) = columns.first_mut() {
            *first = arrow::compute::cast(first, &DataType::Utf8)?;
        }
        Ok(RecordBatch::try_from_iter(["policy", "shadow", "requests", "last"].into_iter().zip(columns))?)
    };
    batches.into_iter().map(texts).collect()
}

/// The start of the first minute of which anything is kept.
fn earliest_us(view: &View) -> Option<WallTime> {
    let tables = [Table::PolicyTraffic1m, Table::Traffic1m].map(|table| view.tables.get(index(table)));
    let tables = tables.iter().flatten();
    let times = tables.flat_map(|table| {
        let files = table.files.iter().map(|file| file.time_min_us);
        files.chain(table.hot.iter().map(|batch| batch.time_min_us))
    });
    times.min().map(|us| WallTime { us })
}
