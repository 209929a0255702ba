//! Prometheus' API and pages over real traffic, and every query that a dashboard sends.

mod istio;
mod peer;

use std::net::SocketAddr;

use serde_json::Value;
use tollgate_api::v1::{self, report_request::Message};
use tollgate_attributes::{BatchBuilder, BatchLimits, Row, encode};
use tollgate_dashboards::macros::Span;
use tollgate_dashboards::{Format, Language, Place, Target, targets};

pub(crate) use self::peer::Prometheus;
use crate::harness::{Backend, Client, Engine, Proxy, Workspace, eventually, get, until};

const ACCESS: &str = "@id(\"items\") permit (principal, action, resource) when { context.path like \"/items/*\" };\n";
const SHAPING: &str =
    "@id(\"few\") @limit(\"1/h\") @burst(\"5\") permit (principal == Service::\"shop/greedy\", action, resource);\n";
/// Requests of each kind.
const ALLOWED: usize = 40;
const DENIED: usize = 10;
const GREEDY: usize = 10;
const ALL: usize = ALLOWED + DENIED + GREEDY;

/// Everything that has to live while there is traffic to ask about.
struct Mesh {
    engine: Engine,
    workspace: Workspace,
    proxy: Proxy,
    _backend: Backend,
}

impl Mesh {
    /// Without any traffic yet.
    async fn quiet() -> Self {
        let workspace = Workspace::new(&[("access/a.cedar", ACCESS), ("shaping/a.cedar", SHAPING)]);
        let engine = Engine::start(&workspace).await;
        let backend = Backend::start().await;
        let proxy = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
        engine.wait_enforced(1).await;
        Self { engine, workspace, proxy, _backend: backend }
    }

    async fn with_traffic() -> Self {
        let mesh = Self::quiet().await;
        let mut client = Client::new(mesh.proxy.inbound());
        for n in 0..ALLOWED {
            assert_eq!(client.get_as("shop/storefront", &format!("/items/{n}")).await.status, 200);
        }
        for _ in 0..DENIED {
            assert_eq!(client.get_as("shop/intruder", "/secret").await.status, 403);
        }
        for _ in 0..GREEDY {
            client.get_as("shop/greedy", "/items/1").await;
        }
        until("all requests are counted", || async {
            mesh.engine.number("SELECT CAST(sum(requests) AS BIGINT) FROM traffic").await == ALL as i64
        })
        .await;
        mesh
    }

    /// The `data` of an answer of the API.
    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        ask(self.engine.http, path, parameters).await
    }

    /// `label_values(selector, label)`, as Grafana asks it.
    async fn label_values(&self, expression: &str) {
        let inner = expression.strip_prefix("label_values(").and_then(|inner| inner.strip_suffix(')')).unwrap();
        let (selector, label) = inner.rsplit_once(',').unwrap_or(("", inner));
        let path = format!("/api/v1/label/{}/values?match[]={}", label.trim(), escape(selector.trim()));
        let path = if selector.is_empty() { format!("/api/v1/label/{}/values", label.trim()) } else { path };
        let answer = get(self.engine.http, &path).await.json();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
    }

    /// The one value of an instant query.
    async fn value(&self, query: &str) -> f64 {
        // A second is over before its sample is there.
        let soon = (now_s() + 2).to_string();
        let data = self.ask("/api/v1/query", &[("query", query), ("time", &soon)]).await;
        let result = data["result"].as_array().unwrap();
        assert_eq!(result.len(), 1, "{query}: {data}");
        result[0]["value"][1].as_str().unwrap().parse().unwrap()
    }
}

async fn ask(address: SocketAddr, path: &str, parameters: &[(&str, &str)]) -> Value {
    let pairs: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer = Client::new(address).send("POST", path, &headers, pairs.join("&").as_bytes()).await.unwrap();
    let json = answer.json();
    assert_eq!(json["status"], "success", "{parameters:?}: {json}");
    json["data"].clone()
}

fn escape(text: &str) -> String {
    let each = text.bytes().map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    each.collect()
}

fn close(left: f64, right: usize) -> bool {
    (left - right as f64).abs() < 1e-6
}

