//! Prometheus' HTTP API.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use axum::extract::{Path, RawQuery};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tollgate_engine::{QueryError, QueryErrorKind};
use tollgate_promql::api::{
    BuildInfo, Envelope, Exemplar, ExemplarSeries, ExemplarsRequest, InstantRequest, MetricMetadata, Parameters,
    RangeRequest, SeriesRequest, check_label_name, label_names, label_values as values_of,
};
use tollgate_promql::{
    Answer, Error, Labels, Matcher, Moments, Options, Query, Selection, Series, Source, SourceError,
};

use super::metrics::{METRICS, Part, all_parts};
use super::naming::Column;
use super::own::History;
use super::{Asked, fetch};

/// How long a query may take where the client does not say less.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Samples that one query may read and compute: about 80 MB.
const SAMPLES_MAX: u64 = 5_000_000;
/// Span of `series` and `labels` where the client names none.
const SPAN_MS: i64 = 3_600_000;
/// Exemplars of one query, those of the slowest requests.
const EXEMPLARS_MAX: usize = 200;

pub(super) async fn instant(asked: Asked, query: RawQuery, body: String) -> Response {
    let answer = async {
        let request = InstantRequest::read(&parameters(query, &body), now_ms())?;
        let options = options(request.timeout_ms);
        evaluate(&asked, request.query, Moments::One(request.time_ms), options).await
    };
    respond(answer.await)
}

pub(super) async fn range(asked: Asked, query: RawQuery, body: String) -> Response {
    let answer = async {
        let request = RangeRequest::read(&parameters(query, &body))?;
        let options = options(request.timeout_ms);
        evaluate(&asked, request.query, Moments::Each(request.range), options).await
    };
    respond(answer.await)
}

pub(super) async fn series(asked: Asked, query: RawQuery, body: String) -> Response {
    let found = async {
        let request = SeriesRequest::read(&parameters(query, &body))?.require_selector()?;
        let limit = request.limit.unwrap_or(usize::MAX);
        let mut found = known(&asked, &request).await?;
        found.truncate(limit);
        Ok(found)
    };
    respond(found.await)
}

pub(super) async fn labels(asked: Asked, query: RawQuery, body: String) -> Response {
    let names = async {
        let request = SeriesRequest::read(&parameters(query, &body))?;
        let mut names = label_names(&known(&asked, &request).await?);
        names.truncate(request.limit.unwrap_or(usize::MAX));
        Ok(names)
    };
    respond(names.await)
}

pub(super) async fn label_values(asked: Asked, Path(name): Path<String>, query: RawQuery) -> Response {
    let values = async {
        let request = SeriesRequest::read(&parameters(query, ""))?;
        check_label_name(&name)?;
        let mut values = values_of(&known(&asked, &request).await?, &name);
        values.truncate(request.limit.unwrap_or(usize::MAX));
        Ok(values)
    };
    respond(values.await)
}

pub(super) async fn metadata() -> Response {
    let metadata = |metric: &super::metrics::Metric| MetricMetadata {
        metric_type: metric.metric_type(),
        help: metric.help,
        unit: metric.unit,
    };
    let all: BTreeMap<_, _> = METRICS.iter().map(|metric| (metric.name, [metadata(metric)])).collect();
    respond(Ok(all))
}

/// There are no rules here: alerting is Grafana's or Prometheus' own.
pub(super) async fn rules() -> Response {
    respond(Ok(serde_json::json!({ "groups": [] })))
}

pub(super) async fn build_info() -> Response {
    respond(Ok(BuildInfo::of(concat!("tollgate-", env!("CARGO_PKG_VERSION")))))
}

pub(super) async fn exemplars(asked: Asked, query: RawQuery, body: String) -> Response {
    let found = async {
        let request = ExemplarsRequest::read(&parameters(query, &body))?;
        let at = Moments::One(request.end_ms);
        let selections = request.query.selections(at, &options(None))?;
        let mut found = Vec::new();
        for selection in &selections {
            found.extend(examples(&asked, &selection.matchers, (request.start_ms, request.end_ms)).await?);
        }
        Ok(found)
    };
    respond(found.await)
}

/// Reads what the query needs, then evaluates it away from the threads that serve.
async fn evaluate(asked: &Asked, query: Query, at: Moments, options: Options) -> Result<Answer, Error> {
    let now_ms = now_ms();
    let mut read = Vec::new();
    for selection in query.selections(at, &options)? {
        let mut series = fetch::series(asked, &selection, now_ms).await.map_err(|error| failed(&error))?;
        series.extend(asked.history().into_iter().flat_map(|history| history.select(&selection)));
        read.push((selection, series));
    }
    let source = Read(read);
    let evaluated = tokio::task::spawn_blocking(move || match at {
        Moments::One(time_ms) => query.instant(&source, time_ms, &options),
        Moments::Each(range) => query.range(&source, range, &options),
    });
    evaluated.await.unwrap_or_else(|error| Err(Error::Execution(format!("the evaluation broke off: {error}"))))
}

/// What was read beforehand.
struct Read(Vec<(Selection, Vec<Series>)>);

