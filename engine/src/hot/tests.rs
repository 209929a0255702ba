use tollgate_attributes::{BatchBuilder, BatchLimits, Row};

use super::*;

fn rows(time_us: i64, count: usize, source: &str) -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX });
    for index in 0..count {
        let row = Row { time: time_us + index as i64, reporter: "r", source, weight: 1, ..Row::default() };
        let _ = builder.push(&row);
    }
    builder.finish().unwrap()
}

fn store(bytes_max: usize) -> HotStore {
    let retention = Duration::from_secs(1);
    HotStore::new(HotLimits { bytes_max, retention }, Arc::new(Metrics::default()))
}

fn count(store: &HotStore) -> usize {
    store.list().iter().map(|batch| batch.rows.num_rows()).sum()
}

#[test]
fn drops_oldest_when_full() {
    let size = HotBatch::new(rows(0, 10, "a")).bytes;
    let store = store(size * 3 + size / 2);
    for batch in 0..10 {
        store.append(rows(batch, 10, "a"));
    }
    assert_eq!(count(&store), 30);
    assert_eq!(store.list()[0].time_min_us, 7);
}

#[test]
fn a_batch_larger_than_the_bound_stays_until_the_next() {
    let store = store(1);
    store.append(rows(1, 10, "a"));
    assert_eq!(count(&store), 10);
    store.append(rows(2, 5, "a"));
    assert_eq!(count(&store), 5);
}

#[test]
fn drops_what_is_older_than_the_retention() {
    let store = store(usize::MAX);
    for second in 0..4 {
        store.append(rows(second * 1_000_000, 10, "a"));
    }
    store.expire(3_500_000);
    assert_eq!(count(&store), 10);
    assert_eq!(store.list()[0].time_min_us, 3_000_000);
}

#[test]
fn puts_small_batches_together_and_keeps_every_row_in_order() {
    let store = store(usize::MAX);
    let sources = ["shop/a", "shop/b", ""];
    for batch in 0..100_i64 {
        store.append(rows(batch * 100, 3, sources[batch as usize % 3]));
    }
    let before = store.list();
    let merged = store.coalesce();
    assert_eq!(merged, 100);
    let after = store.list();
    assert_eq!(after.len(), 1);
    let schema = tollgate_attributes::schema();
    let expected = arrow::compute::concat_batches(&schema, before.iter().map(|batch| &batch.rows)).unwrap();
    let shown = |batch: &RecordBatch| {
        arrow::util::pretty::pretty_format_batches(std::slice::from_ref(batch)).unwrap().to_string()
    };
    assert_eq!(shown(&after[0].rows), shown(&expected));
    assert_eq!((after[0].time_min_us, after[0].time_max_us), (0, 9_902));

    let source = after[0].rows.column_by_name("source").unwrap().as_dictionary::<arrow::datatypes::Int32Type>();
    assert_eq!(source.values().len(), 2, "a name is in the dictionary once");
}

#[test]
fn leaves_large_batches_and_short_runs_alone() {
    let store = store(usize::MAX);
    store.append(rows(0, 9_000, "a"));
    for batch in 0..5 {
        store.append(rows(batch, 10, "a"));
    }
    store.append(rows(0, 9_000, "a"));
    assert_eq!(store.coalesce(), 0);
    assert_eq!(store.list().len(), 7);
}

#[test]
fn what_was_dropped_while_being_merged_stays_dropped() {
    let store = store(usize::MAX);
    for batch in 0..20 {
        store.append(rows(batch, 10, "a"));
    }
    let run: HotList = store.list().iter().cloned().collect();
    store.expire(i64::MAX);
    assert!(!store.replace(&run, Arc::new(HotBatch::new(rows(0, 200, "a")))));
    assert_eq!(count(&store), 0);
}
