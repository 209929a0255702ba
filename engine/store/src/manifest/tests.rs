use std::fs;

use super::*;
use crate::LocalDisk;
use crate::Position;
use crate::disk::failing::{FailingDisk, Fault};
use crate::marks::Mark;

fn file(key: &str, through: u64, rows: u64) -> FileEntry {
    FileEntry {
        table: "requests".into(),
        key: key.into(),
        bytes: 10,
        rows,
        time_min_us: 1,
        time_max_us: 2,
        from: Position(1),
        through: Position(through),
        sorted: false,
        crc32c: 7,
    }
}

fn seal(manifest: &Manifest, through: u64) -> Entry {
    let mark = Mark { reporter: "r".into(), epoch: 1, sequence: through, heard_us: 3 };
    let marks = manifest.changed(&[mark].into_iter().collect());
    let from = manifest.catalog().sealed_through.next();
    Entry::Seal {
        generation: through,
        from,
        through: Position(through),
        marks,
        add: vec![file(&format!("k{through}"), through, 5)],
    }
}

fn create(dir: &Path) -> Manifest {
    Manifest::create(Arc::new(LocalDisk), dir, "e1".into(), Place::Local).unwrap()
}

fn reopen(dir: &Path) -> Manifest {
    Manifest::open(Arc::new(LocalDisk), dir, "e1".into()).unwrap().unwrap()
}

#[test]
fn entries_add_up_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut manifest = create(dir.path());
    for through in [3, 4, 9] {
        manifest.append(seal(&manifest, through)).unwrap();
    }
    let remove = vec!["k3".to_owned(), "k4".to_owned()];
    manifest.append(Entry::Replace { generation: 10, remove, add: vec![file("c", 4, 9)] }).unwrap();
    manifest.append(Entry::Expire { remove: vec!["k9".into()] }).unwrap();
    let catalog = manifest.catalog().clone();
    assert_eq!(catalog.ledger["requests"], catalog::Ledger { sealed: 15, merged: 1, expired: 5 });
    assert_eq!((catalog.generation, catalog.sealed_through, catalog.marks.sequence("r", 1)), (10, Position(9), 9));
    drop(manifest);

    let mut manifest = reopen(dir.path());
    assert_eq!(*manifest.catalog(), catalog);
    manifest.rewrite().unwrap();
    assert_eq!(*reopen(dir.path()).catalog(), catalog);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "only the newest is kept");
}

#[test]
fn what_cannot_follow_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut manifest = create(dir.path());
    manifest.append(seal(&manifest, 3)).unwrap();
    let gap = Entry::Seal { generation: 9, from: Position(9), through: Position(9), marks: vec![], add: vec![] };
    let unknown = Entry::Expire { remove: vec!["x".into()] };
    let more = Entry::Replace { generation: 9, remove: vec!["k3".into()], add: vec![file("c", 3, 6)] };
    for (entry, problem) in
        [(gap, "records 9 to 9 cannot follow 3"), (unknown, "`x` is removed"), (more, "5 rows cannot become 6")]
    {
        let error = manifest.append(entry).unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
    assert_eq!(reopen(dir.path()).catalog().files.len(), 1);
}

#[test]
fn a_torn_entry_is_cut_off_and_damage_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut manifest = create(dir.path());
    (1..=3).for_each(|through| manifest.append(seal(&manifest, through)).unwrap());
    let path = manifest.path();
    let bytes = fs::read(&path).unwrap();

    fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    let mut manifest = reopen(dir.path());
    assert_eq!(manifest.catalog().sealed_through, Position(2));
    manifest.append(seal(&manifest, 8)).unwrap();
    assert_eq!(reopen(dir.path()).catalog().sealed_through, Position(8));

    let mut damaged = bytes;
    damaged[60] ^= 1;
    fs::write(&path, damaged).unwrap();
    let error = Manifest::open(Arc::new(LocalDisk), dir.path(), "e1".into()).unwrap_err();
    assert!(error.to_string().contains("is damaged: the entry at byte 8 is not what was written"), "{error}");
}

#[test]
fn a_newer_or_foreign_manifest_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = create(dir.path());
    let path = manifest.path();
    let mut bytes = fs::read(&path).unwrap();
    let open = |engine: &str| Manifest::open(Arc::new(LocalDisk), dir.path(), engine.into()).unwrap_err().to_string();
    assert!(open("e2").contains("is another engine's manifest"));
    bytes[4] = 3;
    fs::write(&path, bytes).unwrap();
    let error = open("e1");
    assert!(error.contains(&path.display().to_string()) && error.contains("has version 3"), "{error}");
}

/// Whatever step fails, and wherever the power goes: what was acknowledged is there, and the rest as a whole or not at all.
#[test]
fn every_step_may_fail_or_be_the_last() {
    for fault in [Fault::Error, Fault::Crash] {
        for step in 0..60 {
            check_fault_at(step, fault);
        }
    }
}

fn check_fault_at(step: u64, fault: Fault) {
    let (dir, graves) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = FailingDisk::new(graves.path(), step);
    let dir = dir.path().join("manifest");
    let mut manifest = Manifest::create(Arc::new(disk.clone()), &dir, "e1".into(), Place::Local).ok();
    if manifest.is_none() {
        disk.make_dir(&dir).unwrap();
        manifest = Manifest::create(Arc::new(disk.clone()), &dir, "e1".into(), Place::Local).ok();
    }
    let mut manifest = manifest.unwrap();
    disk.fail_at(disk.operations() + step, fault);
    let (mut acknowledged, mut tried) = (0, 0);
    for through in 1..=12 {
        if through % 4 == 0 && manifest.rewrite().is_err() {
            continue;
        }
        tried = through;
        match manifest.append(seal(&manifest, through)) {
            Ok(()) => acknowledged = through,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
    drop(manifest);
    if fault == Fault::Error {
        assert!(acknowledged >= 11, "it goes on after an error at step {step}");
    }
    disk.crash();
    disk.restart();
    let manifest = Manifest::open(Arc::new(disk), &dir, "e1".into()).unwrap().unwrap();
    let found = manifest.catalog().sealed_through.0;
    assert!((acknowledged..=tried).contains(&found), "{fault:?} at {step}: {found} not in {acknowledged}..={tried}");
    assert_eq!(manifest.catalog().marks.sequence("r", 1), found);
}
