//! Prometheus remote write out: the mesh's series of `/metrics/mesh`, pushed in an even rhythm to whatever takes the protocol.
//!
//! A series that ends is marked stale, as a Prometheus that scrapes would do it, so that queries stop showing it.

mod messages;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::error::ArrowError;
use prost::Message as _;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tollgate_engine::Engine;
use tollgate_promql::{Labels, METRIC_NAME};

use self::messages::{Exemplar, Label, MetricMetadata, Sample, TimeSeries, WriteRequest};
use crate::export::outbox::{Accepted, Counts, Outbox, Transport, counts};
use crate::export::retry::{Failure, Protocol};
use crate::export::{ExportError, client};
use crate::prometheus::{Counters, Exemplars, METRICS, Measure, Naming};

/// Series of one request.
const SERIES_MAX: usize = 2_000;
/// The value that says that a series has ended: one certain NaN.
const STALE: u64 = 0x7ff0_0000_0000_0002;
/// How long what waits is still tried once the engine stops.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Where series are pushed, and how often.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteWriteOptions {
    /// `http://prometheus:9090/api/v1/write`
    pub url: String,
    /// Sent with everything, such as a token or a tenant.
    pub headers: Vec<(String, String)>,
    /// File in PEM of whoever signed the receiver's certificate; without it, those whom the system trusts.
    pub ca: Option<PathBuf>,
    /// The rhythm.
    pub every: Duration,
    /// Labels of every series, beside `job` and `instance`, which they may replace.
    pub labels: Vec<(String, String)>,
}

/// Series on their way to a receiver.
pub struct RemoteWrite {
    options: RemoteWriteOptions,
    receiver: Receiver,
}

impl RemoteWrite {
    /// Reads certificates and checks what it is given; connects later.
    ///
    /// # Errors
    /// Names what cannot be used.
    pub fn new(options: RemoteWriteOptions) -> Result<Self, ExportError> {
        check_labels(&options.labels)?;
        let headers = client::headers(&options.headers)?;
        let client = client::new(&options.url, options.ca.as_deref(), headers)?;
        let receiver = Receiver { client, url: options.url.clone() };
        Ok(Self { options, receiver })
    }

    /// Pushes until `stop`, and then once more.
    pub async fn run(self, engine: Engine, stop: CancellationToken) {
        let Self { options, receiver } = self;
        let counts: Counts = counts(&engine, "remote_write", "metrics");
        let outbox = Outbox::new("remote write", counts);
        let abandon = CancellationToken::new();
        let reading = async {
            let mut ticks = tokio::time::interval(options.every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut round = Round::new(&options, engine);
            while !stop.is_cancelled() {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = stop.cancelled() => {}
                }
                let made = tokio::task::spawn_blocking(move || {
                    let requests = round.requests(chrono::Utc::now().timestamp_millis());
                    (round, requests)
                });
                let Ok((next, requests)) = made.await else { break };
                round = next;
                match requests {
                    Ok(requests) => requests.into_iter().for_each(|(bytes, samples)| {
                        let size = bytes.len();
                        outbox.push(bytes, samples as u64, size);
                    }),
                    Err(error) => tracing::warn!(%error, "series for remote write cannot be read"),
                }
            }
            outbox.close();
            tokio::time::sleep(LAST_WORDS).await;
            abandon.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = outbox.deliver(&receiver, &abandon) => {}
            () = reading => {}
        }
    }
}

/// Receivers refuse everything that comes with a label twice, or with a name that is none.
fn check_labels(labels: &[(String, String)]) -> Result<(), ExportError> {
    let mut known = BTreeSet::new();
    for (name, value) in labels {
        let wrong = |why| Err(ExportError::Label { name: name.clone(), why });
        let is_name = |(at, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit());
        if name.is_empty() || name.starts_with("__") || !name.chars().enumerate().all(is_name) {
            return wrong("names are letters, digits and `_`, and begin with no digit and no `__`");
        }
        if name == "le" || [Naming::Istio, Naming::Own].iter().any(|naming| naming.has(name)) {
            return wrong("series have such a label of their own");
        }
        if value.is_empty() {
            return wrong("a label without a value is one that is not there");
        }
        if !known.insert(name) {
            return wrong("it is there twice");
        }
    }
    Ok(())
}

struct Receiver {
    client: reqwest::Client,
    url: String,
}

impl Transport for Receiver {
    /// A request in protobuf, compressed.
    type Payload = bytes::Bytes;

    async fn send(&self, payload: &bytes::Bytes) -> Result<Accepted, Failure> {
        let request = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(CONTENT_ENCODING, "snappy")
            .header("x-prometheus-remote-write-version", "0.1.0")
            .body(payload.clone());
        client::send(request, Protocol::RemoteWrite).await.map(|_| Accepted::default())
    }
}

/// Makes the requests of one moment after the other.
struct Round {
    engine: Engine,
    labels: Vec<(String, String)>,
    exemplars: Arc<OnceLock<Arc<Exemplars>>>,
    /// What was sent last time, by naming.
    sent: [BTreeSet<Labels>; 2],
}

impl Round {
    fn new(options: &RemoteWriteOptions, engine: Engine) -> Self {
        let mut labels =
            vec![("job".to_owned(), "tollgate".to_owned()), ("instance".to_owned(), engine.id().to_owned())];
        for (name, value) in &options.labels {
            labels.retain(|(known, _)| known != name);
            labels.push((name.clone(), value.clone()));
        }
        let exemplars = Arc::default();
        // They are collected from now on, in the runtime that this is made in.
        drop(Exemplars::of(&engine, &exemplars));
        Self { engine, labels, exemplars, sent: Default::default() }
    }

