//! Measures how fast rows become Parquet and what each column takes: `cargo test -p tollgate-store --release -- --ignored
//! --nocapture encoding`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use arrow::compute::{SortColumn, lexsort_to_indices, take_record_batch};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tollgate_attributes::{BatchBuilder, BatchLimits, Row};

use super::*;
use crate::Position;
use crate::sealed::tests::{NINE_US, requests};

const ROWS: usize = 1 << 20;

/// 50 services, 200 routes, 1,000 users, about 12,000 paths; trace, span and request ids are random and unique.
fn realistic(random: &mut fastrand::Rng, first: usize, count: usize) -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX });
    let reporter = format!("proxy-{}", random.u32(0..50));
    let policies: [Arc<str>; 1] = ["free-tier".into()];
    let mut bits = || random.u128(..);
    for row in first..first + count {
        let (pick, trace, uuid) = (bits(), bits(), bits());
        let below = |shift: u32, bound: u128| ((pick >> shift) & 0xff_ffff) % bound;
        let source = below(0, 50);
        let (destination, route) = ((source * 7 + below(8, 5)) % 50, below(16, 4));
        let normal = (0..8).map(|part| ((trace >> (part * 12)) & 0xfff) as f64 / 4096.0 - 0.5).sum::<f64>();
        let duration_us = (3_000.0 * (normal * 1.5).exp()) as i64;
        let id = below(24, 60);
        let (path, template) = (
            format!("/v1/route-{destination}-{route}/items/{id}"),
            format!("/v1/route-{destination}-{route}/items/{{id}}"),
        );
        let error = below(40, 100) == 0;
        let _ = builder.push(&Row {
            time: NINE_US + (row as i64) * 50 + below(32, 2_000) as i64,
            reporter: &reporter,
            direction: "inbound",
            source: &format!("shop/service-{source}"),
            source_namespace: "shop",
            source_version: "v2",
            source_principal: &format!("spiffe://cluster.local/ns/shop/sa/service-{source}"),
            source_address: &format!("10.1.{}.{}", source, below(48, 4)),
            destination: &format!("shop/service-{destination}"),
            destination_namespace: "shop",
            destination_version: "v1",
            destination_address: &format!("10.2.{}.{}:8080", destination, below(52, 4)),
            user: &format!("user-{}@example.com", below(56, 1_000)),
            method: if below(64, 10) < 8 { "GET" } else { "POST" },
            scheme: "https",
            host: &format!("service-{destination}.shop:8080"),
            path: &path,
            route: &template,
            protocol: "http/2",
            user_agent: if below(68, 2) == 0 { "okhttp/4.12" } else { "grpc-go/1.65" },
            status: Some(if error { 503 } else { 200 }),
            grpc_status: None,
            response_flags: "",
            duration_us,
            upstream_us: Some(duration_us * 9 / 10 + below(72, 50) as i64),
            queued_us: 0,
            request_bytes: if below(76, 10) < 8 { 0 } else { below(80, 2_000) as i64 },
            response_bytes: 200 + below(84, 4_000) as i64,
            attempts: Some(1),
            is_mtls: true,
            decision: "allow",
            reason: "permitted",
            policies: &policies,
            shadow: &[],
            priority: "normal",
            snapshot: 42,
            weight: 1,
            trace_id: Some(trace.to_be_bytes()),
            span_id: Some(((uuid >> 13) as u64 ^ pick as u64).to_be_bytes()),
            request_id: &uuid_text(uuid),
            labels: &[],
        });
    }
    builder.finish().unwrap()
}

fn uuid_text(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

#[test]
#[ignore = "takes a release build and a quiet machine"]
fn encoding() {
    let mut random = fastrand::Rng::with_seed(7);
    for (name, rows_each) in [("8,192 rows a batch", 8_192), ("512 rows a batch", 512)] {
        let batches: Vec<RecordBatch> =
            (0..ROWS).step_by(rows_each).map(|first| realistic(&mut random, first, rows_each)).collect();
        let label = FileLabel { engine: "e1", positions: (Position(1), Position(9)), sorted: false };
        let mut best = f64::MAX;
        let mut file = Vec::new();
        for _ in 0..3 {
            let begin = cpu_seconds();
            let mut writer = TableWriter::new(Vec::new(), &requests(), &label).unwrap();
            batches.iter().for_each(|batch| writer.write(batch).unwrap());
            file = writer.finish().unwrap().0;
            best = best.min(cpu_seconds() - begin);
        }
        println!(
            "{name}: {:.2} M rows/s of CPU, {:.1} bytes a row",
            ROWS as f64 / best / 1e6,
            file.len() as f64 / ROWS as f64
        );
        report(&file, ROWS);
        time_columns(&batches);
        let begin = Instant::now();
        let rows: usize = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file))
            .unwrap()
            .build()
            .unwrap()
            .map(|batch| batch.unwrap().num_rows())
            .sum();
        println!("read back {rows} rows in {:?}", begin.elapsed());
    }
}