impl Source for Read {
    fn select(&self, selection: &Selection) -> Result<Vec<Series>, SourceError> {
        let read = self.0.iter().find(|(known, _)| known == selection);
        Ok(read.map(|(_, series)| series.clone()).unwrap_or_default())
    }
}

/// Labels of the series that any of the selectors matches.
async fn known(asked: &Asked, request: &SeriesRequest) -> Result<Vec<Labels>, Error> {
    let end_ms = request.end_ms.unwrap_or_else(now_ms);
    let span = (request.start_ms.unwrap_or(end_ms - SPAN_MS), end_ms);
    let all = [Vec::new()];
    let selectors: &[Vec<Matcher>] = if request.selectors.is_empty() { &all } else { &request.selectors };
    let mut found = Vec::new();
    for matchers in selectors {
        found.extend(fetch::labels(asked, matchers, span).await.map_err(|error| failed(&error))?);
        let is_match = |labels: &Labels| matchers.iter().all(|matcher| matcher.is_match(labels.get(&matcher.name)));
        found.extend(asked.history().into_iter().flat_map(History::labels).filter(is_match));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Traces of requests that a histogram counted.
async fn examples(asked: &Asked, matchers: &[Matcher], span_ms: (i64, i64)) -> Result<Vec<ExemplarSeries>, Error> {
    let is_wanted = |name: &str, part: Part| part == Part::Bucket && fetch::has_name(matchers, name);
    let mut found = BTreeMap::<Labels, Vec<Exemplar>>::new();
    for (metric, name, _) in all_parts().filter(|(_, name, part)| is_wanted(name, *part)) {
        let super::metrics::Measure::Duration { unit_us } = metric.measure else { continue };
        let columns = metric.naming.columns(None::<std::iter::Empty<&str>>);
        let names: Vec<_> =
            columns.iter().map(|column| format!("{} AS {}", column.of_raw_rows(), column.name())).collect();
        let (start, end) = (fetch::timestamp(span_ms.0), fetch::timestamp(span_ms.1));
        let conditions: String = matchers
            .iter()
            .filter_map(|matcher| metric.naming.condition(matcher, Column::of_raw_rows))
            .map(|condition| format!(" AND {condition}"))
            .collect();
        let sql = format!(
            "SELECT time, {}, duration_us AS value, encode(trace_id, 'hex') AS trace_id FROM requests \
             WHERE time >= {start} AND time <= {end} AND trace_id IS NOT NULL{conditions} \
             ORDER BY duration_us DESC LIMIT {EXEMPLARS_MAX}",
            names.join(", ")
        );
        let batches = fetch::query(asked, &sql).await.map_err(|error| failed(&error))?;
        for batch in batches {
            let texts = |column| cast(column, &DataType::Utf8).map_err(|error| failed(&error.into()));
            let traces = texts(batch.column(batch.num_columns() - 1))?;
            let times = batch.column(0).as_primitive::<TimestampMicrosecondType>().clone();
            let rows = super::rows::read(vec![batch], columns.len(), true).map_err(|error| failed(&error))?;
            for (at, row) in rows.into_iter().enumerate() {
                let names: Vec<_> = row.names.iter().map(String::as_str).collect();
                let labels = metric.naming.labels(&name, &columns, &names);
                let is_match = |matcher: &&Matcher| matcher.name == "le" || matcher.is_match(labels.get(&matcher.name));
                if !matchers.iter().all(|matcher| is_match(&matcher)) {
                    continue;
                }
                let exemplar = Exemplar {
                    labels: [("trace_id", traces.as_string::<i32>().value(at))].into_iter().collect(),
                    value: row.value as f64 / unit_us,
                    time_ms: times.value(at).div_euclid(1_000),
                };
                found.entry(labels).or_default().push(exemplar);
            }
        }
    }
    Ok(found
        .into_iter()
        .map(|(series_labels, mut exemplars)| {
            exemplars.sort_by_key(|exemplar| exemplar.time_ms);
            ExemplarSeries { series_labels, exemplars }
        })
        .collect())
}

fn options(timeout_ms: Option<i64>) -> Options {
    let asked = timeout_ms.and_then(|ms| u64::try_from(ms).ok()).map_or(TIMEOUT, Duration::from_millis);
    Options { samples_max: SAMPLES_MAX, deadline: Some(Instant::now() + asked.min(TIMEOUT)), ..Options::default() }
}

fn failed(error: &QueryError) -> Error {
    match error.kind() {
        QueryErrorKind::Time => Error::Timeout,
        QueryErrorKind::Rows | QueryErrorKind::Memory => {
            Error::Execution(format!("{error}; ask for a shorter span, a longer step, or fewer labels"))
        }
        _ => SourceError { message: error.to_string() }.into(),
    }
}

fn parameters(RawQuery(query): RawQuery, body: &str) -> Parameters {
    let mut parameters = Parameters::default();
    parameters.decode(body);
    parameters.decode(query.as_deref().unwrap_or_default());
    parameters
}

fn respond<T: Serialize>(result: Result<T, Error>) -> Response {
    let envelope = Envelope::from(result);
    let status = StatusCode::from_u16(envelope.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match serde_json::to_string(&envelope) {
        Ok(text) => (status, [(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
