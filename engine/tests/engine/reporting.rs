//! Rows: kept once, or refused with a reason.

use tollgate_api::v1;
use tollgate_attributes::Row;
use tollgate_engine::SessionError;

use crate::harness::{Running, encode, hello, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_sent_again_is_kept_once() {
    let running = Running::start().await;
    let bytes = encode(&[request("catalog-1"), request("catalog-1")]);
    let batch = |sequence| v1::Batch { sequence, arrow_ipc: bytes.clone().into() };
    let first = running.engine.report(hello("catalog-1")).unwrap();
    for sequence in [1, 2, 2, 1, 3] {
        let _ = first.admit(batch(sequence)).await;
    }
    let second = running.engine.report(hello("catalog-1")).unwrap();
    assert_eq!(second.acknowledged().acknowledged_sequence, 3);
    let response = second.admit(batch(3)).await;
    assert_eq!((response.acknowledged_sequence, response.rejections.len()), (3, 0));
    assert_eq!(running.number("SELECT count(*) FROM requests").await, 6);

    let restarted = running.engine.report(v1::ReportHello { epoch: 2, ..hello("catalog-1") }).unwrap();
    assert_eq!(restarted.acknowledged().acknowledged_sequence, 0);
    let _ = restarted.admit(batch(1)).await;
    assert_eq!(running.number("SELECT count(*) FROM requests").await, 8);
    assert_eq!(running.number("SELECT duplicates FROM reporters WHERE name = 'catalog-1'").await, 3);
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_batch_is_rejected_and_the_stream_lives_on() {
    let running = Running::start().await;
    let session = running.engine.report(hello("catalog-1")).unwrap();
    let bad = [
        (1, b"no arrow at all".to_vec(), "malformed"),
        (2, encode(&[Row { duration_us: -1, ..request("catalog-1") }]), "value"),
        (3, encode(&[request("somebody-else")]), "value"),
        (4, encode(&[]), "rows"),
        (5, vec![0; 5 << 20], "too_large"),
    ];
    for (sequence, bytes, code) in bad {
        let response = session.admit(v1::Batch { sequence, arrow_ipc: bytes.into() }).await;
        assert_eq!(response.acknowledged_sequence, sequence);
        assert_eq!(response.rejections[0].code, code, "{:?}", response.rejections);
        assert_eq!(response.rejections[0].sequence, sequence);
    }
    let good = encode(&[request("catalog-1")]);
    let response = session.admit(v1::Batch { sequence: 6, arrow_ipc: good.into() }).await;
    assert!(response.rejections.is_empty());
    assert_eq!(running.number("SELECT rejected FROM reporters WHERE name = 'catalog-1'").await, 5);
    assert_eq!(running.number("SELECT count(*) FROM requests").await, 1);
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn losses_and_presence_are_in_the_table_of_reporters() {
    let running = Running::start().await;
    let session = running.engine.report(hello("catalog-1")).unwrap();
    let losses = |rows| v1::Losses { losses: vec![v1::Loss { reason: "buffer_full".to_owned(), rows }] };
    session.losses(&losses(10));
    session.losses(&losses(12));
    let row = "SELECT connected, lost_rows, lost['buffer_full'] AS buffer_full, agent FROM reporters";
    insta::assert_snapshot!(running.table(row).await, @r"
    +-----------+-----------+-------------+--------+
    | connected | lost_rows | buffer_full | agent  |
    +-----------+-----------+-------------+--------+
    | true      | 12        | 12          | test/1 |
    +-----------+-----------+-------------+--------+
    ");
    drop(session);
    assert_eq!(running.number("SELECT count(*) FROM reporters WHERE NOT connected").await, 1);
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_introduce_itself_is_refused() {
    let running = Running::start().await;
    for name in ["", "a\nb", &"x".repeat(300)] {
        let error = running.engine.report(hello(name)).err().unwrap();
        assert!(matches!(error, SessionError::Name { .. }), "{error}");
    }
    assert_eq!(running.engine.watch(&v1::WatchRequest::default()).err().unwrap(), SessionError::NoHello);
    running.engine.shutdown().await;
    assert_eq!(running.engine.report(hello("late")).err().unwrap(), SessionError::ShuttingDown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_shows_each_row_once_when_it_is_kept() {
    let running = Running::start().await;
    let bytes = encode(&[request("catalog-1"), request("catalog-1")]);
    let batch = |sequence| v1::Batch { sequence, arrow_ipc: bytes.clone().into() };
    let session = running.engine.report(hello("catalog-1")).unwrap();
    let _ = session.admit(batch(1)).await;
    let mut tap = running.engine.tap();
    for sequence in [1, 2, 2, 3] {
        let _ = session.admit(batch(sequence)).await;
    }
    let _ = session.admit(v1::Batch { sequence: 4, arrow_ipc: b"no arrow".to_vec().into() }).await;
    drop(session);
    running.engine.shutdown().await;
    let mut seen = Vec::new();
    while let Some(rows) = tap.recv().await {
        assert!(rows.column_by_name("status").is_some());
        seen.push(rows.num_rows());
    }
    assert_eq!((seen, tap.missed()), (vec![2, 2], 0));
}
