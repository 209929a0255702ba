//! Fills an engine with requests, over gRPC, as two reporters would.

use std::time::Duration;

use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use tollgate_api::v1::{self, report_request::Message};
use tollgate_attributes::{BatchBuilder, BatchLimits, Row};

use crate::harness::Engine;

pub(crate) const REPORTERS: usize = 2;
pub(crate) const ROWS: usize = 8_192;
/// Batches that a reporter sends ahead of the acknowledgements.
const AHEAD: usize = 4;

/// Sends so many batches from each reporter, of which so many differ.
pub(crate) async fn fill(engine: &Engine, distinct: usize, count: u64) -> anyhow::Result<()> {
    send(engine, batches(distinct)?, count).await
}

/// Batches of each reporter.
fn batches(distinct: usize) -> anyhow::Result<Vec<Vec<bytes::Bytes>>> {
    let of_reporter = |n: usize| (0..distinct).map(|number| batch(n, number as u64)).collect();
    (0..REPORTERS).map(of_reporter).collect()
}

async fn send(engine: &Engine, batches: Vec<Vec<bytes::Bytes>>, count: u64) -> anyhow::Result<()> {
    let grpc = || engine.grpc.to_string();
    let reporters = batches.into_iter().enumerate().map(|(n, batches)| tokio::spawn(report(grpc(), n, batches, count)));
    for reporter in reporters.collect::<Vec<_>>() {
        reporter.await??;
    }
    Ok(())
}

async fn report(grpc: String, n: usize, batches: Vec<bytes::Bytes>, count: u64) -> anyhow::Result<()> {
    let mut client = v1::telemetry_client::TelemetryClient::connect(format!("http://{grpc}")).await?;
    let (sender, receiver) = tokio::sync::mpsc::channel(AHEAD);
    let hello = v1::ReportHello { reporter: format!("bench-{n}"), epoch: 1, agent: "bench".into() };
    sender.send(v1::ReportRequest { message: Some(Message::Hello(hello)) }).await?;
    let mut answers = client.report(tokio_stream::wrappers::ReceiverStream::new(receiver)).await?.into_inner();
    let sending = tokio::spawn(async move {
        for (sequence, arrow_ipc) in (1..=count).zip(batches.iter().cycle().cloned()) {
            let batch = v1::Batch { sequence, arrow_ipc };
            if sender.send(v1::ReportRequest { message: Some(Message::Batch(batch)) }).await.is_err() {
                break;
            }
        }
    });
    while let Some(answer) = tokio::time::timeout(Duration::from_secs(60), answers.message()).await?? {
        anyhow::ensure!(answer.rejections.is_empty(), "{:?}", answer.rejections);
        if answer.acknowledged_sequence == count {
            break;
        }
    }
    Ok(sending.await?)
}

/// Rows as a mesh of 50 services, 200 routes and 1,000 users makes them, encoded as a proxy encodes them.
fn batch(n: usize, number: u64) -> anyhow::Result<bytes::Bytes> {
    let reporter = format!("bench-{n}");
    let policies = ["storefront-calls-catalog".into()];
    let now = i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros())?;
    let mut random = fastrand::Rng::with_seed(n as u64 + number * REPORTERS as u64);
    let mut builder = BatchBuilder::new(BatchLimits { rows_max: ROWS, bytes_max: usize::MAX });
    for row in 0..ROWS {
        let (source, destination) = (format!("shop/s{}", random.u8(..50)), format!("shop/s{}", random.u8(..50)));
        let route = format!("/r{}/{{id}}", random.u8(..200));
        let _ = builder.push(&Row {
            time: now + row as i64,
            reporter: &reporter,
            direction: "inbound",
            source: &source,
            source_namespace: "shop",
            source_address: "10.0.0.1",
            destination: &destination,
            destination_namespace: "shop",
            destination_address: "10.0.1.1:8080",
            user: &format!("user-{}", random.u16(..1_000)),
            method: "GET",
            scheme: "http",
            host: "catalog.shop",
            path: &route.replace("{id}", &random.u16(..500).to_string()),
            route: &route,
            protocol: "http/1.1",
            user_agent: "shop-app/3.2",
            status: Some(200),
            duration_us: random.i64(500..50_000),
            upstream_us: Some(random.i64(400..49_000)),
            response_bytes: random.i64(100..20_000),
            attempts: Some(1),
            decision: "allow",
            reason: "permitted",
            policies: &policies,
            priority: "normal",
            snapshot: 7,
            weight: 1,
            trace_id: Some(random.u128(..).to_be_bytes()),
            span_id: Some(random.u64(..).to_be_bytes()),
            request_id: &format!("{:032x}", random.u128(..)),
            ..Row::default()
        });
    }
    let batch = builder.finish()?;
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options)?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?.into())
}
