//! OTLP out: metrics of the mesh, decision logs and traces of requests, to any collector, by gRPC or protobuf over HTTP.
//!
//! Rows are not spans of this process, so no SDK is between: a tap shows every row that is kept, `logs` and `spans` turn those
//! that are asked for into the protocol's messages with the attributes of `rows`, `points` does that with totals, and an outbox keeps them for a while and
//! sends them through `transport`.

mod logs;
mod options;
mod payload;
mod points;
mod rows;
mod spans;
#[cfg(test)]
mod tests;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use arrow::error::ArrowError;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tollgate_engine::{Engine, Tap};

pub use self::options::{Logs, OtlpOptions, OtlpProtocol, Traces};
use self::payload::{Payload, Signal};
use self::rows::{Rows, pair, text};
use self::spans::Service;
use self::transport::Checked;
use crate::export::ExportError;
use crate::export::outbox::{Counts, Outbox, counts};

/// The conventions that the names of attributes follow.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";
/// How long what waits is still tried once the engine has stopped.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Records of one message.
const RECORDS_MAX: usize = 2_048;
/// Their bytes: collectors take messages of 4 MiB by default, and one record is never that long.
const RECORD_BYTES_MAX: usize = 3 << 20;

/// Telemetry on its way to a collector.
pub struct Otlp {
    options: OtlpOptions,
    transport: Checked,
}

impl Otlp {
    /// Reads certificates and checks what it is given; connects later.
    ///
    /// # Errors
    /// Names what cannot be used.
    pub fn new(options: OtlpOptions) -> Result<Self, ExportError> {
        let transport = Checked::new(&options)?;
        Ok(Self { options, transport })
    }

    /// Exports until the engine has stopped, and then for as long as it takes to send what waits, or a few seconds.
    pub async fn run(self, engine: Engine) {
        let Self { options, transport } = self;
        let transport = transport.open();
        let sink = |signal: Signal| {
            let counts = counts(&engine, "otlp", signal.name());
            Sink { outbox: Outbox::new(signal.what(), Counts::clone(&counts)), counts }
        };
        let (logs, traces, metrics) = (sink(Signal::Logs), sink(Signal::Traces), sink(Signal::Metrics));
        let abandon = CancellationToken::new();
        let reading = async {
            let every = options.metrics_every;
            let convert = Convert { options: Arc::new(options), engine: engine.id().to_owned() };
            tokio::select! {
                () = read(engine.tap(), convert.clone(), &logs, &traces) => {}
                () = count(&engine, every, &convert, &metrics) => {}
            }
            push_totals(&engine, every, &convert, &metrics).await;
            for sink in [&logs, &traces, &metrics] {
                sink.outbox.close();
            }
            tokio::time::sleep(LAST_WORDS).await;
            abandon.cancel();
            // Delivering ends, and this with it.
            std::future::pending::<()>().await;
        };
        let delivering = async {
            tokio::join!(
                logs.outbox.deliver(&transport, &abandon),
                traces.outbox.deliver(&transport, &abandon),
                metrics.outbox.deliver(&transport, &abandon),
            );
        };
        tokio::select! {
            () = delivering => {}
            () = reading => {}
        }
    }
}

/// Where one kind of telemetry goes, and what is lost before it is there.
struct Sink {
    outbox: Outbox<Payload>,
    counts: Counts,
}

/// Reads rows as they are kept. What a tap missed is lost to logs and to traces.
async fn read(mut tap: Tap, convert: Convert, logs: &Sink, traces: &Sink) {
    let mut missed = 0;
    while let Some(batch) = tap.recv().await {
        let convert = convert.clone();
        // It is work for a processor, and the runtime has sessions to serve.
        let converted = tokio::task::spawn_blocking(move || convert.payloads(&batch));
        for (payload, items) in converted.await.unwrap_or_default() {
            let sink = if payload.signal == Signal::Logs { logs } else { traces };
            let bytes = payload.body.len();
            sink.outbox.push(payload, items as u64, bytes);
        }
        let now = tap.missed();
        if now > missed {
            for sink in [logs, traces] {
                (sink.counts)("missed_rows", now - missed);
            }
            missed = now;
        }
    }
}

/// Sends the totals in an even rhythm, for ever.
async fn count(engine: &Engine, every: Option<Duration>, convert: &Convert, sink: &Sink) {
    let Some(every) = every else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        push_totals(engine, Some(every), convert, sink).await;
    }
}

