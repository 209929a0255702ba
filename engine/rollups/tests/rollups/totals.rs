//! Totals are the sum of everything, and never fall.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tollgate_rollups::{Aggregator, Limits, Table, merge_traffic};

use crate::model::{Request, Rollup, batch, expected, found, request};

/// Everything at one time.
fn timeless(rollup: &Rollup) -> Rollup {
    let mut sum = Rollup::new();
    for ((_, key), numbers) in rollup {
        let Some(total) = sum.get_mut(&(0, key.clone())) else {
            sum.insert((0, key.clone()), numbers.clone());
            continue;
        };
        // Shortest and longest of durations are no sums.
        let values = total.values.iter().zip(&numbers.values).enumerate();
        let values = values.map(|(at, (left, right))| match at {
            5 => *left.min(right),
            6 => *left.max(right),
            _ => left + right,
        });
        total.values = values.collect();
        total.histogram.absorb(numbers.histogram.view());
    }
    sum
}

/// Requests by key.
fn requests_by_key(aggregator: &mut Aggregator) -> BTreeMap<Vec<String>, i64> {
    let rows = aggregator.totals()().unwrap();
    found(Table::Traffic1h, &[rows]).into_iter().map(|((_, key), numbers)| (key, numbers.values[0])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn totals_are_the_sum_of_all_whatever_is_taken(
        batches in prop::collection::vec((prop::collection::vec(request(), 0..40), any::<bool>()), 0..12),
    ) {
        let mut aggregator = Aggregator::new(Limits::default());
        let mut so_far = Vec::new();
        let mut deltas = Vec::new();
        for (requests, is_cut) in &batches {
            aggregator.add(&batch(requests)).unwrap();
            so_far.extend(requests.iter().cloned());
            let totals = found(Table::Traffic1h, &[aggregator.totals()().unwrap()]);
            prop_assert_eq!(timeless(&totals), timeless(&once(&so_far)));
            if *is_cut {
                deltas.extend(aggregator.take().finish().unwrap());
            }
        }
        // Being asked for totals changes nothing else.
        deltas.extend(aggregator.take().finish().unwrap());
        for table in [Table::Traffic1s, Table::Traffic1m, Table::Traffic1h] {
            let rows: Vec<_> = deltas.iter().filter(|(of, _)| *of == table).map(|(_, rows)| rows.clone()).collect();
            let merged = merge_traffic(&rows).unwrap();
            prop_assert_eq!(found(table, &[merged]), expected(table, &so_far));
        }
    }
}

/// The hours' rollup, for keys alone.
fn once(requests: &[Request]) -> Rollup {
    expected(Table::Traffic1h, requests)
}

#[test]
fn no_total_falls_however_tight_the_bounds_are() {
    let limits = Limits { keys_max: 40, cells_max: 200, names_max: 60, ..Limits::default() };
    let mut aggregator = Aggregator::new(limits);
    let mut before = BTreeMap::new();
    let mut sent = 0;
    for round in 0..60_i64 {
        let request = |n: i64| Request {
            time: round * 700_000 + n * 10_000,
            source: format!("s-{}", (round + n) % 23),
            destination: format!("d-{}", n % 7),
            route: format!("r-{}", (round * 3 + n) % 41),
            status: Some(200),
            decision: "allow",
            method: "GET",
            direction: "inbound",
            weight: 2,
            ..Request::default()
        };
        aggregator.add(&batch(&(0..50).map(request).collect::<Vec<_>>())).unwrap();
        sent += 100;
        if round % 7 == 3 {
            drop(aggregator.take());
        }
        let now = requests_by_key(&mut aggregator);
        assert_eq!(now.values().sum::<i64>(), sent, "every request is in some total");
        for (key, requests) in &before {
            assert!(now.get(key).is_some_and(|now| now >= requests), "{key:?} fell from {requests}");
        }
        before = now;
    }
    assert!(before.len() <= 41, "{}", before.len());
    assert!(before.keys().any(|key| key.iter().any(|name| name == tollgate_rollups::OTHER_NAME)));
}

const MINUTE_US: i64 = 60_000_000;

/// One request to a route of a service.
fn to(time: i64, destination: &str, route: &str) -> Request {
    Request {
        time,
        source: "s".to_owned(),
        destination: destination.to_owned(),
        route: route.to_owned(),
        status: Some(200),
        decision: "allow",
        method: "GET",
        direction: "inbound",
        weight: 1,
        ..Request::default()
    }
}

#[test]
fn keys_that_were_idle_for_an_hour_make_room() {
    let limits = Limits { keys_max: 40, ..Limits::default() };
    let mut aggregator = Aggregator::new(limits);
    for n in 0..25 {
        aggregator.add(&batch(&[to(n * MINUTE_US, "d", &format!("r-{n}"))])).unwrap();
    }
    assert_eq!(requests_by_key(&mut aggregator).len(), 25);
    for n in 0..25 {
        aggregator.add(&batch(&[to(90 * MINUTE_US + n, "d", &format!("later-{n}"))])).unwrap();
    }
    let keys = requests_by_key(&mut aggregator);
    assert!(keys.keys().all(|key| !key.iter().any(|name| name == tollgate_rollups::OTHER_NAME)), "{keys:?}");
    assert_eq!(keys.len(), 25);
}

#[test]
fn no_series_of_an_edge_falls_while_the_edge_is_busy() {
    let mut aggregator = Aggregator::new(Limits { keys_max: 40, ..Limits::default() });
    let of_busy = |keys: &BTreeMap<Vec<String>, i64>| -> i64 {
        keys.iter().filter(|(key, _)| key.iter().any(|name| name == "busy")).map(|(_, requests)| requests).sum()
    };
    for n in 0..20 {
        let idle = to(n * MINUTE_US, "idle", &format!("r-{n}"));
        aggregator.add(&batch(&[to(n * MINUTE_US, "busy", &format!("r-{}", n % 5)), idle])).unwrap();
    }
    // The routes of the busy edge are idle for an hour, and the edge is not.
    for n in 0..60 {
        aggregator.add(&batch(&[to((20 + 2 * n) * MINUTE_US, "busy", &format!("s-{}", n % 3))])).unwrap();
        assert_eq!(of_busy(&requests_by_key(&mut aggregator)), 21 + n);
    }
    assert_eq!(requests_by_key(&mut aggregator).len(), 8, "what was idle as a whole made room");
}

#[test]
fn an_edge_that_is_never_idle_begins_anew_when_most_of_it_is() {
    let mut aggregator = Aggregator::new(Limits { keys_max: 40, ..Limits::default() });
    for n in 0..250 {
        aggregator.add(&batch(&[to(n * MINUTE_US, "busy", &format!("r-{n}"))])).unwrap();
    }
    let keys = requests_by_key(&mut aggregator);
    assert!(keys.keys().any(|key| key.iter().any(|name| name == "r-249")), "{keys:?}");
}

#[test]
fn names_that_are_used_no_more_make_room() {
    let mut aggregator = Aggregator::new(Limits { names_max: 40, ..Limits::default() });
    for hour in 0..100_i64 {
        let request = Request {
            time: hour * 7_200_000_000,
            source: format!("s-{hour}"),
            destination: format!("d-{hour}"),
            weight: 1,
            ..Request::default()
        };
        aggregator.add(&batch(&[request])).unwrap();
        drop(aggregator.take());
    }
    let keys = requests_by_key(&mut aggregator);
    assert!(keys.keys().any(|key| key.iter().any(|name| name == "s-99")), "{keys:?}");
}

#[test]
fn a_restart_begins_at_nothing() {
    let mut aggregator = Aggregator::new(Limits::default());
    aggregator.add(&batch(&[Request { weight: 3, ..Request::default() }])).unwrap();
    aggregator.restart_totals();
    assert!(requests_by_key(&mut aggregator).is_empty());
    aggregator.add(&batch(&[Request { weight: 2, ..Request::default() }])).unwrap();
    assert_eq!(requests_by_key(&mut aggregator).values().copied().collect::<Vec<_>>(), [2]);
    let hours: i64 =
        found(Table::Traffic1h, &of_hours(&mut aggregator)).values().map(|numbers| numbers.values[0]).sum();
    assert_eq!(hours, 5, "the rollups go on");
}

fn of_hours(aggregator: &mut Aggregator) -> Vec<arrow::record_batch::RecordBatch> {
    let taken = aggregator.take().finish().unwrap();
    taken.into_iter().filter(|(table, _)| *table == Table::Traffic1h).map(|(_, rows)| rows).collect()
}
