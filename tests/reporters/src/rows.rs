//! Batches of rows as a mesh of 50 services with four routes each, 1,000 users and 12,000 paths makes them.
//!
//! Most of a batch is made ahead. What no two requests have in common is made anew each time that it is sent: the times and the three
//! ids. So what is paid for a batch while it is measured is its ids and its encoding.

use std::sync::Arc;

use anyhow::Context as _;
use arrow::array::{ArrayRef, FixedSizeBinaryArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use tollgate_attributes::{BatchBuilder, BatchLimits, Row, schema};

/// Length of an id as text: a UUID.
const UUID_BYTES: usize = 36;
/// The times of a batch lie within so many microseconds, as a proxy sends at least each 100 ms.
const SPAN_US: i64 = 100_000;

/// A batch of which times and ids are missing.
pub(crate) struct Template {
    batch: RecordBatch,
    /// Where the columns are that are made anew.
    at: FreshColumns,
    /// Ends of the texts of `request_id`.
    offsets: OffsetBuffer<i32>,
}

struct FreshColumns {
    time: usize,
    trace_id: usize,
    span_id: usize,
    request_id: usize,
}

impl Template {
    pub(crate) fn new(reporter: &str, rows: u32, random: &mut fastrand::Rng) -> anyhow::Result<Self> {
        let mut builder = BatchBuilder::new(BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX });
        for _ in 0..rows {
            push(&mut builder, reporter, random);
        }
        let schema = schema();
        let at = |name| schema.index_of(name);
        let at = FreshColumns {
            time: at("time")?,
            trace_id: at("trace_id")?,
            span_id: at("span_id")?,
            request_id: at("request_id")?,
        };
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(UUID_BYTES, rows as usize));
        Ok(Self { batch: builder.finish()?, at, offsets })
    }

    /// A batch of requests that have just ended.
    pub(crate) fn fresh(&self, now_us: i64, random: &mut fastrand::Rng) -> anyhow::Result<RecordBatch> {
        let rows = self.batch.num_rows();
        let mut columns = self.batch.columns().to_vec();
        let mut put = |at: usize, array: ArrayRef| {
            let column = columns.get_mut(at).context("a column is missing")?;
            *column = array;
            anyhow::Ok(())
        };
        // Rows are in the order in which requests end, and `time` is when they began.
        let step = |row: usize| now_us - SPAN_US + row as i64 * SPAN_US / rows as i64;
        let times = TimestampMicrosecondArray::from_iter_values((0..rows).map(|row| step(row) - random.i64(0..4_000)));
        put(self.at.time, Arc::new(times.with_timezone("UTC")))?;
        let mut ids = |bytes_each: usize| {
            let mut bytes = vec![0; rows * bytes_each];
            random.fill(&mut bytes);
            FixedSizeBinaryArray::try_new(bytes_each as i32, Buffer::from_vec(bytes), None)
        };
        put(self.at.trace_id, Arc::new(ids(16)?))?;
        put(self.at.span_id, Arc::new(ids(8)?))?;
        let texts = Buffer::from_vec(uuids(rows, random));
        put(self.at.request_id, Arc::new(StringArray::try_new(self.offsets.clone(), texts, None)?))?;
        Ok(RecordBatch::try_new(self.batch.schema(), columns)?)
    }
}

fn push(builder: &mut BatchBuilder, reporter: &str, random: &mut fastrand::Rng) {
    let policies: [Arc<str>; 1] = ["free-tier".into()];
    let source = random.u32(..50);
    let (destination, route, item) = ((source * 7 + random.u32(..5)) % 50, random.u32(..4), random.u32(..60));
    let route = format!("/v1/route-{destination}-{route}/items/{{id}}");
    // About log-normal: a median of 3 ms and a tail.
    let normal = (0..8).map(|_| random.f64() - 0.5).sum::<f64>();
    let duration_us = (3_000.0 * (normal * 1.5).exp()) as i64;
    let is_read = random.u32(..10) < 8;
    let _ = builder.push(&Row {
        reporter,
        direction: "inbound",
        source: &format!("shop/service-{source}"),
        source_namespace: "shop",
        source_version: "v2",
        source_principal: &format!("spiffe://cluster.local/ns/shop/sa/service-{source}"),
        source_address: &format!("10.1.{source}.{}", random.u32(..4)),
        destination: &format!("shop/service-{destination}"),
        destination_namespace: "shop",
        destination_version: "v1",
        destination_address: &format!("10.2.{destination}.{}:8080", random.u32(..4)),
        user: &format!("user-{}@example.com", random.u32(..1_000)),
        method: if is_read { "GET" } else { "POST" },
        scheme: "https",
        host: &format!("service-{destination}.shop:8080"),
        path: &route.replace("{id}", &item.to_string()),
        route: &route,
        protocol: "http/2",
        user_agent: if random.bool() { "okhttp/4.12" } else { "grpc-go/1.65" },
        status: Some(if random.u32(..100) == 0 { 503 } else { 200 }),
        duration_us,
        upstream_us: Some(duration_us * 9 / 10 + random.i64(0..50)),
        request_bytes: if is_read { 0 } else { random.i64(0..2_000) },
        response_bytes: 200 + random.i64(0..4_000),
        attempts: Some(1),
        is_mtls: true,
        decision: "allow",
        reason: "permitted",
        policies: &policies,
        priority: "normal",
        snapshot: 42,
        weight: 1,
        ..Row::default()
    });
}

/// Random UUIDs of version 4 as text, one after the other.
fn uuids(count: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut texts = Vec::with_capacity(count * UUID_BYTES);
    for _ in 0..count {
        let mut bytes = random.u128(..).to_be_bytes();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        for (at, byte) in bytes.into_iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                texts.push(b'-');
            }
            texts.extend([hex(byte >> 4), hex(byte & 0x0f)]);
        }
    }
    texts
}

fn hex(digit: u8) -> u8 {
    if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use arrow::array::AsArray as _;

    use super::*;

    #[test]
    fn no_two_rows_have_an_id_in_common() {
        let mut random = fastrand::Rng::with_seed(1);
        let template = Template::new("r", 100, &mut random).unwrap();
        let batches = [template.fresh(0, &mut random).unwrap(), template.fresh(0, &mut random).unwrap()];
        let texts = batches.iter().flat_map(|batch| {
            batch.column_by_name("request_id").unwrap().as_string::<i32>().iter().map(|id| id.unwrap().to_owned())
        });
        let texts: HashSet<_> = texts.collect();
        let traces = batches.iter().flat_map(|batch| {
            let column = batch.column_by_name("trace_id").unwrap().as_fixed_size_binary();
            column.iter().map(|id| id.unwrap().to_vec()).collect::<Vec<_>>()
        });
        assert_eq!((texts.len(), traces.collect::<HashSet<_>>().len()), (200, 200));
        let text = texts.iter().next().unwrap();
        assert_eq!((text.len(), &text[14..15], &text[23..24]), (36, "4", "-"), "{text}");
    }
}
