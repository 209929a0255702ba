//! The engine comes, goes and comes back.

use http::StatusCode;

use crate::backend;
use crate::client::{Protocol, get, send};
use crate::engine::{Engine, snapshot};
use crate::harness::{PERMIT_ALL, Running, inbound_yaml, nowhere};

#[tokio::test]
async fn without_a_snapshot_it_denies_and_says_when_to_come_back() {
    let address = nowhere();
    let proxy = Running::start(address, &inbound_yaml(backend::start().await, ""));
    let answer = send(proxy.inbound_address(), Protocol::Http1, get("/", &[])).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    assert_eq!(answer.json()["reason"], "no_snapshot");
    let ready = send(proxy.addresses.admin.unwrap(), Protocol::Http1, get("/readyz", &[])).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);

    // The engine appears: policies come in, and the row from before goes out.
    let engine = Engine::start_at(address, snapshot(1, PERMIT_ALL, ""));
    engine.wait(|received| received.acknowledged.contains(&1)).await;
    assert_eq!(send(proxy.inbound_address(), Protocol::Http1, get("/", &[])).await.status, StatusCode::OK);
    let rows = engine.rows(2).await;
    let reasons: Vec<_> = rows.iter().map(|row| (&*row["reason"], &*row["snapshot"])).collect();
    assert_eq!(reasons, [("no_snapshot", "0"), ("permitted", "1")]);
}

#[tokio::test]
async fn without_a_snapshot_it_allows_where_that_is_chosen() {
    let proxy = Running::start(nowhere(), &inbound_yaml(backend::start().await, "without_snapshot: allow"));
    assert_eq!(send(proxy.inbound_address(), Protocol::Http1, get("/", &[])).await.status, StatusCode::OK);
    let ready = send(proxy.addresses.admin.unwrap(), Protocol::Http1, get("/readyz", &[])).await;
    assert_eq!(ready.status, StatusCode::OK);
}

#[tokio::test]
async fn goes_on_with_the_last_snapshot_and_loses_no_row() {
    let forbid = "permit (principal, action, resource) unless { context.path == \"/no\" };";
    let engine = Engine::start(snapshot(5, forbid, ""));
    let proxy = Running::inbound(&engine, backend::start().await, "").await;
    let status = async |path: &str| send(proxy.inbound_address(), Protocol::Http1, get(path, &[])).await.status;
    engine.set_acknowledges(false);
    assert_eq!(status("/unacknowledged").await, StatusCode::OK);
    engine.rows(1).await;
    let address = engine.address;
    drop(engine);

    assert_eq!(status("/away").await, StatusCode::OK);
    assert_eq!(status("/no").await, StatusCode::FORBIDDEN);

    let engine = Engine::start_at(address, snapshot(6, forbid, ""));
    let mut paths: Vec<_> = engine.rows(3).await.iter().map(|row| row["path"].clone()).collect();
    paths.sort();
    assert_eq!(paths, ["/away", "/no", "/unacknowledged"]);
    let sequences = engine.received(|received| received.sequences.clone());
    assert_eq!(sequences[0], 1, "what was not acknowledged is sent again with its number");
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequences:?}");
}

#[tokio::test]
async fn when_the_buffer_is_full_the_oldest_rows_go_and_are_counted() {
    let address = nowhere();
    let more = "workers: 1\nwithout_snapshot: allow\nbuffers: { bytes: 64KiB, batch_rows: 10 }";
    let proxy = Running::start(address, &inbound_yaml(backend::start().await, more));
    let padding = "x".repeat(600);
    for index in 0..300 {
        let path = format!("/{index}/{}", fastrand_text(&padding));
        send(proxy.inbound_address(), Protocol::Http1, get(&path, &[])).await;
    }
    let engine = Engine::start_at(address, snapshot(1, PERMIT_ALL, ""));
    engine.wait(|received| received.rows.iter().any(|row| row["path"].starts_with("/299/"))).await;
    engine.wait(|received| !received.losses.is_empty()).await;
    let (rows, lost) = engine.received(|received| (received.rows.len() as u64, received.losses["buffer_full"]));
    assert_eq!(rows + lost, 300);
    assert!(lost > 0 && rows > 0, "{rows} rows, {lost} lost");
    assert!(engine.received(|received| received.rows.iter().all(|row| !row["path"].starts_with("/0/"))));
}

/// Text that does not compress.
fn fastrand_text(like: &str) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(like.len()).collect()
}
