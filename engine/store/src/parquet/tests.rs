//! What our own encoders write is what Parquet's reader reads, and what a file says about it is true.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, DictionaryArray, FixedSizeBinaryArray, Int16Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int16Type, Int32Type, Int64Type, Schema, TimeUnit};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;
use proptest::prelude::*;

use super::*;
use crate::{Partition, Position, Retention, TableSpec};

/// A name, an id, and an integer that is also a code where it fits.
type Row = (Option<String>, Option<[u8; 16]>, Option<i64>);

fn spec() -> TableSpec {
    let names = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    table(vec![
        Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("name", names, true),
        Field::new("id", DataType::FixedSizeBinary(16), true),
        Field::new("count", DataType::Int64, true),
        Field::new("code", DataType::Int16, true),
        Field::new("number", DataType::Int64, false),
    ])
}

fn table(fields: Vec<Field>) -> TableSpec {
    TableSpec {
        name: "t",
        schema: Arc::new(Schema::new(fields)),
        time: "time",
        sort: &["time"],
        bloom: &["id"],
        partition: Partition::Hour,
        merge: None,
        retention: Retention::default(),
    }
}

fn code(count: i64) -> Option<i16> {
    i16::try_from(count).ok()
}

/// A batch whose dictionary also holds what does not occur, twice what does, and a null.
fn batch(rows: &[Row]) -> RecordBatch {
    let mut values: Vec<Option<&str>> = vec![Some("never"), None];
    let mut keys = Vec::new();
    for (at, (name, ..)) in rows.iter().enumerate() {
        keys.push(match name {
            Some(name) => {
                values.push(Some(name));
                Some(values.len() as i32 - 1)
            }
            None if at % 2 == 0 => Some(1),
            None => None,
        });
    }
    let names = DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys), Arc::new(StringArray::from(values)));
    let ids = FixedSizeBinaryArray::try_from_sparse_iter_with_size(rows.iter().map(|(_, id, _)| *id), 16);
    let times = TimestampMicrosecondArray::from_iter_values((0..rows.len()).map(|row| row as i64));
    let counts = rows.iter().map(|(.., count)| *count);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times.with_timezone("UTC")),
        Arc::new(names.unwrap()),
        Arc::new(ids.unwrap()),
        Arc::new(counts.clone().collect::<Int64Array>()),
        Arc::new(counts.clone().map(|count| count.and_then(code)).collect::<Int16Array>()),
        Arc::new(Int64Array::from_iter_values(counts.map(Option::unwrap_or_default))),
    ];
    RecordBatch::try_new(spec().schema, columns).unwrap()
}

fn written(table: &TableSpec, batches: &[RecordBatch]) -> Bytes {
    let label = FileLabel { engine: "e1", positions: (Position(1), Position(9)), sorted: false };
    let mut writer = TableWriter::new(Vec::new(), table, &label).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap().0.into()
}

fn read(file: Bytes) -> (Vec<Row>, Arc<ParquetMetaData>) {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).unwrap();
    let metadata = Arc::clone(builder.metadata());
    let mut rows = Vec::new();
    for batch in builder.with_batch_size(3_000).build().unwrap() {
        let batch = batch.unwrap();
        let names = batch.column(1).as_dictionary::<Int32Type>().downcast_dict::<StringArray>().unwrap();
        let ids = batch.column(2).as_fixed_size_binary();
        let counts = batch.column(3).as_primitive::<Int64Type>();
        let (codes, numbers) =
            (batch.column(4).as_primitive::<Int16Type>(), batch.column(5).as_primitive::<Int64Type>());
        for (row, (((name, id), count), code_read)) in names.into_iter().zip(ids).zip(counts).zip(codes).enumerate() {
            assert_eq!((code_read, numbers.value(row)), (count.and_then(code), count.unwrap_or_default()));
            rows.push((name.map(str::to_owned), id.map(|id| id.try_into().unwrap()), count));
        }
    }
    (rows, metadata)
}

