//! Rollups equal the same aggregates over raw rows, however these arrive.

use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use tollgate_rollups::{
    Aggregator, Limits, POLICY_TRAFFIC_COLUMNS, POLICY_TRAFFIC_SORT, TRAFFIC_COLUMNS, TRAFFIC_SORT, Table,
    merge_policy_traffic, merge_traffic,
};

use crate::model::{Request, batch, expected, found, has_one_row_for_each_key, request};

fn of(table: Table, batches: &[(Table, RecordBatch)]) -> Vec<RecordBatch> {
    batches.iter().filter(|(of, _)| *of == table).map(|(_, rows)| rows.clone()).collect()
}

fn merge(table: Table, batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    if table == Table::PolicyTraffic1m { merge_policy_traffic(batches) } else { merge_traffic(batches) }
}

fn is_sorted(table: Table, rows: &RecordBatch) -> bool {
    let names = if table == Table::PolicyTraffic1m { POLICY_TRAFFIC_SORT } else { TRAFFIC_SORT };
    let columns: Vec<_> = names.iter().map(|name| SortColumn { values: rows[*name].clone(), options: None }).collect();
    lexsort_to_indices(&columns, None).unwrap().values().is_sorted()
}

/// Requests, cut into batches.
fn batches() -> impl Strategy<Value = Vec<Vec<Request>>> {
    prop::collection::vec(prop::collection::vec(request(), 0..40), 0..12)
}

fn deltas(batches: &[Vec<Request>]) -> Vec<(Table, RecordBatch)> {
    let mut aggregator = Aggregator::new(Limits::default());
    batches.iter().for_each(|requests| aggregator.add(&batch(requests)).unwrap());
    aggregator.take().finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn deltas_and_snapshots_equal_the_aggregate_over_raw_rows(batches in batches(), cut in 0_usize..12) {
        let mut aggregator = Aggregator::new(Limits::default());
        let mut taken = Vec::new();
        for (index, requests) in batches.iter().enumerate() {
            aggregator.add(&batch(requests)).unwrap();
            let so_far = batches[..=index].concat();
            let mut all = taken.clone();
            all.extend(aggregator.snapshot().unwrap());
            for table in Table::ALL {
                prop_assert_eq!(found(table, &of(table, &all)), expected(table, &so_far), "{} in a snapshot", table.name());
            }
            if index == cut {
                taken = aggregator.take().finish().unwrap();
                for (table, rows) in &taken {
                    prop_assert!(is_sorted(*table, rows) && has_one_row_for_each_key(*table, rows), "{}", table.name());
                }
                prop_assert!(aggregator.snapshot().unwrap().is_empty());
            }
        }
        taken.extend(aggregator.take().finish().unwrap());
        let requests = batches.concat();
        for table in Table::ALL {
            prop_assert_eq!(found(table, &of(table, &taken)), expected(table, &requests), "{}", table.name());
        }
        let counted: i64 = requests.iter().map(|request| request.weight).sum();
        prop_assert_eq!(aggregator.status().requests, counted as u64);
    }

    #[test]
    fn order_and_split_make_no_difference(batches in batches(), seed in any::<u64>(), parts in 1_usize..9) {
        let mut shuffled = batches.concat();
        let length = shuffled.len();
        for at in (1..length).rev() {
            shuffled.swap(at, (seed.rotate_left(at as u32) % (at as u64 + 1)) as usize);
        }
        let split: Vec<Vec<Request>> = shuffled.chunks(length.div_ceil(parts).max(1)).map(<[_]>::to_vec).collect();
        let (one, other) = (deltas(&batches), deltas(&split));
        for table in Table::ALL {
            prop_assert_eq!(found(table, &of(table, &one)), found(table, &of(table, &other)), "{}", table.name());
        }
    }

    #[test]
    fn merging_is_exact_and_associative(batches in batches(), cut in 0_usize..12) {
        let parts: Vec<_> = batches.iter().map(|requests| deltas(std::slice::from_ref(requests))).collect();
        for table in Table::ALL {
            let parts: Vec<RecordBatch> = parts.iter().flat_map(|part| of(table, part)).collect();
            let at_once = merge(table, &parts).unwrap();
            let (left, right) = parts.split_at(cut.min(parts.len()));
            let in_two = [merge(table, left).unwrap(), merge(table, right).unwrap()];
            let in_steps = merge(table, &in_two).unwrap();
            prop_assert!(has_one_row_for_each_key(table, &at_once) && is_sorted(table, &at_once));
            prop_assert_eq!(found(table, std::slice::from_ref(&at_once)), expected(table, &batches.concat()));
            prop_assert_eq!(&at_once, &in_steps);
        }
    }
}

