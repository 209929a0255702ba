use proptest::prelude::*;

use super::super::segment::{self, Place};
use super::*;

/// Written by version 1; see the test that reads it.
const SAMPLE: &[u8] = include_bytes!("../../../tests/format/log-v1.log");

#[test]
fn the_sample_of_version_1_is_read_for_ever() {
    let (header, reader) = read_segment(SAMPLE).unwrap();
    assert_eq!((header.engine.as_str(), header.first), ("5f0c", Position(1_000)));
    let records: Vec<SegmentRecord<'_>> = reader
        .map(|step| match step {
            Step::Record(record) => record,
            Step::Damage(range) => panic!("damage at {range:?}"),
        })
        .collect();
    let expected: [(u64, &str, &[u8]); 3] =
        [(1_000, "catalog-1", b"first payload"), (1_001, "", b""), (1_002, "gr\u{fc}n", &[0xff; 300])];
    assert_eq!(records.len(), expected.len());
    for (record, (position, reporter, payload)) in records.iter().zip(expected) {
        assert_eq!((record.position, record.reporter, record.payload), (Position(position), reporter, payload));
        assert_eq!((record.durable, record.schema), (Position(999), 0xabcd));
        assert_eq!((record.epoch, record.sequence), (u64::MAX, position * 2));
        assert_eq!((record.received_us, record.rows), (-5, position as u32));
    }
}

/// A segment as version 1 writes it.
fn encoded(records: &[(u64, &str, Vec<u8>)]) -> Vec<u8> {
    let first = Position(records.first().map_or(1, |(position, ..)| *position));
    let header = SegmentHeader { engine: "5f0c".to_owned(), first, salt: 0x1234_5678 };
    let mut bytes = header.encode().to_vec();
    for (position, reporter, payload) in records {
        let record = Record {
            reporter: (*reporter).into(),
            epoch: u64::MAX,
            sequence: position * 2,
            received_us: -5,
            rows: *position as u32,
            payload: payload.clone().into(),
        };
        let place = Place { position: Position(*position), durable: Position(first.0 - 1), schema: 0xabcd };
        segment::encode_record(&record, place, header.salt, &mut bytes);
        bytes.extend(payload);
    }
    bytes
}

#[test]
fn what_is_written_today_is_what_the_sample_holds() {
    let records =
        [(1_000, "catalog-1", b"first payload".to_vec()), (1_001, "", vec![]), (1_002, "gr\u{fc}n", vec![0xff; 300])];
    assert_eq!(
        encoded(&records),
        SAMPLE,
        "the format has changed: give it a new version, and keep reading the old one"
    );
}

#[test]
fn a_record_within_a_payload_is_no_record() {
    let inner = encoded(&[(2, "mallory", b"forged".to_vec())])[96..].to_vec();
    let header = SegmentHeader { engine: "5f0c".to_owned(), first: Position(1), salt: 99 };
    let mut bytes = header.encode().to_vec();
    bytes.extend([7; 64]);
    bytes.extend(inner);
    let (_, reader) = read_segment(&bytes).unwrap();
    assert!(reader.into_iter().all(|step| matches!(step, Step::Damage(_))));
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_their_end(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        with_header in any::<bool>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut segment = encoded(&[(5, "a", vec![1; 30]), (6, "b", b"TGRCTGRC".to_vec()), (7, "c", bytes.clone())]);
        if !with_header {
            segment = bytes;
        }
        for (at, value) in flips {
            if !segment.is_empty() {
                let at = at.index(segment.len());
                segment[at] = value;
            }
        }
        if let Ok((_, reader)) = read_segment(&segment) {
            let mut end = 96;
            for step in reader {
                let range = match step {
                    Step::Record(record) => record.bytes,
                    Step::Damage(range) => range,
                };
                prop_assert_eq!(range.start, end);
                prop_assert!(range.end > range.start);
                end = range.end;
            }
            prop_assert_eq!(end, segment.len());
        }
    }
}
