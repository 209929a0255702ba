use std::time::{Duration, Instant};

use super::*;
use crate::disk::failing::{FailingDisk, Fault};

fn failing(dir: &Path) -> FailingDisk {
    let graves = dir.join("graves");
    std::fs::create_dir_all(&graves).unwrap();
    FailingDisk::new(&graves, 1)
}

#[test]
fn records_get_dense_positions_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 1..=3, 10);
    write(dir.path(), 4..=6, 10);
    let opened = open_local(dir.path(), 2);
    assert_eq!(opened.records, [(3, 3), (4, 4), (5, 5), (6, 6)]);
    assert_eq!(opened.log.push(record(7, "x"), ()).unwrap(), Position(7));
    assert_eq!(opened.durable.recv().unwrap(), (Position(7), 7));
}

#[test]
fn one_sync_serves_many_records_and_a_single_one_does_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_local(dir.path(), 0);
    for sequence in 1..=500 {
        opened.log.push(record(sequence, "payload"), ()).unwrap();
    }
    opened.log.close();
    let status = opened.log.status();
    assert_eq!(status.records, 500);
    assert!(status.syncs < 100, "{} syncs for records that came at once", status.syncs);
    assert_eq!(status.sync_counts.iter().sum::<u64>(), status.syncs);
    assert!(opened.log.push(record(501, "x"), ()).is_err(), "a closed log takes no record");
}

#[test]
fn segments_are_removed_once_all_their_records_are_sealed() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 1..=20, 8 << 20);
    let opened = open_local(dir.path(), 0);
    assert_eq!(opened.records.len(), 20);
    let files = segments(dir.path());
    assert_eq!(files.len(), 3, "seven records of 8 MiB make a segment");
    opened.log.remove_through(Position(6)).unwrap();
    assert_eq!(segments(dir.path()), files);
    opened.log.remove_through(Position(7)).unwrap();
    assert_eq!(segments(dir.path()), files[1..]);
    opened.log.remove_through(Position(20)).unwrap();
    assert_eq!(segments(dir.path()), files[2..], "the last one stays");
    assert_eq!(opened.log.status().segments, 1);
}

#[test]
fn a_segment_that_cannot_be_set_aside_keeps_no_other() {
    let dir = tempfile::tempdir().unwrap();
    for first in [1, 3, 5] {
        write(dir.path(), first..=first + 1, 10);
    }
    let files = segments(dir.path());
    let mut bytes = std::fs::read(&files[0]).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&files[0], bytes).unwrap();
    let opened = open_local(dir.path(), 0);
    assert_eq!(opened.found.damaged.len(), 1);
    let aside = dir.path().join("aside");
    std::fs::write(&aside, "in the way").unwrap();
    let error = opened.log.remove_through(Position(6)).unwrap_err();
    assert!(error.to_string().contains("aside"), "{error}");
    assert_eq!(segments(dir.path()), [files[0].clone(), files[2].clone()]);
    assert_eq!(opened.log.status().segments, 2);

    std::fs::remove_file(&aside).unwrap();
    opened.log.remove_through(Position(6)).unwrap();
    assert_eq!(segments(dir.path()), files[2..]);
    assert!(aside.join(files[0].file_name().unwrap()).exists(), "it is tried again");
}

#[test]
fn a_damaged_segment_that_is_not_there_counts_as_removed() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 1..=2, 10);
    write(dir.path(), 3..=4, 10);
    let files = segments(dir.path());
    let mut bytes = std::fs::read(&files[0]).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&files[0], bytes).unwrap();
    let opened = open_local(dir.path(), 0);
    std::fs::remove_file(&files[0]).unwrap();
    opened.log.remove_through(Position(4)).unwrap();
    assert_eq!((segments(dir.path()), opened.log.status().segments), (files[1..].to_vec(), 1));
}

#[test]
fn a_full_disk_delays_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let disk = failing(dir.path());
    let options = options(dir.path(), Arc::new(disk.clone()));
    let opened = open(&options, 0).unwrap();
    opened.log.push(record(1, "before"), ()).unwrap();
    opened.durable.recv().unwrap();
    disk.set_full(true);
    opened.log.push(record(2, vec![7; 100_000]), ()).unwrap();
    wait_for(|| matches!(opened.log.status().disk, DiskState::Full { .. }));
    assert!(opened.durable.try_recv().is_err());
    disk.set_full(false);
    assert_eq!(opened.durable.recv().unwrap(), (Position(2), 2));
    assert_eq!(opened.log.status().disk, DiskState::Good);
    opened.log.close();
    let found = open(&options, 0).unwrap();
    assert_eq!((found.records, found.found.torn_bytes), (vec![(1, 1), (2, 2)], 0));
}

#[test]
fn after_a_failed_sync_records_are_written_again_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let disk = failing(dir.path());
    let options = options(dir.path(), Arc::new(disk.clone()));
    let opened = open(&options, 0).unwrap();
    opened.log.push(record(1, "one"), ()).unwrap();
    opened.durable.recv().unwrap();
    // A write, then the sync that fails.
    disk.fail_at(disk.operations() + 1, Fault::Error);
    opened.log.push(record(2, "two"), ()).unwrap();
    assert_eq!(opened.durable.recv().unwrap(), (Position(2), 2));
    assert_eq!(opened.log.status().failures, 1);
    assert_eq!(segments(dir.path()).len(), 2);
    disk.crash();
    opened.log.close();
    disk.restart();
    assert_eq!(open(&options, 0).unwrap().records, [(1, 1), (2, 2)]);
}

#[test]
fn a_log_in_memory_passes_records_on() {
    let (sender, durable) = channel();
    let sink = move |group: Vec<Entry<u8>>| {
        group.iter().for_each(|entry| sender.send((entry.position, entry.item)).unwrap_or_default())
    };
    let log = Log::in_memory(Position(5), Box::new(sink)).unwrap();
    log.push(record(1, "x"), 9).unwrap();
    assert_eq!(durable.recv().unwrap(), (Position(5), 9));
    log.remove_through(Position(5)).unwrap();
}

fn wait_for(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}