    /// Compressed requests with their numbers of samples.
    fn requests(&mut self, now_ms: i64) -> Result<Vec<(bytes::Bytes, usize)>, ArrowError> {
        let totals = self.engine.totals()?;
        let (mut series, now_us) = (Vec::new(), now_ms * 1_000);
        for (at, naming) in [Naming::Istio, Naming::Own].into_iter().enumerate() {
            let counters = Counters::new(&totals, naming, now_us)?;
            let exemplars =
                self.exemplars.get().map(|exemplars| exemplars.by_series(naming, now_us)).unwrap_or_default();
            for (labels, counted) in &counters.series {
                for metric in METRICS.iter().filter(|metric| metric.naming == naming) {
                    for sample in counted.samples(metric) {
                        let bucket = sample.bucket.as_ref().map(|(bucket, _)| *bucket);
                        let found = bucket.and_then(|bucket| exemplars.get(&(labels.clone(), bucket)));
                        let exemplar = found.zip(metric.unit_us()).map(|(exemplar, unit_us)| Exemplar {
                            labels: vec![label("trace_id", &exemplar.trace_id())],
                            value: exemplar.duration_us as f64 / unit_us,
                            timestamp: exemplar.time_us / 1_000,
                        });
                        let name = format!("{}{}", metric.name, sample.suffix);
                        let samples = vec![Sample { value: sample.value, timestamp: now_ms }];
                        let labels = self.labels(&name, &sample.labels(labels));
                        series.push(TimeSeries { labels, samples, exemplars: exemplar.into_iter().collect() });
                    }
                }
            }
            let now: BTreeSet<_> = counters.series.into_iter().map(|(labels, _)| labels).collect();
            let ended: Vec<_> = self.sent[at].difference(&now).cloned().collect();
            self.sent[at] = now;
            series.extend(ended.iter().flat_map(|labels| self.stale(naming, labels, now_ms)));
        }
        Ok(requests(series))
    }

    /// The last samples of all series with these labels.
    fn stale(&self, naming: Naming, labels: &Labels, now_ms: i64) -> Vec<TimeSeries> {
        let metrics = METRICS.iter().filter(|metric| metric.naming == naming);
        let names = metrics.flat_map(|metric| {
            let samples = crate::prometheus::Counted::default().samples(metric);
            samples.into_iter().map(move |sample| (format!("{}{}", metric.name, sample.suffix), sample.labels(labels)))
        });
        let ended = |(name, labels): (String, Labels)| TimeSeries {
            labels: self.labels(&name, &labels),
            samples: vec![Sample { value: f64::from_bits(STALE), timestamp: now_ms }],
            exemplars: Vec::new(),
        };
        names.map(ended).collect()
    }

    /// All labels of a series, sorted by name, as the protocol wants them.
    fn labels(&self, name: &str, labels: &Labels) -> Vec<Label> {
        let own = self.labels.iter().map(|(name, value)| label(name, value));
        // A label without a value is one that is not there.
        let of_series = labels.iter().filter(|(name, value)| *name != METRIC_NAME && !value.is_empty());
        let of_series = of_series.map(|(name, value)| label(name, value));
        let mut all: Vec<_> = own.chain(of_series).chain([label(METRIC_NAME, name)]).collect();
        all.sort_by(|left, right| left.name.cmp(&right.name));
        all
    }
}

fn label(name: &str, value: &str) -> Label {
    Label { name: name.to_owned(), value: value.to_owned() }
}

/// Series in requests of a size that receivers take; what each metric is stands in the first.
fn requests(mut series: Vec<TimeSeries>) -> Vec<(bytes::Bytes, usize)> {
    let mut requests = Vec::new();
    let mut metadata = metadata();
    while !series.is_empty() {
        let rest = series.split_off(series.len().min(SERIES_MAX));
        let timeseries = std::mem::replace(&mut series, rest);
        let samples = timeseries.len();
        let message = WriteRequest { timeseries, metadata: std::mem::take(&mut metadata) }.encode_to_vec();
        match snap::raw::Encoder::new().compress_vec(&message) {
            Ok(compressed) => requests.push((compressed.into(), samples)),
            // Only what is longer than 4 GiB cannot be compressed.
            Err(error) => tracing::warn!(%error, samples, "a request of remote write is left out"),
        }
    }
    requests
}

fn metadata() -> Vec<MetricMetadata> {
    let of = |metric: &crate::prometheus::Metric| MetricMetadata {
        kind: match metric.measure {
            Measure::Requests => 1,
            Measure::Duration { .. } => 3,
            Measure::RequestBytes | Measure::ResponseBytes => 5,
        },
        metric_family_name: metric.name.to_owned(),
        help: metric.help.to_owned(),
        unit: metric.unit.to_owned(),
    };
    METRICS.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_a_size_and_are_what_prometheus_reads() {
        let series = |n: i64| TimeSeries {
            labels: vec![label(METRIC_NAME, "m"), label("n", &n.to_string())],
            samples: vec![Sample { value: n as f64, timestamp: n }],
            exemplars: Vec::new(),
        };
        let made = requests((0..4_500).map(series).collect());
        assert_eq!(made.iter().map(|(_, samples)| *samples).collect::<Vec<_>>(), [2_000, 2_000, 500]);
        let decoded: Vec<_> = made
            .iter()
            .map(|(bytes, _)| snap::raw::Decoder::new().decompress_vec(bytes).unwrap())
            .map(|bytes| WriteRequest::decode(bytes.as_slice()).unwrap())
            .collect();
        assert_eq!(decoded.iter().map(|request| request.metadata.len()).collect::<Vec<_>>(), [METRICS.len(), 0, 0]);
        assert_eq!(decoded[2].timeseries[499], series(4_499));
    }
}
