//! `GET /metrics/mesh`: the mesh's counters as text, for a Prometheus that scrapes: in OpenMetrics, with exemplars, for those
//! that take it, and in Prometheus' own older format for the others.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use tollgate_engine::{QueryError, Reader};
use tollgate_promql::{Labels, METRIC_NAME};

use super::counters::Counters;
use super::exemplars::{Exemplar, Exemplars};
use super::metrics::{METRICS, Measure, Metric};
use super::naming::Naming;
use super::{Asked, Served};
use crate::http::{Asking, failed, internal};

/// What an exemplar tells of its request, beside the labels of its series.
const EXEMPLAR: [&str; 3] = ["trace_id", "duration_us", "time"];
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn scrape(asked: Asked, headers: HeaderMap) -> Response {
    let Asked { served, asking: Asking(reader) } = asked;
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accepts.flat_map(|value| value.split(','));
    let is_open = ranges.any(|range| range.trim_start().starts_with("application/openmetrics-text"));
    // An exemplar is of one request, and is shown to those who may read as much of all.
    let shows_traces = is_open && EXEMPLAR.iter().all(|column| reader.reads_every("requests", column));
    let exemplars = shows_traces.then(|| Exemplars::of(&served.engine, &served.exemplars));
    // Up to tens of thousands of series: work for a thread of its own.
    let page = tokio::task::spawn_blocking(move || page(&served, &reader, is_open, exemplars.as_ref())).await;
    let kind = if is_open { OPEN_METRICS } else { PROMETHEUS };
    match page {
        Ok(Ok(text)) => ([(CONTENT_TYPE, kind)], text).into_response(),
        Ok(Err(error)) => failed(&error),
        Err(error) => internal(&error.to_string()),
    }
}

fn page(
    served: &Served,
    reader: &Reader,
    is_open: bool,
    exemplars: Option<&Arc<Exemplars>>,
) -> Result<String, QueryError> {
    let totals = served.engine.totals_for(reader)?;
    let now_us = chrono::Utc::now().timestamp_micros();
    let [istio, own] = [Naming::Istio, Naming::Own].map(|naming| Counters::new(&totals, naming, now_us));
    let (istio, own) = (istio?, own?);
    let mut page = Page { text: String::new(), is_open };
    for metric in METRICS {
        let counters = if metric.naming == Naming::Istio { &istio } else { &own };
        let found = match (exemplars, metric.measure) {
            (Some(exemplars), Measure::Duration { .. }) => exemplars.by_series(metric.naming, now_us),
            _ => Default::default(),
        };
        page.metric(metric, counters, |labels, bucket| found.get(&(labels.clone(), bucket)));
    }
    let left_out = istio.left_out + own.left_out;
    page.text.push_str("# HELP tollgate_mesh_series_left_out Sets of labels beyond the bound of this page.\n");
    let _ = writeln!(page.text, "# TYPE tollgate_mesh_series_left_out gauge\ntollgate_mesh_series_left_out {left_out}");
    if page.is_open {
        page.text.push_str("# EOF\n");
    }
    Ok(page.text)
}

struct Page {
    text: String,
    is_open: bool,
}

impl Page {
    fn metric<'a>(
        &mut self,
        metric: &Metric,
        counters: &Counters,
        exemplar: impl Fn(&Labels, usize) -> Option<&'a Exemplar>,
    ) {
        // Sizes have no histogram in the rollups: a summary is what has a sum and a count alone.
        let kind = match metric.measure {
            Measure::Requests => "counter",
            Measure::Duration { .. } => "histogram",
            Measure::RequestBytes | Measure::ResponseBytes => "summary",
        };
        // OpenMetrics names a counter without the suffix that its samples have.
        let family = if self.is_open { metric.name.trim_end_matches("_total") } else { metric.name };
        let _ = writeln!(self.text, "# HELP {family} {}\n# TYPE {family} {kind}", metric.help);
        for (labels, counted) in &counters.series {
            for sample in counted.samples(metric) {
                let name = format!("{}{}", metric.name, sample.suffix);
                line(&mut self.text, &name, &sample.labels(labels), sample.value);
                if let (Some((bucket, _)), Measure::Duration { unit_us }) = (&sample.bucket, metric.measure)
                    && let Some(exemplar) = exemplar(labels, *bucket)
                {
                    let (value, time_s) = (exemplar.duration_us as f64 / unit_us, exemplar.time_us as f64 / 1e6);
                    let _ = write!(self.text, " # {{trace_id=\"{}\"}} {value} {time_s:.3}", exemplar.trace_id());
                }
                self.text.push('\n');
            }
        }
    }
}

fn line(text: &mut String, name: &str, labels: &Labels, value: f64) {
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
    let pairs: Vec<_> = pairs.map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    let _ = write!(text, "{name}{{{}}} {value}", pairs.join(","));
}