/// Less than 60 bytes a row once the hour is sorted, and a little less still when there are more rows. Of these, 44 are ids and their
/// filters, which nothing makes smaller.
#[test]
fn rows_are_small() {
    let mut random = fastrand::Rng::with_seed(7);
    let rows = 1 << 16;
    let arrived = realistic(&mut random, 0, rows);
    let key = |name: &str| SortColumn { values: Arc::clone(arrived.column_by_name(name).unwrap()), options: None };
    let order = lexsort_to_indices(&[key("destination"), key("time")], None).unwrap();
    let sorted = take_record_batch(&arrived, &order).unwrap();
    for (name, batch, bytes_max) in [("arrived", arrived.clone(), 63), ("sorted", sorted, 60)] {
        let label = FileLabel { engine: "e1", positions: (Position(1), Position(9)), sorted: name == "sorted" };
        let mut writer = TableWriter::new(Vec::new(), &requests(), &label).unwrap();
        writer.write(&batch).unwrap();
        let file = writer.finish().unwrap().0;
        println!("{name}: {:.1} bytes a row", file.len() as f64 / rows as f64);
        report(&file, rows);
        assert!(file.len() <= bytes_max * rows, "{name}: {} bytes", file.len());
    }
}

/// Bytes a row of each column, and of what is beside the columns.
fn report(file: &[u8], rows: usize) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(file)).unwrap();
    let mut bytes: BTreeMap<String, i64> = BTreeMap::new();
    for group in builder.metadata().row_groups() {
        for column in group.columns() {
            *bytes.entry(column.column_path().string()).or_default() += column.compressed_size();
            *bytes.entry("bloom filters".to_owned()).or_default() +=
                i64::from(column.bloom_filter_length().unwrap_or(0));
            let index = column.column_index_length().unwrap_or(0) + column.offset_index_length().unwrap_or(0);
            *bytes.entry("page index".to_owned()).or_default() += i64::from(index);
        }
    }
    let mut bytes: Vec<_> = bytes.into_iter().collect();
    bytes.sort_by_key(|(_, bytes)| -bytes);
    let mut text = String::new();
    for (name, bytes) in bytes {
        let _ = write!(text, "{name} {:.2}, ", bytes as f64 / rows as f64);
    }
    println!("{text}");
}

/// Nanoseconds a row of each column alone.
fn time_columns(batches: &[RecordBatch]) {
    let label = FileLabel { engine: "e1", positions: (Position(1), Position(9)), sorted: false };
    let mut times = Vec::new();
    for index in 0..batches[0].num_columns() {
        let projection = if index == 0 { vec![0] } else { vec![0, index] };
        let narrow: Vec<RecordBatch> = batches.iter().map(|batch| batch.project(&projection).unwrap()).collect();
        let schema = narrow[0].schema();
        let name = schema.field(schema.fields().len() - 1).name().clone();
        let bloom: &'static [&'static str] = match name.as_str() {
            "trace_id" => &["trace_id"],
            "request_id" => &["request_id"],
            _ => &[],
        };
        let table = crate::TableSpec { schema, bloom, ..requests() };
        let begin = cpu_seconds();
        let mut writer = TableWriter::new(Vec::new(), &table, &label).unwrap();
        narrow.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.finish().unwrap();
        times.push((name, (cpu_seconds() - begin) * 1e9 / ROWS as f64));
    }
    let time = times[0].1;
    let text: Vec<String> = times
        .iter()
        .enumerate()
        .map(|(index, (name, ns))| format!("{name} {:.0}", if index == 0 { *ns } else { ns - time }))
        .collect();
    println!("ns a row: {}", text.join(", "));
}

/// CPU time of this thread: the machine may be shared.
#[expect(unsafe_code, reason = "the one way to ask for a thread's CPU time")]
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local of the right type, which the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
