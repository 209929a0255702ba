//! What counting costs. `cargo test -p tollgate-rollups --release -- --ignored --nocapture`

use std::time::Instant;

use arrow::record_batch::RecordBatch;
use tollgate_rollups::{Aggregator, Limits, merge_traffic};

use crate::model::{Request, batch};

const ROWS: usize = 8_192;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// 50 services with 4 routes each, called by 50 services, few of them often; durations over three decades.
fn rows(random: &mut Random, start_us: i64) -> RecordBatch {
    let requests: Vec<Request> = (0..ROWS as i64)
        .map(|n| {
            let skewed = |random: &mut Random, n: u64| random.below(n) * random.below(n) / n;
            let destination = skewed(random, 50);
            let status = [200, 200, 200, 200, 204, 404, 200, 503][random.below(8) as usize];
            Request {
                time: start_us + n * 12,
                direction: "inbound",
                source: format!("shop/service-{}", skewed(random, 50)),
                destination: format!("shop/service-{destination}"),
                route: format!("/service-{destination}/route-{}", random.below(4)),
                method: ["GET", "GET", "POST"][random.below(3) as usize],
                status: Some(status),
                decision: "allow",
                duration_us: 300 << random.below(10) | random.below(300) as i64,
                request_bytes: random.below(2_000) as i64,
                response_bytes: random.below(20_000) as i64,
                weight: 1,
                policies: vec![format!("allow-{destination}").into()],
                ..Request::default()
            }
        })
        .collect();
    batch(&requests)
}

#[test]
#[ignore = "a measurement, for release builds"]
fn throughput() {
    let mut random = Random(7);
    // Ten batches a second, sixty seconds: what is between two seals.
    let batches: Vec<RecordBatch> = (0..600).map(|n| rows(&mut random, n * 100_000)).collect();
    let total = (batches.len() * ROWS) as f64;
    for round in 0..3 {
        let mut aggregator = Aggregator::new(Limits::default());
        let started = Instant::now();
        batches.iter().for_each(|rows| aggregator.add(rows).unwrap());
        let adding = started.elapsed();
        let status = aggregator.status();

        let started = Instant::now();
        let first = aggregator.snapshot().unwrap();
        let snapshot_first = started.elapsed();
        aggregator.add(&batches[599]).unwrap();
        let started = Instant::now();
        let _again = aggregator.snapshot().unwrap();
        let snapshot_again = started.elapsed();

        let started = Instant::now();
        let taken = aggregator.take();
        let taking = started.elapsed();
        let started = Instant::now();
        let deltas = taken.finish().unwrap();
        let finishing = started.elapsed();

        let started = Instant::now();
        let merged = merge_traffic(&[deltas[0].1.clone(), deltas[0].1.clone()]).unwrap();
        let merging = started.elapsed();
        println!(
            "round {round}: add {:.1} ns/row ({} cells, {} MB, {} keys/s); snapshot {snapshot_first:?} first ({} batches), {snapshot_again:?} again; \
             take {taking:?}, finish {finishing:?} for {} rows; merge {:.0} ns/row",
            adding.as_nanos() as f64 / total,
            status.cells,
            status.bytes >> 20,
            status.cells / 60,
            first.len(),
            deltas.iter().map(|(_, rows)| rows.num_rows()).sum::<usize>(),
            merging.as_nanos() as f64 / (2 * merged.num_rows()) as f64,
        );
    }
}
