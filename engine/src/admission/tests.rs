use arrow::array::AsArray;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use proptest::prelude::*;
use tollgate_attributes::{BatchBuilder, BatchLimits, Row};

use super::*;

const NOW_US: i64 = 1_790_000_000_000_000;
const ARRIVAL: Arrival<'static> =
    Arrival { reporter: "catalog-1", now_us: NOW_US, age_us_max: super::values::AGE_US_MAX };

fn good_row<'a>() -> Row<'a> {
    Row { time: NOW_US, reporter: "catalog-1", direction: "inbound", decision: "allow", weight: 1, ..Row::default() }
}

fn batch(rows: &[Row<'_>]) -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchLimits::default());
    for row in rows {
        let _ = builder.push(row);
    }
    builder.finish().unwrap()
}

fn encode_with(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn encode(batch: &RecordBatch) -> Vec<u8> {
    encode_with(std::slice::from_ref(batch), Some(CompressionType::LZ4_FRAME))
}

fn admit_rows(rows: &[Row<'_>]) -> Result<RecordBatch, Refusal> {
    admit(&encode(&batch(rows)), &DecodeLimits::default(), ARRIVAL)
}

fn refused(result: Result<RecordBatch, Refusal>, code: RefusalCode, message: &str) {
    let refusal = result.unwrap_err();
    assert_eq!(refusal.code, code, "{refusal}");
    assert!(refusal.message.contains(message), "{refusal}");
}

#[test]
fn rows_arrive_as_they_were_sent_compressed_or_not() {
    let policies: [Arc<str>; 2] = ["a".into(), "b".into()];
    let labels = [(Arc::from("x-tenant"), "acme".to_owned())];
    let row = Row {
        source: "shop/storefront",
        status: Some(200),
        policies: &policies,
        labels: &labels,
        trace_id: Some([7; 16]),
        request_id: "r-1",
        ..good_row()
    };
    let sent = batch(&[row, good_row(), Row { path: "/items", ..row }]);
    for compression in [None, Some(CompressionType::LZ4_FRAME)] {
        let bytes = encode_with(std::slice::from_ref(&sent), compression);
        assert_eq!(admit(&bytes, &DecodeLimits::default(), ARRIVAL).unwrap(), sent);
    }
}

#[test]
fn missing_columns_are_null_and_the_reporter_is_filled_in() {
    let full = batch(&[good_row(), good_row()]);
    let required: Vec<usize> =
        (0..full.num_columns()).filter(|index| !full.schema().field(*index).is_nullable()).collect();
    let admitted = admit(&encode(&full.project(&required).unwrap()), &DecodeLimits::default(), ARRIVAL).unwrap();
    assert_eq!(admitted.schema(), schema());
    let reporter = admitted.column_by_name("reporter").unwrap().as_dictionary::<Int32Type>();
    assert_eq!(reporter.values().as_string::<i32>().value(0), "catalog-1");
    assert_eq!(admitted.column_by_name("source").unwrap().null_count(), 2);

    let without_time = full.project(&required[1..]).unwrap();
    refused(admit(&encode(&without_time), &DecodeLimits::default(), ARRIVAL), RefusalCode::Schema, "`time` is missing");
}

#[test]
fn other_schemas_are_refused_with_the_column() {
    let check = |name: &str, data_type: DataType, message: &str| {
        let schema = Arc::new(Schema::new(vec![Field::new(name, data_type.clone(), true)]));
        let batch = RecordBatch::try_new(schema, vec![new_null_array(&data_type, 1)]).unwrap();
        refused(decode(&encode(&batch), &DecodeLimits::default()), RefusalCode::Schema, message);
    };
    check("duration_ms", DataType::Int64, "unknown column `duration_ms`: did you mean `duration_us`?");
    check("colour", DataType::Int64, "unknown column `colour`");
    check("status", DataType::Int64, "`status` has another type than Int16");
    check("source", DataType::Utf8, "`source` has another type");
    check("request_id", tollgate_attributes::Kind::Name.data_type(), "`request_id` has another type");
    check("time", DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None), "`time` has another type");
    check("trace_id", DataType::FixedSizeBinary(8), "`trace_id` has another type");
}

#[test]
fn impossible_values_are_refused() {
    let check = |row: Row<'_>, message: &str| refused(admit_rows(&[good_row(), row]), RefusalCode::Value, message);
    check(Row { time: NOW_US - 25 * 3_600_000_000, ..good_row() }, "90000 s in the past");
    check(Row { time: NOW_US + 6 * 60_000_000, ..good_row() }, "360 s in the future");
    check(Row { time: i64::MIN, ..good_row() }, "in the past");
    check(Row { time: i64::MAX, ..good_row() }, "in the future");
    check(Row { duration_us: -1, ..good_row() }, "`duration_us` is -1");
    check(Row { upstream_us: Some(-5), ..good_row() }, "`upstream_us` is -5");
    check(Row { response_bytes: i64::MAX, ..good_row() }, "`response_bytes` is 9223372036854775807");
    check(Row { status: Some(1_000), ..good_row() }, "`status` is 1000");
    check(Row { weight: 0, ..good_row() }, "`weight` is 0");
    check(Row { decision: "maybe", ..good_row() }, "`decision`: unknown decision `maybe`");
    check(Row { direction: "up", ..good_row() }, "`direction`: unknown direction `up`");
    check(Row { priority: "urgent", ..good_row() }, "`priority`: unknown priority `urgent`");
    check(Row { reporter: "catalog-2", ..good_row() }, "`reporter` is `catalog-2` on the stream of `catalog-1`");
    check(Row { reporter: "", ..good_row() }, "`reporter` of a row is null");
    assert!(admit_rows(&[Row { decision: "", direction: "", priority: "", status: None, ..good_row() }]).is_ok());
}

#[test]
fn sizes_are_limited_before_anything_is_decoded() {
    let bytes = encode(&batch(&[good_row()]));
    let small = DecodeLimits { message_bytes_max: bytes.len() - 1, ..DecodeLimits::default() };
    refused(decode(&bytes, &small), RefusalCode::TooLarge, "at most");
    let few = DecodeLimits { rows_max: 1, ..DecodeLimits::default() };
    refused(decode(&encode(&batch(&[good_row(), good_row()])), &few), RefusalCode::Rows, "a batch of 2 rows");
    let tight = DecodeLimits { decoded_bytes_max: 100, ..DecodeLimits::default() };
    refused(decode(&bytes, &tight), RefusalCode::TooLarge, "more than 100 bytes decompressed");
    refused(decode(&encode(&batch(&[])), &DecodeLimits::default()), RefusalCode::Rows, "a batch of 0 rows");
}

#[test]
fn a_stream_holds_exactly_one_batch() {
    let rows = batch(&[good_row()]);
    let two = encode_with(&[rows.clone(), concat_batches(&schema(), [&rows, &rows]).unwrap()], None);
    assert_eq!(decode(&two, &DecodeLimits::default()).unwrap_err().code, RefusalCode::Malformed);
    let mut trailing = encode(&rows);
    trailing.extend_from_slice(b"more");
    refused(decode(&trailing, &DecodeLimits::default()), RefusalCode::Malformed, "something follows");
    refused(decode(b"", &DecodeLimits::default()), RefusalCode::Malformed, "a schema was expected");
    refused(decode(b"GET / HTTP/1.1\r\n", &DecodeLimits::default()), RefusalCode::Malformed, "the marker");
}

#[test]
fn a_buffer_that_claims_more_than_it_has_is_refused() {
    let bytes = encode(&batch(&vec![Row { path: "/a-rather-long-path", ..good_row() }; 500]));
    // The frame of LZ4 begins with this magic number; before it stands the claimed length.
    let magic = [0x04, 0x22, 0x4d, 0x18];
    let frames: Vec<usize> = (8..bytes.len() - 4).filter(|at| bytes[*at..*at + 4] == magic).collect();
    assert!(!frames.is_empty());
    for at in frames {
        for claim in [i64::MAX, 1 << 40, 1 << 25, 1, -2, i64::MIN] {
            let mut lying = bytes.clone();
            lying[at - 8..at].copy_from_slice(&claim.to_le_bytes());
            assert!(decode(&lying, &DecodeLimits::default()).is_err(), "a claim of {claim} bytes");
        }
    }
}

/// Among them the lengths that metadata claim of buffers, which need be of no whole number of values. Without the guard that would
/// turn a panic into a refusal.
#[test]
fn no_single_changed_byte_breaks_anything() {
    let policies: [Arc<str>; 1] = ["a".into()];
    let row = Row { source: "shop/a", policies: &policies, ..good_row() };
    let bytes = encode_with(&[batch(&[row, good_row()])], None);
    let mut admitted = 0;
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] = changed[at].wrapping_add(1);
        admitted += usize::from(decode_unguarded(&changed, &DecodeLimits::default()).is_ok());
    }
    assert!(admitted > 0 && admitted < bytes.len(), "{admitted} of {} were admitted", bytes.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert!(decode(&bytes, &DecodeLimits::default()).is_err());
    }

    #[test]
    fn a_mutated_batch_is_admitted_or_refused_and_never_more(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
        is_compressed in any::<bool>(),
    ) {
        let policies: [Arc<str>; 2] = ["a".into(), "b".into()];
        let labels = [(Arc::from("x-tenant"), "acme".to_owned())];
        let row = Row { source: "shop/a", policies: &policies, labels: &labels, request_id: "r", ..good_row() };
        let rows = batch(&[row, good_row(), row, row]);
        let mut bytes = encode_with(&[rows], is_compressed.then_some(CompressionType::LZ4_FRAME));
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(batch) = admit(&bytes, &DecodeLimits::default(), ARRIVAL) {
            // Whatever was admitted can be used: every value can be read.
            let text = arrow::util::pretty::pretty_format_batches(&[batch]).unwrap().to_string();
            prop_assert!(!text.is_empty());
        }
    }
}