fn check(batches: &[Vec<Row>]) -> Arc<ParquetMetaData> {
    let rows: Vec<_> = batches.concat();
    // A slice of a larger batch each: what is not in it must not be written.
    let sliced = |rows: &Vec<Row>| {
        let before = (Some("before".to_owned()), Some([9; 16]), Some(i64::MIN));
        let padded = [&[before], rows.as_slice(), &[(None, None, Some(i64::MAX))]].concat();
        batch(&padded).slice(1, rows.len())
    };
    let file = written(&spec(), &batches.iter().map(sliced).collect::<Vec<_>>());
    let (found, metadata) = read(file.clone());
    assert!(found == rows, "other rows than were written");
    check_names(&metadata, &rows);
    check_counts(&metadata, &rows);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let bloom = builder.get_row_group_column_bloom_filter(0, 2).unwrap().unwrap();
    rows.iter().filter_map(|(_, id, _)| *id).for_each(|id| assert!(bloom.check(id.as_slice())));
    metadata
}

/// The rows of each page of a column.
fn pages<'a>(metadata: &ParquetMetaData, column: usize, rows: &'a [Row]) -> Vec<&'a [Row]> {
    let pages = metadata.offset_index().unwrap()[0][column].page_locations();
    let starts: Vec<usize> = pages.iter().map(|page| page.first_row_index as usize).collect();
    let end = |page: usize| starts.get(page + 1).copied().unwrap_or(rows.len());
    starts.iter().enumerate().map(|(page, from)| &rows[*from..end(page)]).collect()
}

/// Bounds hold the names of page and column, and nulls are counted.
fn check_names(metadata: &ParquetMetaData, rows: &[Row]) {
    let ColumnIndexMetaData::BYTE_ARRAY(index) = &metadata.column_index().unwrap()[0][1] else { panic!("no index") };
    for (page, rows) in pages(metadata, 1, rows).into_iter().enumerate() {
        let names: Vec<&str> = rows.iter().filter_map(|(name, ..)| name.as_deref()).collect();
        assert_eq!(index.is_null_page(page), names.is_empty());
        assert_eq!(index.null_count(page), Some((rows.len() - names.len()) as i64));
        for name in names {
            let (least, most) = (index.min_value(page).unwrap(), index.max_value(page).unwrap());
            assert!(least <= name.as_bytes() && name.as_bytes() <= most, "{name}");
        }
    }
    let column = metadata.row_group(0).column(1);
    assert_eq!(column.num_values(), rows.len() as i64);
    let statistics = column.statistics().unwrap();
    assert_eq!(statistics.null_count_opt(), Some(rows.iter().filter(|(name, ..)| name.is_none()).count() as u64));
    let greatest = rows.iter().filter_map(|(name, ..)| name.as_deref()).max();
    assert_eq!(statistics.max_bytes_opt().is_some(), greatest.is_some());
    assert!(greatest.is_none_or(|name| name.as_bytes() <= statistics.max_bytes_opt().unwrap()));
}

/// The same of integers, whose bounds are exact.
fn check_counts(metadata: &ParquetMetaData, rows: &[Row]) {
    let of = |rows: &[Row]| {
        let counts = rows.iter().filter_map(|(.., count)| *count);
        (counts.clone().min(), counts.clone().max(), Some(rows.len() as u64 - counts.count() as u64))
    };
    let ColumnIndexMetaData::INT64(index) = &metadata.column_index().unwrap()[0][3] else { panic!("no index") };
    for (page, rows) in pages(metadata, 3, rows).into_iter().enumerate() {
        let nulls = index.null_count(page).map(|nulls| nulls as u64);
        assert_eq!((index.min_value(page).copied(), index.max_value(page).copied(), nulls), of(rows));
    }
    let Some(Statistics::Int64(all)) = metadata.row_group(0).column(3).statistics() else { panic!("no statistics") };
    assert_eq!((all.min_opt().copied(), all.max_opt().copied(), all.null_count_opt()), of(rows));
    let Some(Statistics::Int32(codes)) = metadata.row_group(0).column(4).statistics() else { panic!("no statistics") };
    let least = rows.iter().filter_map(|(.., count)| count.and_then(code)).min().map(i32::from);
    assert_eq!(codes.min_opt().copied(), least);
}