/// Sends what was counted until now.
async fn push_totals(engine: &Engine, every: Option<Duration>, convert: &Convert, sink: &Sink) {
    if every.is_none() {
        return;
    }
    let (engine, convert) = (engine.clone(), convert.clone());
    let made = tokio::task::spawn_blocking(move || convert.metrics(&engine)).await;
    match made.unwrap_or_else(|_| Ok(Vec::new())) {
        Ok(payloads) => payloads.into_iter().for_each(|(payload, points)| {
            let bytes = payload.body.len();
            sink.outbox.push(payload, points as u64, bytes);
        }),
        Err(error) => tracing::warn!(%error, "totals cannot be read"),
    }
}

/// Makes messages of rows.
#[derive(Clone)]
struct Convert {
    options: Arc<OtlpOptions>,
    engine: String,
}

impl Convert {
    /// With the number of records or spans in each.
    fn payloads(&self, batch: &arrow::record_batch::RecordBatch) -> Vec<(Payload, usize)> {
        let rows = Rows::new(batch);
        let records = logs::records(&rows, self.options.logs, time_nano(chrono::Utc::now().timestamp_micros()));
        let mut payloads: Vec<_> = chunks(records)
            .map(|records| (records.len(), records))
            .map(|(items, records)| (self.logs(records), items))
            .collect();
        let spans = spans::spans(&rows, &self.options);
        for (service, spans) in spans {
            for spans in chunks(spans) {
                let items = spans.len();
                let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, schema_url: SCHEMA_URL.to_owned() }];
                let resource = Some(self.resource(&service));
                let spans = ResourceSpans { resource, scope_spans, schema_url: SCHEMA_URL.to_owned() };
                payloads.push((Payload::traces(spans), items));
            }
        }
        payloads
    }

    /// With the number of points in each.
    fn metrics(&self, engine: &Engine) -> Result<Vec<(Payload, usize)>, ArrowError> {
        let span = points::Span { since_us: engine.started().us, now_us: chrono::Utc::now().timestamp_micros() };
        let made = points::metrics(&engine.totals()?, span)?;
        let payload = |(service, metrics, points): (Service, Vec<Metric>, usize)| {
            let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, schema_url: SCHEMA_URL.to_owned() }];
            let resource = Some(self.resource(&service));
            (Payload::metrics(ResourceMetrics { resource, scope_metrics, schema_url: SCHEMA_URL.to_owned() }), points)
        };
        Ok(made.into_iter().map(payload).collect())
    }

    fn logs(&self, log_records: Vec<LogRecord>) -> Payload {
        let scope_logs = vec![ScopeLogs { scope: Some(scope()), log_records, schema_url: SCHEMA_URL.to_owned() }];
        let own = ("tollgate".to_owned(), Some(env!("CARGO_PKG_VERSION").to_owned()));
        let resource = Some(self.resource(&own));
        Payload::logs(ResourceLogs { resource, scope_logs, schema_url: SCHEMA_URL.to_owned() })
    }

    /// Whose telemetry it is, and which engine tells.
    fn resource(&self, (service, version): &Service) -> Resource {
        let mut attributes: Vec<KeyValue> = match service.rsplit_once('/') {
            Some((namespace, name)) => {
                vec![pair("service.name", text(name)), pair("service.namespace", text(namespace))]
            }
            None => vec![pair("service.name", text(service))],
        };
        attributes.extend(version.as_ref().map(|version| pair("service.version", text(version))));
        attributes.push(pair("tollgate.engine", text(&self.engine)));
        Resource { attributes, ..Resource::default() }
    }
}

/// In messages that collectors take.
fn chunks<T: Message>(items: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.into_iter().peekable();
    std::iter::from_fn(move || {
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while let Some(item) = items.next_if(|item| {
            bytes += item.encoded_len();
            chunk.is_empty() || (chunk.len() < RECORDS_MAX && bytes <= RECORD_BYTES_MAX)
        }) {
            chunk.push(item);
        }
        (!chunk.is_empty()).then_some(chunk)
    })
}

fn scope() -> InstrumentationScope {
    let (name, version) = ("tollgate".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    InstrumentationScope { name, version, ..InstrumentationScope::default() }
}

/// Nanoseconds from microseconds since the epoch.
fn time_nano(time_us: i64) -> u64 {
    u64::try_from(time_us).unwrap_or(0).saturating_mul(1_000)
}