#[test]
fn a_batch_of_another_shape_is_refused_and_nothing_is_counted() {
    let mut aggregator = Aggregator::new(Limits::default());
    let rows = batch(&[Request { weight: 1, ..Request::default() }]);
    for column in ["time", "source", "status", "weight", "policies"] {
        let kept = (0..rows.num_columns()).filter(|at| rows.schema().field(*at).name() != column);
        let without = rows.project(&kept.collect::<Vec<_>>()).unwrap();
        let message = aggregator.add(&without).unwrap_err().to_string();
        assert!(message.contains(&format!("no column `{column}`")), "{message}");
    }
    assert!(aggregator.snapshot().unwrap().is_empty());
    let message = merge_traffic(std::slice::from_ref(&rows)).unwrap_err().to_string();
    assert!(message.contains("no column `status_class`"), "{message}");
}

#[test]
fn rows_of_the_first_version_merge_with_those_of_today() {
    let request = |status| Request {
        destination: "d".to_owned(),
        direction: "inbound",
        status: Some(status),
        weight: 1,
        ..Request::default()
    };
    let rows = of(Table::Traffic1h, &deltas(&[vec![request(200), request(404), request(503), request(500)]]));
    let names: Vec<String> = rows[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    let kept: Vec<_> = (0..names.len()).filter(|at| !["status", "is_mtls"].contains(&names[*at].as_str())).collect();
    let old = rows[0].project(&kept).unwrap();
    let merged = merge_traffic(&[old.clone(), old.clone()]).unwrap();
    let by_status = |rows: &RecordBatch| -> Vec<(String, String, String, i64)> {
        let found = found(Table::Traffic1h, std::slice::from_ref(rows));
        found.into_iter().map(|((_, key), n)| (key[5].clone(), key[6].clone(), key[8].clone(), n.values[0])).collect()
    };
    let row = |class: &str, status: &str, mtls: &str, n| (class.to_owned(), status.to_owned(), mtls.to_owned(), n);
    assert_eq!(by_status(&merged), [row("2xx", "", "", 2), row("4xx", "", "", 2), row("5xx", "", "", 4)]);
    let both = merge_traffic(&[merged, rows[0].clone()]).unwrap();
    assert!(is_sorted(Table::Traffic1h, &both));
    let expected = [
        row("2xx", "", "", 2),
        row("2xx", "200", "false", 1),
        row("4xx", "", "", 2),
        row("4xx", "404", "false", 1),
        row("5xx", "", "", 4),
        row("5xx", "500", "false", 1),
        row("5xx", "503", "false", 1),
    ];
    assert_eq!(by_status(&both), expected);
}

#[test]
fn slices_and_concatenations_count_the_same() {
    let requests: Vec<Request> = (0..100_i64)
        .map(|n| Request { time: n * 40_000, destination: format!("d-{}", n % 7), weight: 1, ..Request::default() })
        .collect();
    let rows = batch(&requests);
    let whole = concat_batches(&rows.schema(), [&rows.slice(0, 30), &rows.slice(30, 70)]).unwrap();
    let mut aggregator = Aggregator::new(Limits::default());
    aggregator.add(&rows.slice(10, 50)).unwrap();
    aggregator.add(&whole.slice(60, 40)).unwrap();
    aggregator.add(&whole.slice(0, 10)).unwrap();
    let deltas = aggregator.take().finish().unwrap();
    assert_eq!(found(Table::Traffic1s, &of(Table::Traffic1s, &deltas)), expected(Table::Traffic1s, &requests));
}

#[test]
fn every_column_is_documented() {
    for table in Table::ALL {
        let docs = if table == Table::PolicyTraffic1m { POLICY_TRAFFIC_COLUMNS } else { TRAFFIC_COLUMNS };
        let documented: Vec<&str> = docs.iter().map(|column| column.name).collect();
        let columns: Vec<String> = table.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(documented, columns);
        assert!(docs.iter().all(|column| column.doc.ends_with('.')));
    }
}
