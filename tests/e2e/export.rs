//! Telemetry that goes elsewhere: OTLP to a collector, by gRPC and by HTTP.

mod collector;

use self::collector::Collector;
use crate::harness::{Backend, Client, Engine, Proxy, Workspace, until};
use crate::prometheus::Prometheus;

const ACCESS: &str = "@id(\"items\") permit (principal, action, resource) when { context.path like \"/items/*\" };\n";

/// Sends what is allowed, what is refused and what fails through a proxy whose engine exports as `settings` say.
async fn traffic(workspace: &Workspace, settings: &str) -> (Engine, Proxy, Backend) {
    let engine = Engine::start_at(workspace, "127.0.0.1:0".parse().unwrap(), settings).await;
    let backend = Backend::start().await;
    let proxy = Proxy::in_front_of(workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
    engine.wait_enforced(1).await;
    let mut client = Client::new(proxy.inbound());
    for n in 0..5 {
        assert_eq!(client.get_as("shop/storefront", &format!("/items/{n}")).await.status, 200);
    }
    for _ in 0..3 {
        assert_eq!(client.get_as("shop/intruder", "/secret").await.status, 403);
    }
    assert_eq!(client.get_as("shop/storefront", "/items/1?status=503").await.status, 503);
    (engine, proxy, backend)
}

/// Three records and four spans arrive, though the collector was not ready at first, and the engine counts them.
async fn arrives(collector: &Collector, workspace: &Workspace, settings: &str) {
    collector.received().unavailable = 2;
    collector.received().rejected = 1;
    let (engine, _proxy, _backend) = traffic(workspace, settings).await;
    let spans = || collector.received().spans.iter().map(|spans| spans.scope_spans[0].spans.len()).sum::<usize>();
    until("all has arrived", || async { collector.received().records.len() == 3 && spans() == 4 }).await;
    let rows = "SELECT encode(trace_id, 'hex') AS id FROM requests WHERE decision = 'deny' OR status >= 500 ORDER BY 1";
    let known: Vec<_> = engine.sql(rows).await.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    {
        let received = collector.received();
        let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut found: Vec<_> = received
            .spans
            .iter()
            .flat_map(|resource| &resource.scope_spans[0].spans)
            .map(|span| hex(&span.trace_id))
            .collect();
        found.sort();
        assert_eq!(found, known, "spans have the ids of the rows");
        assert!(received.records.iter().all(|record| known.contains(&hex(&record.trace_id))));
        assert!(received.tokens.iter().all(|token| token == "s3cret") && !received.tokens.is_empty());
    }
    for counted in [
        "tollgate_exported_total{to=\"otlp\",signal=\"logs\",outcome=\"sent\"} 2",
        "tollgate_exported_total{to=\"otlp\",signal=\"logs\",outcome=\"rejected\"} 1",
        "tollgate_exported_total{to=\"otlp\",signal=\"traces\",outcome=\"sent\"} 4",
    ] {
        until(counted, || async { engine.get("/metrics").await.text().contains(counted) }).await;
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_and_traces_go_to_a_collector_by_http() {
    let collector = Collector::http().await;
    let workspace = Workspace::new(&[("access/a.cedar", ACCESS)]);
    let endpoint = format!("http://{}", collector.address);
    let settings = format!(
        "export: {{ otlp: {{ endpoint: '{endpoint}', protocol: http/protobuf, headers: {{ x-token: s3cret }}, slow: 1h }} }}"
    );
    arrives(&collector, &workspace, &settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_and_traces_go_to_a_collector_by_grpc_with_tls() {
    let workspace = Workspace::new(&[("access/a.cedar", ACCESS)]);
    let (cert, key) = certificate(&workspace);
    let read = |path| std::fs::read_to_string(path).unwrap();
    let collector = Collector::grpc(Some((read(&cert), read(&key)))).await;
    let settings = format!(
        "export: {{ otlp: {{ endpoint: 'https://localhost:{}', headers: {{ x-token: s3cret }}, slow: 1h, tls: {{ ca: {} }} }} }}",
        collector.address.port(),
        cert.display()
    );
    arrives(&collector, &workspace, &settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_nobody_up() {
    let workspace = Workspace::new(&[("access/a.cedar", ACCESS)]);
    let (engine, _proxy, _backend) =
        traffic(&workspace, "export: { otlp: { endpoint: 'http://127.0.0.1:9', logs: all, traces: all } }").await;
    until("rows are kept all the same", || async { engine.number("SELECT count(*) FROM requests").await == 9 }).await;
    until("that is logged", || async { workspace.log("engine").contains("the receiver takes no telemetry") }).await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn series_are_pushed_to_a_real_prometheus() {
    let workspace = Workspace::new(&[("access/a.cedar", ACCESS)]);
    let arguments = ["--web.enable-remote-write-receiver", "--enable-feature=exemplar-storage"];
    let prometheus = Prometheus::start(&workspace, "global: {}\n", &arguments).await;
    let url = format!("http://{}/api/v1/write", prometheus.address);
    let settings = format!("export: {{ remote_write: {{ url: '{url}', every: 1s, labels: {{ cluster: test }} }} }}");
    let (engine, _proxy, _backend) = traffic(&workspace, &settings).await;
    for (query, expected) in [
        ("sum(tollgate_requests_total{cluster=\"test\", job=\"tollgate\"})", 9),
        ("sum(istio_requests_total{reporter=\"destination\", source_workload=\"intruder\"})", 3),
        ("sum(istio_request_duration_milliseconds_bucket{le=\"+Inf\"})", 9),
        ("sum(istio_response_bytes_count)", 9),
        ("count(count by (instance) (tollgate_requests_total))", 1),
    ] {
        prometheus.wait(query, expected).await;
    }
    until("what is sent is counted", || async {
        let page = engine.get("/metrics").await.text();
        let sent = "tollgate_exported_total{to=\"remote_write\",signal=\"metrics\",outcome=\"sent\"}";
        page.contains(sent) && !page.contains("outcome=\"dropped")
    })
    .await;
    engine.stop().await;
}

/// A certificate for `localhost` that signs itself, and its key.
fn certificate(workspace: &Workspace) -> (std::path::PathBuf, std::path::PathBuf) {
    let (cert, key) = (workspace.path("cert.pem"), workspace.path("key.pem"));
    let status = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout".as_ref(), key.as_os_str(), "-out".as_ref(), cert.as_os_str()])
        .stderr(std::process::Stdio::null())
        .status()
        .expect("openssl is missing: run `make setup`");
    assert!(status.success());
    (cert, key)
}