fn id(number: u64) -> [u8; 16] {
    fastrand::Rng::with_seed(number).u128(..).to_be_bytes()
}

fn any_row() -> impl Strategy<Value = Row> {
    let id = prop::option::of(any::<u64>().prop_map(id));
    let count = prop_oneof![Just(None), Just(Some(7)), (-3..600_i64).prop_map(Some), any::<i64>().prop_map(Some)];
    (prop::option::of("[a-dü]{0,3}|x{70}"), id, count)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn rows_come_back(batches in prop::collection::vec(prop::collection::vec(any_row(), 1..50), 1..8)) {
        check(&batches);
    }
}

#[test]
fn pages_are_many_and_some_have_nulls_only() {
    let name = |row: usize| (!(20_000..40_000).contains(&row)).then(|| format!("name-{}", row / 7 % 3_000));
    let count = |row: usize| if row < 20_000 { Some(-5) } else { (row >= 40_000).then_some(row as i64) };
    let rows: Vec<_> = (0..70_000).map(|row| (name(row), Some(id(row as u64)), count(row))).collect();
    let metadata = check(&rows.chunks(8_000).map(<[_]>::to_vec).collect::<Vec<_>>());
    assert_eq!(metadata.offset_index().unwrap()[0][1].page_locations().len(), 4);
    assert_eq!(metadata.row_group(0).column(2).compression(), Compression::UNCOMPRESSED, "random ids do not shrink");

    let nothing: Vec<_> = (0..100).map(|_| (None, None, None)).collect();
    check(&[nothing]);
    let one: Vec<_> = (0..100).map(|_| (Some("one".to_owned()), Some([0; 16]), Some(1))).collect();
    let metadata = check(&[one]);
    assert!(matches!(metadata.row_group(0).column(2).compression(), Compression::ZSTD(_)), "equal ids do");
}

#[test]
fn more_names_than_a_dictionary_holds_are_written_as_they_are() {
    let name = |row: usize| format!("{row:06}{}", "x".repeat(1_500));
    let rows: Vec<_> = (0..8_000).map(|row| (Some(name(row)), None, None)).collect();
    // What is in the dictionary and what is not, again.
    let again: Vec<_> = rows.iter().step_by(50).cloned().collect();
    let batches: Vec<_> = rows.chunks(1_000).map(<[_]>::to_vec).chain([again]).collect();
    let metadata = check(&batches);
    let encodings: Vec<_> = metadata.row_group(0).column(1).encodings().collect();
    assert!(encodings.contains(&Encoding::RLE_DICTIONARY) && encodings.contains(&Encoding::PLAIN), "{encodings:?}");
    let pages = metadata.offset_index().unwrap()[0][1].page_locations();
    assert!(pages.len() > 3, "{} pages", pages.len());
}

#[test]
fn lists_of_integers_are_packed_and_come_back() {
    let table = table(vec![
        Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("counts", DataType::new_list(DataType::Int64, true), true),
    ]);
    let batch = |rows: std::ops::Range<i64>| {
        let times = TimestampMicrosecondArray::from_iter_values(rows.clone()).with_timezone("UTC");
        let counts = |row: i64| (row % 7 != 0).then(|| (0..row % 40).map(move |count| Some(count << (row % 9))));
        let counts = ListArray::from_iter_primitive::<Int64Type, _, _>(rows.map(counts));
        RecordBatch::try_new(Arc::clone(&table.schema), vec![Arc::new(times), Arc::new(counts)]).unwrap()
    };
    let file = written(&table, &[batch(0..5_000).slice(100, 4_900), batch(5_000..60_000)]);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let columns = builder.parquet_schema().columns();
    assert_eq!(columns.iter().map(|column| column.max_rep_level()).collect::<Vec<_>>(), [0, 0]);
    let mut at = 100;
    for read in builder.with_batch_size(7_000).build().unwrap() {
        let read = adapted(read.unwrap(), &table.schema).unwrap();
        let rows = read.num_rows() as i64;
        assert!(read == batch(at..at + rows), "rows from {at} on");
        at += rows;
    }
    assert_eq!(at, 60_000);
}
