use proptest::prelude::*;

use super::*;
use crate::disk::failing::{FailingDisk, Fault};

fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_torn_tail_is_cut_off_wherever_it_is_torn() {
    let whole = tempfile::tempdir().unwrap();
    write(whole.path(), 1..=3, 50);
    let bytes = std::fs::read(&segments(whole.path())[0]).unwrap();
    let ends = [96, 211, 326, 441];
    assert_eq!(bytes.len(), ends[3]);
    for cut in 0..bytes.len() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("log")).unwrap();
        let path = dir.path().join("log").join(segments(whole.path())[0].file_name().unwrap());
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let opened = open_local(dir.path(), 0);
        let records = ends[1..].iter().filter(|end| **end <= cut).count() as u64;
        assert_eq!(opened.records, (1..=records).map(|number| (number, number)).collect::<Vec<_>>(), "cut at {cut}");
        let kept = ends.iter().filter(|end| **end <= cut).max().copied().unwrap_or(0);
        assert_eq!(opened.found.torn_bytes as usize, cut - kept, "cut at {cut}");
        assert!(opened.found.damaged.is_empty() && opened.found.aside.is_empty());
        let next = opened.log.push(record(9, "next"), ()).unwrap();
        assert_eq!(next, Position(records + 1));
        opened.log.close();
        assert_eq!(open_local(dir.path(), 0).records.len() as u64, records + 1, "cut at {cut}");
    }
}

#[test]
fn damage_before_acknowledged_records_is_named_and_the_rest_served() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_local(dir.path(), 0);
    for sequence in 1..=4 {
        opened.log.push(record(sequence, vec![1; 50]), ()).unwrap();
        opened.durable.recv().unwrap();
    }
    opened.log.close();
    let path = segments(dir.path())[0].clone();
    damage(&path, |bytes| bytes[96 + 115 + 80] ^= 1);
    let opened = open_local(dir.path(), 0);
    assert_eq!(opened.records, [(1, 1), (3, 3), (4, 4)]);
    assert_eq!(opened.found.damaged.len(), 1);
    assert_eq!(opened.found.damaged[0].missing, (Position(2), Position(2)));

    opened.log.push(record(5, "next"), ()).unwrap();
    opened.durable.recv().unwrap();
    opened.log.remove_through(Position(4)).unwrap();
    assert!(!path.exists());
    assert!(dir.path().join("aside").join(path.file_name().unwrap()).exists(), "a damaged segment is kept");
}

#[test]
fn a_record_after_a_torn_one_of_the_same_group_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 1..=4, 50);
    // All were written before any was acknowledged.
    damage(&segments(dir.path())[0], |bytes| bytes[96 + 115 + 80] = 0);
    let opened = open_local(dir.path(), 0);
    assert_eq!(opened.records, [(1, 1)]);
    assert!(opened.found.damaged.is_empty());
    assert_eq!(opened.found.torn_bytes, 345);
}

#[test]
fn foreign_newer_and_damaged_files_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 1..=2, 10);
    write(dir.path(), 3..=4, 10);
    let [first, second] = &segments(dir.path())[..] else { panic!("two segments") };
    std::fs::copy(first, dir.path().join("log/other-0000000000000001.log")).unwrap();
    std::fs::write(dir.path().join("log/notes.txt"), "mine").unwrap();
    damage(second, |bytes| bytes[8] = 2);
    let opened = open_local(dir.path(), 0);
    assert_eq!(opened.records, [(1, 1), (2, 2)]);
    let mut reasons: Vec<&str> = opened.found.aside.iter().map(|aside| aside.reason.as_str()).collect();
    reasons.sort_unstable();
    let foreign = "has no name of a log segment of this engine";
    assert_eq!(reasons, [foreign, foreign, "has version 2, and this engine reads versions up to 1"]);
    assert!(opened.found.aside.iter().all(|aside| aside.moved_to.as_ref().unwrap().exists()));
    assert!(opened.log.push(record(5, "x"), ()).unwrap() > Position(4), "its positions are not given out again");
}

