//! Trace ids beside the buckets of histograms: for each series and bucket the newest request that was seen there.
//!
//! Of every batch a few requests are looked at: the slowest, and some at even distances. Bound: [`EXEMPLARS_MAX`], those seen
//! last; one is shown for [`SHOWN_US`].

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock, Weak};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use parking_lot::Mutex;
use tollgate_engine::{Engine, Tap};
use tollgate_promql::Labels;
use tollgate_rollups::{Histogram, LE_BOUNDS_MS};

use super::counters::KEYS;
use super::naming::Naming;
use super::rows;

const EXEMPLARS_MAX: usize = 10_000;
const SHOWN_US: i64 = 5 * 60 * 1_000_000;
/// Requests of a batch that are looked at.
const SAMPLES: usize = 16;

/// The newest requests, by what tells series apart, and by bucket.
#[derive(Debug, Default)]
pub(crate) struct Exemplars(Mutex<HashMap<(Vec<String>, usize), Exemplar>>);

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exemplar {
    trace_id: [u8; 16],
    pub(crate) duration_us: i64,
    pub(crate) time_us: i64,
}

impl Exemplar {
    pub(crate) fn trace_id(&self) -> String {
        self.trace_id.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl Exemplars {
    /// Those of an engine, which are collected once somebody has asked for them, as long as the cell lives.
    pub(crate) fn of(engine: &Engine, cell: &Arc<OnceLock<Arc<Self>>>) -> Arc<Self> {
        let collect = || {
            let exemplars = Arc::<Self>::default();
            tokio::spawn(Self::collect(Arc::downgrade(&exemplars), engine.tap()));
            exemplars
        };
        Arc::clone(cell.get_or_init(collect))
    }

    async fn collect(exemplars: Weak<Self>, mut tap: Tap) {
        while let Some(batch) = tap.recv().await {
            let Some(exemplars) = exemplars.upgrade() else { return };
            exemplars.add(&batch);
        }
    }

    /// By the labels of a naming and the bucket.
    pub(crate) fn by_series(&self, naming: Naming, now_us: i64) -> HashMap<(Labels, usize), Exemplar> {
        let mut found = HashMap::<(Labels, usize), Exemplar>::new();
        for ((names, bucket), exemplar) in self.0.lock().iter() {
            if now_us - exemplar.time_us > SHOWN_US {
                continue;
            }
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let newest = found.entry((naming.labels("", &KEYS, &names), *bucket)).or_insert_with(|| exemplar.clone());
            if newest.time_us < exemplar.time_us {
                *newest = exemplar.clone();
            }
        }
        found
    }

    fn add(&self, batch: &RecordBatch) {
        let column = |name: &str| batch.column_by_name(name);
        let (Some(traces), Some(durations), Some(times)) = (
            column("trace_id").and_then(|column| column.as_fixed_size_binary_opt()),
            column("duration_us").and_then(|column| column.as_primitive_opt::<Int64Type>()),
            column("time").and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>()),
        ) else {
            return;
        };
        let slowest = durations.values().iter().enumerate().max_by_key(|(_, duration)| **duration).map(|(row, _)| row);
        let step = (batch.num_rows() / SAMPLES).max(1);
        let picked = slowest.into_iter().chain((0..batch.num_rows()).step_by(step));
        for row in picked.filter(|row| traces.is_valid(*row)) {
            let Ok(trace_id) = <[u8; 16]>::try_from(traces.value(row)) else { continue };
            let names = KEYS.iter().map(|key| rows::name_at(batch, *key, row)).collect();
            let duration_us = durations.value(row).max(0);
            let exemplar = Exemplar { trace_id, duration_us, time_us: times.value(row) };
            self.put((names, bucket(duration_us)), exemplar);
        }
    }

    fn put(&self, key: (Vec<String>, usize), exemplar: Exemplar) {
        let mut all = self.0.lock();
        if all.len() >= EXEMPLARS_MAX && !all.contains_key(&key) {
            let oldest = all.values().map(|exemplar| exemplar.time_us).min().unwrap_or_default();
            let newest = all.values().map(|exemplar| exemplar.time_us).max().unwrap_or_default();
            // Half of the time that is covered makes room at once, so that this is rare.
            let middle = oldest + (newest - oldest) / 2;
            all.retain(|_, exemplar| exemplar.time_us > middle);
        }
        if all.len() < EXEMPLARS_MAX || all.contains_key(&key) {
            all.insert(key, exemplar);
        }
    }
}

/// The place of the bucket that counts such a duration, as the rollups do it.
fn bucket(duration_us: i64) -> usize {
    let mut histogram = Histogram::default();
    histogram.record(duration_us, 1);
    histogram.view().le_counts().iter().position(|count| *count > 0).unwrap_or(LE_BOUNDS_MS.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_attributes::{BatchBuilder, BatchLimits, Row};

    fn batch(rows: &[(i64, i64, u8)]) -> RecordBatch {
        let mut builder = BatchBuilder::new(BatchLimits::default());
        for (time, duration_us, trace) in rows {
            let row = Row {
                time: *time,
                duration_us: *duration_us,
                destination: "shop/catalog",
                trace_id: (*trace > 0).then_some([*trace; 16]),
                status: Some(503),
                ..Row::default()
            };
            let _ = builder.push(&row);
        }
        builder.finish().unwrap()
    }

    #[test]
    fn the_newest_of_each_bucket_is_shown_for_a_while() {
        let exemplars = Exemplars::default();
        exemplars.add(&batch(&[(10, 700, 1), (20, 800, 2), (30, 90_000, 3), (40, 90_000, 0)]));
        let found = exemplars.by_series(Naming::Istio, 100);
        let of = |found: &HashMap<(Labels, usize), Exemplar>, bucket| {
            let mut of = found.iter().filter(|((_, at), _)| *at == bucket);
            of.next()
                .map(|((labels, _), exemplar)| (labels.get("destination_workload").to_owned(), exemplar.trace_id()))
        };
        assert_eq!(of(&found, 1), Some(("catalog".to_owned(), "02".repeat(16))), "up to 1 ms");
        assert_eq!(of(&found, 6), Some(("catalog".to_owned(), "03".repeat(16))), "up to 100 ms");
        assert_eq!(found.len(), 2);
        assert!(exemplars.by_series(Naming::Own, SHOWN_US + 50).is_empty());
    }

    #[test]
    fn there_are_never_too_many() {
        let exemplars = Exemplars::default();
        for n in 0..30_000_i64 {
            let key = (vec![n.to_string()], 0);
            exemplars.put(key, Exemplar { trace_id: [1; 16], duration_us: 1, time_us: n });
            assert!(exemplars.0.lock().len() <= EXEMPLARS_MAX);
        }
        assert!(exemplars.0.lock().contains_key(&(vec!["29999".to_owned()], 0)));
    }
}
