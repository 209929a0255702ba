//! An engine that keeps what it gets and pushes what it is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::ipc::reader::StreamReader;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tollgate_api::v1;
use tollgate_api::v1::decisions_server::{Decisions, DecisionsServer};
use tollgate_api::v1::report_request::Message;
use tollgate_api::v1::telemetry_server::{Telemetry, TelemetryServer};
use tollgate_policies::{Mode, SourceFile, Sources, compile};
use tonic::{Request, Response, Status, Streaming};

const PATIENCE: Duration = Duration::from_secs(20);

/// One row, every column as text.
pub(crate) type Row = BTreeMap<String, String>;

#[derive(Default)]
pub(crate) struct Received {
    pub(crate) rows: Vec<Row>,
    pub(crate) sequences: Vec<u64>,
    pub(crate) losses: BTreeMap<String, u64>,
    pub(crate) hellos: Vec<v1::WatchHello>,
    pub(crate) acknowledged: Vec<u64>,
    pub(crate) refused: Vec<String>,
}

pub(crate) struct Engine {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    snapshot: watch::Sender<v1::Snapshot>,
    runtime: Option<Runtime>,
}

struct Shared {
    received: Mutex<Received>,
    changed: watch::Sender<()>,
    acknowledges: AtomicBool,
}

impl Engine {
    pub(crate) fn start(snapshot: v1::Snapshot) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), snapshot)
    }

    pub(crate) fn start_at(address: SocketAddr, snapshot: v1::Snapshot) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            changed: watch::Sender::new(()),
            acknowledges: AtomicBool::new(true),
        });
        let snapshot = watch::Sender::new(snapshot);
        let service = Service { shared: Arc::clone(&shared), snapshot: snapshot.subscribe() };
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
            let server = tonic::transport::Server::builder()
                .add_service(TelemetryServer::new(service.clone()))
                .add_service(DecisionsServer::new(service));
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self { address, shared, snapshot, runtime: Some(runtime) }
    }

    /// Pushes a snapshot to all, and waits until it is acknowledged.
    pub(crate) async fn push(&self, snapshot: v1::Snapshot) {
        let version = snapshot.version;
        self.snapshot.send_replace(snapshot);
        self.wait(|received| received.acknowledged.contains(&version)).await;
    }

    /// Pushes a snapshot that cannot be applied, and waits until it is refused.
    pub(crate) async fn break_with(&self, snapshot: v1::Snapshot) {
        self.snapshot.send_replace(snapshot);
        self.wait(|received| !received.refused.is_empty()).await;
    }

    pub(crate) fn set_acknowledges(&self, acknowledges: bool) {
        self.shared.acknowledges.store(acknowledges, Ordering::SeqCst);
    }

    /// Waits until what was received satisfies a condition.
    pub(crate) async fn wait(&self, is_met: impl Fn(&Received) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let met = async {
            while !is_met(&self.shared.received.lock()) {
                changed.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, met).await.is_err() {
            let received = self.shared.received.lock();
            panic!("never came to pass; rows: {:#?}, losses: {:?}", received.rows, received.losses);
        }
    }

    /// Waits for this many rows and returns them in the order of their requests; workers report each for itself.
    pub(crate) async fn rows(&self, count: usize) -> Vec<Row> {
        self.wait(|received| received.rows.len() >= count).await;
        let mut rows = self.received(|received| received.rows.clone());
        rows.sort_by_key(|row| row["time"].parse::<i64>().unwrap());
        rows
    }

    pub(crate) fn received<T>(&self, read: impl Fn(&Received) -> T) -> T {
        read(&self.shared.received.lock())
    }
}

/// Goes away without a word, as a killed process does.
impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A whole snapshot of these policies, with the whole of every limit for whoever gets it.
pub(crate) fn snapshot(version: u64, access: &str, shaping: &str) -> v1::Snapshot {
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
    let sources = Sources {
        access: vec![file("access/test.cedar", access)],
        shaping: vec![file("shaping/test.cedar", shaping)],
        ..Sources::default()
    };
    let compiled = compile(&sources, &[], &Mode::default()).unwrap_or_else(|problems| panic!("{problems}"));
    let share = |scope: &str| v1::SafeShare { scope: scope.to_owned(), parts_per_million: 1_000_000 };
    v1::Snapshot {
        version,
        whole: true,
        policies: Some(compiled.to_proto()),
        safe_shares: vec![share("*"), share("shop/catalog")],
        ..v1::Snapshot::default()
    }
}

#[derive(Clone)]
struct Service {
    shared: Arc<Shared>,
    snapshot: watch::Receiver<v1::Snapshot>,
}

impl Shared {
    fn receive(&self, take: impl FnOnce(&mut Received)) {
        take(&mut self.received.lock());
        self.changed.send_replace(());
    }
}

#[tonic::async_trait]
impl Telemetry for Service {
    type ReportStream = ReceiverStream<Result<v1::ReportResponse, Status>>;

    async fn report(
        &self,
        request: Request<Streaming<v1::ReportRequest>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let mut requests = request.into_inner();
        let (responses, stream) = mpsc::channel(64);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                match request.message {
                    Some(Message::Batch(batch)) => {
                        let rows = read_rows(&batch.arrow_ipc);
                        shared.receive(|received| {
                            received.sequences.push(batch.sequence);
                            received.rows.extend(rows);
                        });
                        if shared.acknowledges.load(Ordering::SeqCst) {
                            let acknowledged_sequence = batch.sequence;
                            let response = v1::ReportResponse { acknowledged_sequence, rejections: Vec::new() };
                            let _ = responses.send(Ok(response)).await;
                        }
                    }
                    Some(Message::Losses(losses)) => shared.receive(|received| {
                        received.losses.extend(losses.losses.into_iter().map(|loss| (loss.reason, loss.rows)));
                    }),
                    _ => {}
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

#[tonic::async_trait]
impl Decisions for Service {
    type WatchStream = ReceiverStream<Result<v1::Snapshot, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<v1::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let mut requests = request.into_inner();
        let (snapshots, stream) = mpsc::channel(64);
        let mut latest = self.snapshot.clone();
        latest.mark_changed();
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    request = requests.message() => {
                        let Ok(Some(request)) = request else { return };
                        shared.receive(|received| {
                            received.hellos.extend(request.hello);
                            received.acknowledged.push(request.acknowledged_version);
                            received.refused.extend(Some(request.refused).filter(|refused| !refused.is_empty()));
                        });
                    }
                    changed = latest.changed() => {
                        let snapshot = latest.borrow_and_update().clone();
                        if changed.is_err() || snapshots.send(Ok(snapshot)).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn read_rows(arrow_ipc: &[u8]) -> Vec<Row> {
    let options = FormatOptions::default();
    let mut rows = Vec::new();
    for batch in StreamReader::try_new(arrow_ipc, None).unwrap() {
        let batch = batch.unwrap();
        let schema = batch.schema();
        // Formatting a time with a zone by name would need a database of zones.
        let time = cast(batch.column_by_name("time").unwrap(), &DataType::Int64).unwrap();
        let names = schema.fields().iter().map(|field| field.name().clone());
        let columns =
            batch.columns().iter().map(|column| if column.data_type().is_temporal() { &time } else { column });
        let columns: Vec<_> =
            names.zip(columns.map(|column| ArrayFormatter::try_new(column, &options).unwrap())).collect();
        for index in 0..batch.num_rows() {
            rows.push(columns.iter().map(|(name, column)| (name.clone(), column.value(index).to_string())).collect());
        }
    }
    rows
}