#[test]
fn a_missing_segment_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    for first in [1, 3, 5] {
        write(dir.path(), first..=first + 1, 10);
    }
    std::fs::remove_file(&segments(dir.path())[1]).unwrap();
    let opened = open_local(dir.path(), 0);
    assert_eq!(opened.records, [(1, 1), (2, 2), (5, 5), (6, 6)]);
    assert_eq!(opened.found.damaged[0].missing, (Position(3), Position(4)));
    drop(opened);
    assert!(open_local(dir.path(), 4).found.damaged.is_empty(), "what is sealed is not missed");
}

/// The second of three segments cannot be read: the third is served, and stays as it is.
fn check_unreadable_between(change: impl FnOnce(&mut Vec<u8>), reason: &str) {
    let dir = tempfile::tempdir().unwrap();
    for first in [1, 3, 5] {
        write(dir.path(), first..=first + 1, 10);
    }
    let files = segments(dir.path());
    let last = std::fs::read(&files[2]).unwrap();
    damage(&files[1], change);
    let opened = open_local(dir.path(), 0);
    assert_eq!(opened.records, [(1, 1), (2, 2), (5, 5), (6, 6)], "{reason}");
    let name = files[1].file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(opened.found.damaged, [DamagedSegment { name, missing: (Position(3), Position(4)) }]);
    assert_eq!(opened.found.aside.iter().map(|aside| aside.reason.as_str()).collect::<Vec<_>>(), [reason]);
    assert_eq!((opened.found.torn_bytes, std::fs::read(&files[2]).unwrap()), (0, last), "nothing is cut off");
    assert_eq!(opened.log.push(record(7, "x"), ()).unwrap(), Position(7), "no position is passed over");
    drop(opened);
    assert!(open_local(dir.path(), 4).found.damaged.is_empty(), "what is sealed is not missed");
}

#[test]
fn an_unreadable_segment_does_not_hide_the_ones_after_it() {
    check_unreadable_between(|bytes| bytes[40] ^= 1, "has a damaged header");
    check_unreadable_between(|bytes| bytes[8] = 2, "has version 2, and this engine reads versions up to 1");
    check_unreadable_between(|bytes| bytes.truncate(20), "has no complete header");
    check_unreadable_between(Vec::clear, "has no complete header");
}

/// Appends, failures, crashes and restarts in any order: what was durable is there after each.
fn survives(seed: u64, steps: &[(u64, u8, u8)]) {
    let dir = tempfile::tempdir().unwrap();
    let graves = dir.path().join("graves");
    std::fs::create_dir(&graves).unwrap();
    let disk = FailingDisk::new(&graves, seed);
    let options = options(dir.path(), Arc::new(disk.clone()));
    let (mut durable, mut sequence) = (0, 0);
    for (after, fault, records) in steps {
        let Ok(opened) = open(&options, 0) else {
            disk.restart();
            continue;
        };
        let found: Vec<u64> = opened.records.iter().map(|(_, sequence)| *sequence).collect();
        assert!(found.len() >= durable, "{} records were durable, {} are there", durable, found.len());
        assert_eq!(opened.records, (1..).zip(found.iter().copied()).collect::<Vec<_>>(), "dense positions");
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "each once and in order: {found:?}");
        assert!(opened.found.damaged.is_empty() && opened.found.aside.is_empty(), "{:?}", opened.found);
        durable = found.len();
        disk.fail_at(disk.operations() + after, if *fault == 0 { Fault::Error } else { Fault::Crash });
        for _ in 0..*records {
            sequence += 1;
            drop(opened.log.push(record(sequence, vec![sequence as u8; 40]), ()));
            if sequence % 2 == 0 && !disk.is_down() {
                let wait = std::time::Duration::from_millis(400);
                durable += usize::from(opened.durable.recv_timeout(wait).is_ok());
            }
        }
        opened.log.close();
        durable += opened.durable.try_iter().count();
        if *fault == 1 || disk.is_down() {
            disk.crash();
            disk.restart();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_was_durable_survives_failures_and_crashes(
        seed in any::<u64>(),
        steps in prop::collection::vec((0_u64..12, 0_u8..3, 0_u8..5), 1..10),
    ) {
        survives(seed, &steps);
    }
}
