//! How fast batches are kept and read back. Not a test: run it with optimisation, alone, and with `--ignored --nocapture`.

use std::time::Instant;

use tollgate_attributes::{BatchBuilder, BatchLimits, Row};

use super::*;

const CONNECTIONS: u64 = 16;
const BATCHES: u64 = 60;

fn full_rows(count: usize) -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX });
    for index in 0..count {
        let request_id = format!("{index:032x}");
        let row = Row {
            time: START_US + index as i64,
            reporter: "catalog-1",
            source: "shop/storefront",
            destination: "shop/catalog",
            path: "/items/42",
            request_id: &request_id,
            trace_id: Some((index as u128).to_be_bytes()),
            weight: 1,
            ..Row::default()
        };
        let _ = builder.push(&row);
    }
    builder.finish().unwrap()
}

/// User and system time of this process.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks: u64 =
        stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

async fn measure(rows_per_batch: usize, payload_per_row: usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut table = tables().swap_remove(0);
    table.schema = tollgate_attributes::schema();
    let mut options = options(dir.path());
    options.memory.hot_bytes = 8 << 30;
    let batch = full_rows(rows_per_batch);
    let again = batch.clone();
    let rederive = move |_: &Record| Ok(vec![(0, again.clone())]);
    let open = || Store::open(options.clone(), vec![table.clone()], Box::new(()), rederive.clone());
    let (store, _) = open().await.unwrap();
    let payload = Bytes::from(vec![0x5a; rows_per_batch * payload_per_row]);
    let (started, cpu) = (Instant::now(), cpu_time());
    let connection = |reporter: u64| {
        let (store, payload, batch) = (Arc::clone(&store), payload.clone(), batch.clone());
        tokio::spawn(async move {
            for sequence in 1..=BATCHES {
                let record = Record {
                    reporter: format!("r{reporter}").into(),
                    epoch: 1,
                    sequence,
                    received_us: START_US,
                    rows: batch.num_rows() as u32,
                    payload: payload.clone(),
                };
                store.append(record, batch.clone()).await.unwrap();
            }
        })
    };
    let connections: Vec<_> = (0..CONNECTIONS).map(connection).collect();
    for connection in connections {
        connection.await.unwrap();
    }
    let (took, cpu) = (started.elapsed(), cpu_time() - cpu);
    let rows = (CONNECTIONS * BATCHES) as f64 * rows_per_batch as f64;
    let log = store.status().log;
    let rate = rows / took.as_secs_f64();
    let cpu_ns = cpu.as_nanos() as f64 / rows;
    let sync_us = log.sync_time.as_micros() as u64 / log.syncs;
    println!(
        "{rows_per_batch} rows a batch: {rate:.0} rows/s, {cpu_ns:.1} ns of CPU per row, {} syncs of {sync_us} us",
        log.syncs
    );
    store.close().await.unwrap();
    drop(store);
    let (_, recovery) = open().await.unwrap();
    let megabytes = recovery.log.bytes as f64 / 1e6;
    println!("  read back: {:.0} MB, {:.0} MB/s", megabytes, megabytes / recovery.log.took.as_secs_f64());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn batches_kept_and_read_back() {
    for rows_per_batch in [500, 8_192] {
        measure(rows_per_batch, 80).await;
    }
}
