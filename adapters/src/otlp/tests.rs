//! What becomes of rows, and of what waits.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::AggregationTemporality;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as NumberValue;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tollgate_attributes::{BatchBuilder, BatchLimits, Row};

use super::*;

fn options() -> OtlpOptions {
    OtlpOptions {
        endpoint: "http://collector:4317".to_owned(),
        protocol: OtlpProtocol::Grpc,
        headers: Vec::new(),
        ca: None,
        metrics_every: None,
        logs: Logs::Refused,
        traces: Traces::Notable,
        slow: Duration::from_millis(500),
    }
}

fn request() -> Row<'static> {
    Row {
        time: 1_700_000_000_000_000,
        reporter: "catalog-1",
        direction: "inbound",
        source: "shop/storefront",
        destination: "shop/catalog",
        destination_version: "v2",
        method: "GET",
        host: "catalog:8080",
        path: "/items/7",
        route: "/items/{id}",
        protocol: "http/1.1",
        status: Some(200),
        duration_us: 1_500,
        attempts: Some(3),
        decision: "allow",
        reason: "permitted",
        weight: 1,
        trace_id: Some([7; 16]),
        span_id: Some([9; 8]),
        ..Row::default()
    }
}

fn payloads(options: OtlpOptions, rows: &[Row<'_>]) -> Vec<(Payload, usize)> {
    let mut builder = BatchBuilder::new(BatchLimits::default());
    for row in rows {
        let _ = builder.push(row);
    }
    Convert { options: Arc::new(options), engine: "e1".to_owned() }.payloads(&builder.finish().unwrap())
}

fn records(payloads: &[(Payload, usize)]) -> Vec<LogRecord> {
    let logs = payloads.iter().filter(|(payload, _)| payload.signal == Signal::Logs);
    let requests = logs.map(|(payload, _)| ExportLogsServiceRequest::decode(payload.body.clone()).unwrap());
    let scopes = requests.flat_map(|request| request.resource_logs).flat_map(|logs| logs.scope_logs);
    scopes.flat_map(|logs| logs.log_records).collect()
}

fn resource_spans(payloads: &[(Payload, usize)]) -> Vec<ResourceSpans> {
    let traces = payloads.iter().filter(|(payload, _)| payload.signal == Signal::Traces);
    let requests = traces.map(|(payload, _)| ExportTraceServiceRequest::decode(payload.body.clone()).unwrap());
    requests.flat_map(|request| request.resource_spans).collect()
}

fn get<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_ref()?.value.as_ref())
}

fn words(value: &str) -> Option<Value> {
    Some(Value::StringValue(value.to_owned()))
}

#[test]
fn a_refused_request_is_a_record_that_says_why() {
    let policies: [Arc<str>; 2] = ["free-tier".into(), "batch".into()];
    let labels = [("x-team".into(), "search".to_owned())];
    let refused = Row {
        decision: "limit",
        reason: "rate",
        status: Some(429),
        source: "",
        policies: &policies,
        labels: &labels,
        is_mtls: true,
        ..request()
    };
    let records = records(&payloads(options(), &[request(), refused]));
    assert_eq!(records.len(), 1, "what was allowed is no news");
    let record = &records[0];
    let sentence = "limit GET /items/7 from anonymous to shop/catalog: rate";
    assert_eq!(record.body, Some(AnyValue { value: words(sentence) }));
    assert_eq!((record.severity_text.as_str(), record.event_name.as_str()), ("WARN", "tollgate.decision"));
    assert_eq!((record.trace_id.as_slice(), record.span_id.as_slice()), ([7; 16].as_slice(), [9; 8].as_slice()));
    assert_eq!(record.time_unix_nano, 1_700_000_000_000_000_000);
    let value = |key| get(&record.attributes, key).cloned();
    assert_eq!(value("http.request.method"), words("GET"));
    assert_eq!(value("http.response.status_code"), Some(Value::IntValue(429)));
    assert_eq!((value("server.address"), value("server.port")), (words("catalog"), Some(Value::IntValue(8080))));
    assert_eq!(value("network.protocol.version"), words("1.1"));
    assert_eq!(value("http.request.resend_count"), Some(Value::IntValue(2)));
    assert_eq!(value("tollgate.destination"), words("shop/catalog"));
    assert_eq!(value("tollgate.is_mtls"), Some(Value::BoolValue(true)));
    assert_eq!(value("tollgate.duration_us"), Some(Value::IntValue(1_500)));
    for (key, expected) in
        [("tollgate.policies", vec!["free-tier", "batch"]), ("http.request.header.x-team", vec!["search"])]
    {
        let Some(Value::ArrayValue(list)) = value(key) else { panic!("{key} is no list") };
        let list: Vec<_> = list.values.into_iter().map(|value| value.value).collect();
        assert_eq!(list, expected.into_iter().map(words).collect::<Vec<_>>());
    }
    for absent in ["service.name", "tollgate.source", "tollgate.time", "tollgate.queued_us", "error.type"] {
        assert_eq!(value(absent), None, "{absent}");
    }
}

