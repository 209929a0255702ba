mod crashes;
mod intake;
mod measure;
mod publishing;
mod remote;
mod views;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;

use super::*;
use crate::log::Record;
use crate::table::{Partition, Retention};

/// Rows lie five minutes apart, over two hours of a year that is over.
const START_US: i64 = 1_600_000_000_000_000;
const STEP_US: i64 = 300_000_000;

fn schema(second: &str) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![Field::new("time", time, false), Field::new(second, DataType::Int64, false)]))
}

fn tables() -> Vec<TableSpec> {
    let table = |name, second, partition| TableSpec {
        name,
        schema: schema(second),
        time: "time",
        sort: &["time"],
        bloom: &[],
        partition,
        merge: None,
        retention: Retention::default(),
    };
    vec![table("requests", "id", Partition::Hour), table("counts", "rows", Partition::Month)]
}

fn rows(second: &str, values: impl Iterator<Item = (i64, i64)>) -> RecordBatch {
    let (times, values): (Vec<i64>, Vec<i64>) = values.unzip();
    let times = TimestampMicrosecondArray::from(times).with_timezone("UTC");
    RecordBatch::try_new(schema(second), vec![Arc::new(times), Arc::new(Int64Array::from(values))]).unwrap()
}

fn requests(ids: impl Iterator<Item = i64>) -> RecordBatch {
    rows("id", ids.map(|id| (START_US + id % 20 * STEP_US, id)))
}

/// Counts rows, and keeps all of them.
#[derive(Default)]
struct Count(i64);

impl Derive for Count {
    fn add(&mut self, rows: &RecordBatch) {
        self.0 += rows.num_rows() as i64;
    }

    fn snapshot(&self) -> Vec<(usize, RecordBatch)> {
        let count = (self.0 > 0).then(|| (1, rows("rows", std::iter::once((START_US, self.0)))));
        count.into_iter().collect()
    }

    fn take(&mut self) -> Box<dyn Derived> {
        let taken = self.snapshot();
        self.0 = 0;
        Box::new(taken)
    }

    fn reduce(&mut self, rows: RecordBatch) -> RecordBatch {
        rows
    }
}

/// A batch of three rows, and its record. All three follow from reporter and sequence.
fn batch(reporter: i64, sequence: i64) -> (Record, RecordBatch) {
    let ids: Vec<i64> = ids(reporter, sequence).collect();
    let payload: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let record = Record {
        reporter: format!("r{reporter}").into(),
        epoch: 1,
        sequence: sequence as u64,
        received_us: START_US,
        rows: 3,
        payload: payload.into(),
    };
    (record, requests(ids.into_iter()))
}

fn ids(reporter: i64, sequence: i64) -> impl Iterator<Item = i64> {
    (0..3).map(move |row| reporter * 1_000_000 + sequence * 10 + row)
}

fn rederive(record: &Record) -> Result<Vec<(usize, RecordBatch)>, String> {
    let ids = record.payload.chunks_exact(8).map(|id| i64::from_le_bytes(id.try_into().unwrap()));
    Ok(vec![(0, requests(ids))])
}

fn options(dir: &Path) -> StoreOptions {
    StoreOptions::new(dir.to_owned(), "e1")
}

async fn open(options: StoreOptions) -> Result<(Arc<Store>, Recovery), StoreError> {
    Store::open(options, tables(), Box::new(Count::default()), rederive).await
}

async fn open_local(dir: &Path) -> Arc<Store> {
    open(options(dir)).await.unwrap().0
}

/// How often each id is in the view, and how many rows were counted. Files are read from disk, whatever is resident.
fn contents(store: &Store) -> (BTreeMap<i64, usize>, i64) {
    let view = store.view();
    let values = |table: usize| {
        let mut values = Vec::new();
        let mut take =
            |rows: &RecordBatch| values.extend_from_slice(rows.column(1).as_primitive::<Int64Type>().values());
        view.tables[table].hot.iter().for_each(|batch| take(&batch.rows));
        for file in view.tables[table].files.iter() {
            let mut in_file = 0;
            for rows in store.core.sealed.state.objects.rows(file, 1_024).unwrap() {
                let rows = rows.unwrap();
                in_file += rows.num_rows() as u64;
                take(&rows);
            }
            assert_eq!(in_file, file.rows);
            if let Some(resident) = file.resident() {
                assert_eq!(resident.iter().map(|batch| batch.rows.num_rows() as u64).sum::<u64>(), file.rows);
            }
        }
        values
    };
    let mut ids = BTreeMap::new();
    values(0).into_iter().for_each(|id| *ids.entry(id).or_default() += 1);
    (ids, values(1).iter().sum())
}

/// The store has these batches, each row once, and nothing else.
fn assert_holds(store: &Store, batches: impl Iterator<Item = (i64, i64)>) {
    let expected: BTreeMap<i64, usize> =
        batches.flat_map(|(reporter, sequence)| ids(reporter, sequence)).map(|id| (id, 1)).collect();
    let (ids, counted) = contents(store);
    assert_eq!(ids, expected);
    assert_eq!(counted, expected.len() as i64);
}

async fn append(store: &Store, reporter: i64, sequence: i64) -> Result<Appended, StoreError> {
    let (record, rows) = batch(reporter, sequence);
    store.append(record, rows).await
}

fn empty(reporter: i64, sequence: i64) -> (Record, RecordBatch) {
    let (record, _) = batch(reporter, sequence);
    (Record { rows: 0, payload: Bytes::new(), ..record }, requests(std::iter::empty()))
}