#[tokio::test(flavor = "multi_thread")]
async fn promql_counts_what_sql_counts() {
    let mesh = Mesh::with_traffic().await;
    for (query, expected) in [
        ("sum(tollgate_requests_total)", ALL),
        ("sum(tollgate_requests_total{source=\"shop/storefront\", decision=\"allow\"})", ALLOWED),
        ("sum(tollgate_requests_total{decision=~\"deny|limit\"})", DENIED + GREEDY - 5),
        ("sum(increase(istio_requests_total{reporter=\"destination\"}[5m]))", ALL),
        ("sum(increase(istio_requests_total{response_code!~\"4..\", source_workload=\"greedy\"}[5m]))", 5),
        ("sum(increase(istio_requests_total{destination_service=\"catalog.shop.svc.cluster.local\"}[5m]))", ALL),
        ("sum(increase(istio_requests_total{response_code=\"403\"}[5m]))", DENIED),
        (
            "sum(increase(istio_requests_total{response_code=~\"4.*\", connection_security_policy!=\"mutual_tls\"}[5m]))",
            15,
        ),
        ("sum(increase(istio_request_duration_milliseconds_count[5m]))", ALL),
        ("sum(increase(istio_request_duration_milliseconds_bucket{le=\"+Inf\"}[5m]))", ALL),
        ("sum(increase(istio_request_bytes_bucket{le=\"0.5\"}[5m]))", ALL),
        ("sum(increase(tollgate_request_duration_seconds_count{destination=\"shop/catalog\"}[5m]))", ALL),
    ] {
        let value = mesh.value(query).await;
        assert!(close(value, expected), "{query} is {value}, not {expected}");
    }
    let median =
        mesh.value("histogram_quantile(0.5, sum by (le) (rate(tollgate_request_duration_seconds_bucket[5m])))").await;
    let exact = mesh.engine.sql("SELECT p(duration_us, 50) AS p FROM requests").await[0]["p"].as_f64().unwrap() / 1e6;
    // Classic buckets are coarse: the median lies in the bucket of the exact one.
    assert!(median > exact / 5.0 && median < exact * 5.0, "{median} {exact}");

    let names = get(mesh.engine.http, "/api/v1/label/__name__/values").await.json();
    assert!(names["data"].as_array().unwrap().contains(&"istio_requests_total".into()), "{names}");
    let services = get(mesh.engine.http, "/api/v1/label/destination/values").await.json();
    assert_eq!(services["data"], serde_json::json!(["shop/catalog"]));
    let series = mesh.ask("/api/v1/series", &[("match[]", "tollgate_requests_total{decision=\"deny\"}")]).await;
    assert_eq!(series[0]["source"], "shop/intruder", "{series}");
    let build = get(mesh.engine.http, "/api/v1/status/buildinfo").await.json();
    assert_eq!(build["status"], "success");
    let now = now_s();
    let exemplars = mesh
        .ask(
            "/api/v1/query_exemplars",
            &[
                ("query", "tollgate_request_duration_seconds_bucket{destination=\"shop/catalog\"}"),
                ("start", &(now - 300).to_string()),
                ("end", &(now + 1).to_string()),
            ],
        )
        .await;
    assert_eq!(exemplars[0]["exemplars"][0]["labels"]["trace_id"].as_str().unwrap().len(), 32, "{exemplars}");

    let wrong = Client::new(mesh.engine.http).send("GET", "/api/v1/query?query=sum(", &[], b"").await.unwrap();
    assert_eq!((wrong.status, wrong.json()["errorType"].as_str()), (400, Some("bad_data")));
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_scrapes_the_engine_and_the_mesh() {
    let mesh = Mesh::with_traffic().await;
    let job = |name: &str, path: &str| {
        format!(
            "- job_name: {name}\n  metrics_path: {path}\n  static_configs: [{{ targets: ['{}'] }}]\n",
            mesh.engine.http
        )
    };
    let config = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n{}{}",
        job("engine", "/metrics"),
        job("mesh", "/metrics/mesh")
    );
    let prometheus = Prometheus::start(&mesh.workspace, &config, &["--enable-feature=exemplar-storage"]).await;
    prometheus.wait("count(up == 1)", 2).await;
    for (query, expected) in [
        ("sum(tollgate_requests_total)", ALL),
        ("sum(istio_requests_total{response_code=\"403\"})", DENIED),
        ("sum(istio_requests_total{response_code=\"429\", connection_security_policy=\"none\"})", GREEDY - 5),
        ("sum(istio_request_duration_milliseconds_bucket{le=\"+Inf\"})", ALL),
        ("sum(istio_request_bytes_count)", ALL),
    ] {
        prometheus.wait(query, expected).await;
    }
    // Exemplars are collected from the first scrape on: what comes now has them.
    Client::new(mesh.proxy.inbound()).get_as("shop/storefront", "/items/1").await;
    let now = now_s();
    let (start, end) = ((now - 300).to_string(), (now + 60).to_string());
    let query = "istio_request_duration_milliseconds_bucket{source_workload=\"storefront\"}";
    let asked = [("query", query), ("start", start.as_str()), ("end", end.as_str())];
    let found = eventually("an exemplar is scraped", || async {
        let found = prometheus.ask("/api/v1/query_exemplars", &asked).await;
        found[0]["exemplars"][0]["labels"]["trace_id"].as_str().map(str::to_owned)
    })
    .await;
    let known = format!("SELECT count(*) FROM requests WHERE encode(trace_id, 'hex') = '{found}'");
    assert_eq!(mesh.engine.number(&known).await, 1, "{found}");
}

