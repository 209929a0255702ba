use super::*;

#[tokio::test]
async fn rows_are_seen_once_before_while_and_after_they_are_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_local(dir.path()).await;
    for sequence in 1..=4 {
        append(&store, 0, sequence).await.unwrap();
    }
    let before = store.view();
    assert_holds(&store, (1..=4).map(|sequence| (0, sequence)));
    store.seal_now().await.unwrap();
    assert_holds(&store, (1..=4).map(|sequence| (0, sequence)));
    assert!(store.view().tables.iter().all(|table| table.hot.is_empty() && !table.files.is_empty()));
    assert!(before.tables.iter().all(|table| !table.hot.is_empty() && table.files.is_empty()), "a view never changes");
    append(&store, 0, 5).await.unwrap();
    assert_holds(&store, (1..=5).map(|sequence| (0, sequence)));

    while store.look_after_files().await.unwrap() {}
    assert_holds(&store, (1..=5).map(|sequence| (0, sequence)));
    store.close().await.unwrap();
    drop(store);
    let (store, recovery) = open(options(dir.path())).await.unwrap();
    assert_eq!((recovery.sealed_through, recovery.position, recovery.log.records), (Position(4), Position(5), 1));
    assert_holds(&store, (1..=5).map(|sequence| (0, sequence)));
}

#[tokio::test]
async fn a_view_does_not_list_a_file_that_compaction_has_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_local(dir.path()).await;
    append(&store, 0, 1).await.unwrap();
    store.seal_now().await.unwrap();
    let damaged = store.view().tables[1].files[0].key.clone();
    std::fs::write(dir.path().join(damaged.as_ref()), "text").unwrap();
    while store.look_after_files().await.is_ok_and(|more| more) {}
    let listed = |table: usize| store.view().tables[table].files.iter().filter(|file| file.key == damaged).count();
    assert_eq!((listed(1), store.status().sealed.aside.len()), (0, 1));
}

#[tokio::test]
async fn compaction_alone_removes_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = tables();
    old[0].retention.age = Some(Duration::from_secs(3_600));
    let (store, _) = Store::open(options(dir.path()), old, Box::new(Count::default()), rederive).await.unwrap();
    for sequence in 1..=3 {
        append(&store, 0, sequence).await.unwrap();
        store.seal_now().await.unwrap();
    }
    while store.compact().await.unwrap() {}
    assert_holds(&store, (1..=3).map(|sequence| (0, sequence)));
    assert!(store.view().tables[0].files.iter().all(|file| file.sorted));
    store.look_after_files().await.unwrap();
    assert!(store.view().tables[0].files.is_empty(), "all of them are old");
}

#[tokio::test]
async fn a_seal_goes_well_although_a_segment_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_local(dir.path()).await;
    for sequence in 1..=3 {
        append(&store, 0, sequence).await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let log = dir.path().join("log");
    let segment = std::fs::read_dir(&log).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    std::fs::write(dir.path().join("aside"), "in the way").unwrap();

    let (store, recovery) = open(options(dir.path())).await.unwrap();
    assert_eq!(recovery.log.damaged.len(), 1);
    append(&store, 0, 4).await.unwrap();
    store.seal_now().await.unwrap();
    assert!(segment.exists() && store.status().sealed_through == store.status().position);
    std::fs::remove_file(dir.path().join("aside")).unwrap();
    append(&store, 0, 5).await.unwrap();
    store.seal_now().await.unwrap();
    assert!(!segment.exists() && dir.path().join("aside").join(segment.file_name().unwrap()).exists());
    assert_holds(&store, (2..=5).map(|sequence| (0, sequence)));
}

#[tokio::test]
async fn sealed_rows_stay_in_memory_within_their_bound() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.memory.resident_bytes = 8_000;
    let (store, _) = open(options).await.unwrap();
    let mut resident = 0;
    for sequence in 1..=40 {
        append(&store, 0, sequence).await.unwrap();
        store.seal_now().await.unwrap();
        resident = store.status().resident_bytes;
        assert!(resident <= 8_000, "{resident}");
    }
    assert!(resident > 4_000, "{resident}");
    let view = store.view();
    let is_resident: Vec<bool> = view.tables[0].files.iter().map(|file| file.resident().is_some()).collect();
    assert!(is_resident.iter().any(|is| *is) && is_resident.iter().any(|is| !is));
    assert_holds(&store, (1..=40).map(|sequence| (0, sequence)));
}

#[tokio::test]
async fn small_batches_are_put_together_but_not_across_a_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_local(dir.path()).await;
    for sequence in 1..=40 {
        append(&store, 0, sequence).await.unwrap();
    }
    store.coalesce();
    assert_eq!(store.stored_view().tables[0].hot.len(), 1);
    for sequence in 41..=60 {
        append(&store, 0, sequence).await.unwrap();
    }
    let cut = store.core.books.lock().cut().unwrap();
    let derived = cut.taken.iter().map(|taken| taken.make().unwrap()).collect();
    assert_eq!(store.core.books.lock().settle(derived, &store.core.view).through, Position(60));
    for sequence in 61..=80 {
        append(&store, 0, sequence).await.unwrap();
    }
    store.coalesce();
    assert_eq!(store.stored_view().tables[0].hot.len(), 22, "what is being sealed stays as it is");
    store.core.books.lock().sealed(None, &store.core.sealed.files(), &store.core.view);
    store.coalesce();
    assert_holds(&store, (1..=80).map(|sequence| (0, sequence)));
    store.seal_now().await.unwrap();
    assert_holds(&store, (1..=80).map(|sequence| (0, sequence)));
}

#[tokio::test]
async fn rows_in_memory_only_are_sealed_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.durability = Durability::Memory;
    let (store, _) = open(options.clone()).await.unwrap();
    append(&store, 0, 1).await.unwrap();
    assert_eq!(store.status().log.segments, 0);
    store.close().await.unwrap();
    drop(store);
    let (store, _) = open(options).await.unwrap();
    assert_holds(&store, [(0, 1)].into_iter());
    assert_eq!(append(&store, 0, 1).await.unwrap(), Appended::Duplicate);
}

#[tokio::test]
async fn records_that_cannot_be_decoded_are_set_aside_and_the_rest_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_local(dir.path()).await;
    for sequence in 1..=3 {
        append(&store, 0, sequence).await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let picky = |record: &Record| match record.sequence {
        2 => Err("dated in the future".to_owned()),
        _ => rederive(record),
    };
    let (store, recovery) =
        Store::open(options(dir.path()), tables(), Box::new(Count::default()), picky).await.unwrap();
    assert_holds(&store, [(0, 1), (0, 3)].into_iter());
    let [aside] = &recovery.aside[..] else { panic!("{:?}", recovery.aside) };
    assert_eq!((aside.reason.as_str(), aside.rows), ("dated in the future", 3));
    assert_eq!(std::fs::read(aside.moved_to.as_ref().unwrap()).unwrap(), batch(0, 2).0.payload);
    assert_eq!(append(&store, 0, 2).await.unwrap(), Appended::Duplicate, "it was acknowledged");
}

#[tokio::test]
async fn a_log_larger_than_memory_is_sealed_while_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_local(dir.path()).await;
    for sequence in 1..=100 {
        append(&store, 0, sequence).await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let mut options = options(dir.path());
    options.memory.hot_bytes = 16_000;
    let (store, recovery) = open(options).await.unwrap();
    assert_eq!(recovery.log.records, 100);
    assert!(store.status().sealed_through > Position(50));
    assert_holds(&store, (1..=100).map(|sequence| (0, sequence)));
}
