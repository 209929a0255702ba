//! What happens when there are more keys than there is room for.

use arrow::record_batch::RecordBatch;
use tollgate_rollups::{Aggregator, Limits, OTHER_NAME, Table};

use crate::model::{Request, Rollup, batch, expected, found};

/// Requests of many callers to many routes within three seconds.
fn requests() -> Vec<Request> {
    (0..5_000_i64)
        .map(|n| Request {
            time: n * 600,
            source: format!("s-{}", n % 31),
            destination: format!("d-{}", n % 11),
            route: format!("r-{}", n % 97),
            status: Some(if n % 10 == 0 { 503 } else { 200 }),
            decision: "allow",
            method: "GET",
            direction: "inbound",
            duration_us: n,
            request_bytes: 10,
            response_bytes: n,
            weight: 1 + n % 3,
            policies: vec![format!("policy-{}", n % 13).into()],
            ..Request::default()
        })
        .collect()
}

/// Sums over all keys, names forgotten but for the words.
fn totals(table: Table, rollup: &Rollup) -> Rollup {
    let mut totals = Rollup::new();
    for ((time, key), numbers) in rollup {
        let words = if table == Table::PolicyTraffic1m { vec![3, 4] } else { vec![0, 5, 7] };
        let key = words.into_iter().map(|at| key[at].clone()).collect();
        let total = totals.entry((*time, key)).or_insert_with(|| numbers.clone());
        if total != numbers {
            let add = |at: usize| total.values[at] + numbers.values[at];
            let mut values: Vec<i64> = (0..numbers.values.len()).map(add).collect();
            let maximum = values.len() - 1;
            values[maximum] = total.values[maximum].max(numbers.values[maximum]);
            if table != Table::PolicyTraffic1m {
                values[5] = total.values[5].min(numbers.values[5]);
            }
            total.values = values;
            total.histogram.absorb(numbers.histogram.view());
        }
    }
    totals
}

fn check(limits: Limits) -> (Aggregator, Vec<(Table, RecordBatch)>) {
    let requests = requests();
    let mut aggregator = Aggregator::new(limits);
    requests.chunks(700).for_each(|part| aggregator.add(&batch(part)).unwrap());
    let snapshot = aggregator.snapshot().unwrap();
    let deltas = aggregator.take().finish().unwrap();
    for table in Table::ALL {
        let of = |batches: &[(Table, RecordBatch)]| {
            batches.iter().filter(|(of, _)| *of == table).map(|(_, rows)| rows.clone()).collect::<Vec<_>>()
        };
        let expected = totals(table, &expected(table, &requests));
        assert_eq!(totals(table, &found(table, &of(&deltas))), expected, "{}", table.name());
        assert_eq!(totals(table, &found(table, &of(&snapshot))), expected, "{}", table.name());
    }
    (aggregator, deltas)
}

fn rows(deltas: &[(Table, RecordBatch)], table: Table) -> usize {
    deltas.iter().filter(|(of, _)| *of == table).map(|(_, rows)| rows.num_rows()).sum()
}

#[test]
fn totals_stay_exact_and_keys_within_their_bound() {
    let (aggregator, deltas) = check(Limits { keys_max: 100, ..Limits::default() });
    // Two status classes keep their rows without names.
    assert!(rows(&deltas, Table::Traffic1s) <= 3 * 102 && rows(&deltas, Table::Traffic1m) <= 102);
    assert!(rows(&deltas, Table::PolicyTraffic1m) <= 101);
    let folded = aggregator.status().folded;
    assert!(folded.iter().all(|folded| folded.first + folded.second + folded.all > 0), "{folded:?}");
    let total: u64 = requests().iter().map(|request| request.weight as u64).sum();
    assert!(folded.iter().all(|folded| folded.first + folded.second + folded.all < total), "{folded:?}");
}

#[test]
fn all_intervals_together_are_bounded() {
    let (_, deltas) = check(Limits { cells_max: 50, ..Limits::default() });
    assert!(rows(&deltas, Table::Traffic1s) <= 50 + 3 * 2);
    let (_, deltas) = check(Limits { keys_max: 0, cells_max: 0, ..Limits::default() });
    assert_eq!((rows(&deltas, Table::Traffic1s), rows(&deltas, Table::Traffic1h)), (6, 2));
}

#[test]
fn names_beyond_the_bound_are_other() {
    let (aggregator, deltas) = check(Limits { names_max: 20, ..Limits::default() });
    assert!(aggregator.status().names_refused > 0);
    let traffic = deltas.iter().filter(|(of, _)| *of == Table::Traffic1s).map(|(_, rows)| rows.clone());
    let keys = found(Table::Traffic1s, &traffic.collect::<Vec<_>>());
    assert!(keys.keys().any(|(_, key)| key[3] == OTHER_NAME));
}

#[test]
fn nothing_is_folded_below_the_bounds() {
    let (aggregator, _) = check(Limits::default());
    let status = aggregator.status();
    assert_eq!((status.folded, status.names_refused), (Default::default(), 0));
    assert_eq!(status.cells, 0, "all was taken");
}