#[test]
fn slow_failed_and_refused_requests_are_spans_of_their_service() {
    let slow = Row { duration_us: 500_000, span_id: Some([1; 8]), ..request() };
    let failed = Row { status: Some(503), span_id: Some([2; 8]), ..request() };
    let outbound = Row { direction: "outbound", status: Some(404), decision: "deny", ..request() };
    let without_ids = Row { duration_us: 900_000, trace_id: None, ..request() };
    let payloads = payloads(options(), &[request(), slow, failed, outbound, without_ids]);
    let found = resource_spans(&payloads);
    assert_eq!(payloads.iter().filter(|(payload, _)| payload.signal == Signal::Traces).count(), 2);
    let service = |spans: &ResourceSpans, key: &str| get(&spans.resource.as_ref().unwrap().attributes, key).cloned();
    assert_eq!(service(&found[0], "service.name"), words("catalog"));
    assert_eq!(service(&found[0], "service.namespace"), words("shop"));
    assert_eq!(service(&found[0], "service.version"), words("v2"));
    assert_eq!(service(&found[1], "service.name"), words("storefront"));

    let spans = &found[0].scope_spans[0].spans;
    assert_eq!(spans.iter().map(|span| span.span_id[0]).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((spans[0].name.as_str(), spans[0].kind()), ("GET /items/{id}", SpanKind::Server));
    assert_eq!(spans[0].end_time_unix_nano - spans[0].start_time_unix_nano, 500_000_000);
    let code = |span: &opentelemetry_proto::tonic::trace::v1::Span| span.status.as_ref().unwrap().code();
    assert_eq!((code(&spans[0]), code(&spans[1])), (StatusCode::Unset, StatusCode::Error));
    assert_eq!(get(&spans[1].attributes, "error.type").cloned(), words("503"));
    let client = &found[1].scope_spans[0].spans[0];
    assert_eq!((client.kind(), code(client)), (SpanKind::Client, StatusCode::Error), "a client's 4xx is its error");
}

#[test]
fn everything_or_nothing_goes_where_that_is_asked_for() {
    let rows: Vec<_> = (0..5_000_i64).map(|n| Row { time: n, ..request() }).collect();
    let all = payloads(OtlpOptions { logs: Logs::All, traces: Traces::None, ..options() }, &rows);
    assert_eq!(all.iter().map(|(_, items)| *items).collect::<Vec<_>>(), [2_048, 2_048, 904]);
    assert_eq!(records(&all).iter().map(|record| record.time_unix_nano).collect::<Vec<_>>(), {
        (0..5_000_u64).map(|n| n * 1_000).collect::<Vec<_>>()
    });
    let none = payloads(OtlpOptions { logs: Logs::None, traces: Traces::None, ..options() }, &rows);
    assert_eq!(none, []);
}

#[test]
fn totals_are_cumulative_and_their_buckets_go_over_unchanged() {
    let mut builder = BatchBuilder::new(BatchLimits::default());
    let outbound = Row { direction: "outbound", duration_us: 0, ..request() };
    for row in [Row { weight: 3, ..request() }, Row { duration_us: 40_000, ..request() }, outbound] {
        let _ = builder.push(&row);
    }
    let mut aggregator = tollgate_rollups::Aggregator::new(tollgate_rollups::Limits::default());
    aggregator.add(&builder.finish().unwrap()).unwrap();
    let totals = aggregator.totals()().unwrap();
    let span = points::Span { since_us: 5, now_us: request().time };
    let made = points::metrics(&totals, span).unwrap();
    let services: Vec<_> = made.iter().map(|(service, _, points)| (service.0.as_str(), *points)).collect();
    assert_eq!(services, [("shop/catalog", 4), ("shop/storefront", 4)]);

    let metric = |at: usize, name: &str| made[at].1.iter().find(|metric| metric.name == name).unwrap().data.clone();
    let Some(Data::Sum(requests)) = metric(0, "tollgate.requests") else { panic!("no sum") };
    assert!(requests.is_monotonic && requests.aggregation_temporality() == AggregationTemporality::Cumulative);
    let point = &requests.data_points[0];
    assert_eq!((point.value, point.start_time_unix_nano), (Some(NumberValue::AsInt(4)), 5_000));
    assert_eq!(get(&point.attributes, "http.route").cloned(), words("/items/{id}"));
    assert_eq!(get(&point.attributes, "http.response.status_code").cloned(), Some(Value::IntValue(200)));
    let Some(Data::ExponentialHistogram(durations)) = metric(0, "tollgate.request.duration") else {
        panic!("no histogram")
    };
    let point = &durations.data_points[0];
    assert_eq!((point.count, point.scale, point.zero_count, point.sum), (4, 3, 0, Some(44_500.0)));
    let buckets = point.positive.as_ref().unwrap();
    assert_eq!(buckets.bucket_counts.iter().sum::<u64>(), 4);
    let upper_us = |at: usize| 2_f64.powf((f64::from(buckets.offset) + at as f64 + 1.0) / 8.0);
    let last = buckets.bucket_counts.len() - 1;
    assert!(upper_us(0) >= 1_500.0 && upper_us(0) < 1_500.0 * 1.1, "{}", upper_us(0));
    assert!(upper_us(last) >= 40_000.0 && upper_us(last) < 40_000.0 * 1.1, "{}", upper_us(last));
    let Some(Data::ExponentialHistogram(durations)) = metric(1, "tollgate.request.duration") else {
        panic!("no histogram")
    };
    assert_eq!((durations.data_points[0].count, durations.data_points[0].zero_count), (1, 1));

    let later = points::Span { now_us: request().time + 16 * 60 * 1_000_000, ..span };
    assert_eq!(points::metrics(&totals, later).unwrap(), [], "what is idle is left out");
}