/// What a page of counters says, by its lines.
fn counters(page: &str) -> std::collections::BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_of_the_mesh_never_fall() {
    let mesh = Mesh::with_traffic().await;
    let mut before = counters(&mesh.engine.get("/metrics/mesh").await.text());
    let mut client = Client::new(mesh.proxy.inbound());
    for round in 0..10 {
        for n in 0..5 {
            client.get_as("shop/storefront", &format!("/items/{}", round * n)).await;
        }
        let now = counters(&mesh.engine.get("/metrics/mesh").await.text());
        for (series, value) in &before {
            assert!(now.get(series).is_some_and(|now| now >= value), "{series} fell from {value}");
        }
        before = now;
    }
    // What the log brings back after a restart was counted before.
    let Mesh { engine, workspace, proxy, _backend } = mesh;
    proxy.stop().await;
    let count = "SELECT CAST(sum(requests) AS BIGINT) FROM traffic";
    until("all is kept", || async { engine.number(count).await == (ALL + 50) as i64 }).await;
    engine.kill().await;
    let engine = Engine::start(&workspace).await;
    assert_eq!(engine.number(count).await, (ALL + 50) as i64);
    let page = engine.get("/metrics/mesh").await.text();
    assert!(!page.contains("istio_requests_total{"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_every_dashboard_is_answered() {
    let mesh = Mesh::with_traffic().await;
    for expression in istio::expressions() {
        match istio::sent(&expression) {
            Some(query) => drop(mesh.ask("/api/v1/query", &[("query", query)]).await),
            None => mesh.label_values(&expression).await,
        }
    }

    let now_ms = now_s() as i64 * 1_000;
    let span = Span { from_ms: now_ms - 900_000, to_ms: now_ms + 5_000, interval_ms: 15_000 };
    let variables = [
        ("resolution", "1s"),
        ("service", "shop/catalog"),
        ("source", "shop/storefront"),
        ("destination", "shop/catalog"),
        ("caller", ""),
        ("path", ""),
        ("decision", "any"),
        ("status", "0"),
        ("slower_ms", "0"),
        ("trace", ""),
        ("traces", "http://127.0.0.1:16686/trace/"),
    ];
    let page = get(mesh.engine.http, "/metrics").await.text();
    let (mut empty, mut unknown) = (Vec::new(), Vec::new());
    for target in targets() {
        let sent = target.sent(&variables, span).unwrap();
        let place = format!("{:?}", target.place);
        let rows = match target.language {
            Language::Sql => sql(&mesh, &target, &sent).await,
            Language::PromQl => promql(&mesh, &sent, span).await,
            Language::EngineMetrics => {
                // Rates of an engine that has just started are empty, but what they are taken of must be there.
                promql(&mesh, &sent, span).await;
                let names =
                    sent.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| word.starts_with("tollgate_"));
                let names = names.map(|name| name.trim_end_matches("_total").trim_end_matches("_bucket"));
                let missing = |name: &&str| !page.contains(&format!("# TYPE {name} ")) && !UNUSED.contains(name);
                unknown.extend(names.filter(missing).map(str::to_owned));
                continue;
            }
        };
        if rows == 0 && !IDLE.iter().any(|idle| place.contains(idle)) {
            empty.push(place);
        }
    }
    assert!(empty.is_empty(), "without rows: {empty:#?}");
    assert!(unknown.is_empty(), "no metric of the engine: {unknown:?}");
}

/// Panels of the whole span read hours where they can, and finer rows at both ends: every request of the span counts once, wherever
/// it begins and ends.
#[tokio::test(flavor = "multi_thread")]
async fn panels_of_a_span_count_each_request_of_it_once() {
    const MINUTE_MS: i64 = 60_000;
    let workspace = Workspace::new(&[("access/a.cedar", ACCESS)]);
    let engine = Engine::start(&workspace).await;
    // One request each minute of five hours, all by the clock's minutes.
    let last_ms = now_s() as i64 * 1_000 / MINUTE_MS * MINUTE_MS;
    let times: Vec<i64> = (1..=300).map(|minute| last_ms - minute * MINUTE_MS).collect();
    report(&engine, &times).await;
    until("all are counted", || async { engine.number("SELECT sum(requests) FROM traffic_1m").await == 300 }).await;

    let asked: Vec<Target> = targets()
        .into_iter()
        .filter(|target| {
            let place = &target.place;
            matches!(place, Place::Panel { dashboard: "tollgate-mesh", panel: "Requests" | "Services" | "Calls", .. })
        })
        .collect();
    assert_eq!(asked.len(), 3);
    let hour_ms = last_ms / 3_600_000 * 3_600_000;
    for (from_ms, to_ms) in [
        (hour_ms - 4 * 3_600_000, hour_ms - 3_600_000),
        (hour_ms - 4 * 3_600_000 + 17 * MINUTE_MS, hour_ms - 3_600_000 + 43 * MINUTE_MS),
        (hour_ms - 3 * 3_600_000 + 10 * MINUTE_MS, hour_ms - 3 * 3_600_000 + 50 * MINUTE_MS),
        (hour_ms - 2 * 3_600_000 - 10 * MINUTE_MS, hour_ms - 2 * 3_600_000 + 10 * MINUTE_MS),
        (last_ms - 301 * MINUTE_MS, last_ms + 5_000),
    ] {
        let expected = times.iter().filter(|time| (from_ms..=to_ms).contains(time)).count() as f64;
        let span = Span { from_ms, to_ms, interval_ms: MINUTE_MS };
        for target in &asked {
            let sent = target.sent(&[("resolution", "1m")], span).unwrap();
            let rows = engine.try_sql(&sent).await.unwrap();
            assert_eq!(rows.len(), 1, "{sent}");
            let per_second = rows[0].get("value").or_else(|| rows[0].get("rate")).and_then(Value::as_f64).unwrap();
            let counted = per_second * (to_ms / 1_000 - from_ms / 1_000) as f64;
            assert!((counted - expected).abs() < 1e-6, "{counted}, not {expected}, in {span:?}:\n{sent}");
        }
    }
    engine.stop().await;
}

/// Sends one request for each of these times.
async fn report(engine: &Engine, times_ms: &[i64]) {
    let mut rows = BatchBuilder::new(BatchLimits::default());
    for time_ms in times_ms {
        let row = Row {
            time: time_ms * 1_000,
            reporter: "dated",
            direction: "inbound",
            source: "shop/storefront",
            destination: "shop/catalog",
            status: Some(200),
            duration_us: 1_000,
            decision: "allow",
            weight: 1,
            ..Row::default()
        };
        let _ = rows.push(&row);
    }
    let batch = v1::Batch { sequence: 1, arrow_ipc: encode(&rows.finish().unwrap()).unwrap().into() };
    let hello = v1::ReportHello { reporter: "dated".into(), epoch: 1, agent: "test".into() };
    let messages = [Message::Hello(hello), Message::Batch(batch)];
    let requests = messages.map(|message| v1::ReportRequest { message: Some(message) });
    let mut telemetry =
        v1::telemetry_client::TelemetryClient::connect(format!("http://{}", engine.grpc)).await.unwrap();
    // The stream stays open until its batch is acknowledged.
    let requests = tokio_stream::StreamExt::chain(tokio_stream::iter(requests), tokio_stream::pending());
    let mut answers = telemetry.report(requests).await.unwrap().into_inner();
    loop {
        let answer = answers.message().await.unwrap().unwrap();
        assert!(answer.rejections.is_empty(), "{:?}", answer.rejections);
        if answer.acknowledged_sequence == 1 {
            break;
        }
    }
}

/// Metrics of the engine that have no series before something happens.
const UNUSED: [&str; 4] =
    ["tollgate_rows_lost", "tollgate_batches_rejected", "tollgate_checks", "tollgate_signal_runs"];

/// What has no rows where nothing waits, nothing is lost, no policy is unused, in shadow mode or changed, one proxy has the whole of every
/// limit, and no signals are there.
const IDLE: [&str; 13] = [
    "Annotation",
    "Alert",
    "Buckets",
    "Called services",
    "From change to enforcement",
    "Leases",
    "Lost rows by reason",
    "Refused and failed requests",
    "Signals",
    "Time in the queue",
    "Unused policies",
    "Would be refused",
    "traces",
];

async fn sql(mesh: &Mesh, target: &Target, query: &str) -> usize {
    let rows = mesh.engine.try_sql(query).await.unwrap_or_else(|error| panic!("{:?}: {error}\n{query}", target.place));
    if target.format == Format::TimeSeries && !rows.is_empty() {
        let times: Vec<_> = rows.iter().map(|row| row.get("time").unwrap_or(&Value::Null).clone()).collect();
        assert!(times.iter().all(|time| !time.is_null()), "{:?}: no `time` in {rows:?}", target.place);
        let numbers: Vec<_> = times.iter().filter_map(Value::as_f64).collect();
        assert!(numbers.is_sorted(), "{:?}: time falls", target.place);
    }
    rows.len()
}

async fn promql(mesh: &Mesh, query: &str, span: Span) -> usize {
    let seconds = |ms: i64| (ms / 1_000).to_string();
    let (start, end) = (seconds(span.from_ms), seconds(span.to_ms));
    let data =
        mesh.ask("/api/v1/query_range", &[("query", query), ("start", &start), ("end", &end), ("step", "15")]).await;
    data["result"].as_array().unwrap().len()
}
