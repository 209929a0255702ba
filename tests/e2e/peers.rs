//! Other people's clients and servers: curl, nghttp, nginx and Prometheus.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use crate::harness::{Backend, Client, Engine, Proxy, Workspace, get, until};

const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);\n";

/// Output of a peer's program, which has to be installed.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("`{program}`: {error}; install the peers with tests/setup.sh"));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_and_nghttp_reach_a_service_over_both_versions_of_http() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let engine = Engine::start(&workspace).await;
    let backend = Backend::start().await;
    let proxy = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
    engine.wait_enforced(1).await;
    let url = format!("http://{}/items/1", proxy.inbound());

    let one = url.clone();
    let answer = blocking(move || run("curl", &["-sS", "-i", "--http1.1", "--data", "hello", &one])).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    let prior = url.clone();
    let answer =
        blocking(move || run("curl", &["-sS", "-i", "--http2-prior-knowledge", "--data", "hello", &prior])).await;
    assert!(answer.starts_with("HTTP/2 200") && answer.ends_with("hello"), "{answer}");
    let answer = blocking(move || run("nghttp", &["-v", "--no-dep", &url])).await;
    assert!(answer.contains(":status: 200"), "{answer}");

    until("three rows are kept", || async { engine.number("SELECT count(*) FROM requests").await == 3 }).await;
    let protocols = engine
        .sql("SELECT protocol, count(*) AS n, sum(request_bytes) AS bytes FROM requests GROUP BY 1 ORDER BY 1")
        .await;
    assert_eq!(
        protocols,
        serde_json::json!([{ "protocol": "http/1.1", "n": 1, "bytes": 5 }, { "protocol": "http/2", "n": 2, "bytes": 5 }])
            .as_array()
            .unwrap()
            .clone()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_serves_through_the_proxy() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let engine = Engine::start(&workspace).await;
    let address = free_port();
    let root = workspace.path("www");
    fs::create_dir_all(&root).unwrap();
    let page = "x".repeat(3 << 20);
    fs::write(root.join("big.txt"), &page).unwrap();
    let dir = workspace.path("");
    let config = workspace.path("nginx.conf");
    fs::write(
        &config,
        format!(
            "daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx.err; events {{}}\n\
             http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; \
             uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
             server {{ listen {address}; root {root}; }} }}\n",
            dir = dir.display(),
            root = root.display()
        ),
    )
    .unwrap();
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let nginx = tokio::process::Command::new("nginx").arg("-c").arg(&config).kill_on_drop(true).spawn();
    let _nginx = nginx.unwrap_or_else(|error| panic!("`nginx`: {error}; install the peers with tests/setup.sh"));
    until("nginx listens", || async { tokio::net::TcpStream::connect(address).await.is_ok() }).await;

    let proxy = Proxy::in_front_of(&workspace, &engine, "nginx-1", "shop/static", address).await;
    engine.wait_enforced(1).await;
    let answer = get(proxy.inbound(), "/big.txt").await;
    assert_eq!((answer.status, answer.body.len()), (200, page.len()));
    assert_eq!(get(proxy.inbound(), "/none.txt").await.status, 404);
    until("both rows are kept", || async { engine.number("SELECT count(*) FROM requests").await == 2 }).await;
    assert_eq!(engine.number("SELECT max(response_bytes) FROM requests").await, page.len() as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_engine_and_proxy() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let engine = Engine::start(&workspace).await;
    let backend = Backend::start().await;
    let proxy = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
    engine.wait_enforced(1).await;
    for _ in 0..5 {
        assert_eq!(Client::new(proxy.inbound()).get_as("shop/a", "/").await.status, 200);
    }
    let admin = proxy.admin.unwrap();
    let address = free_port();
    let config = workspace.path("prometheus.yml");
    fs::write(
        &config,
        format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n- job_name: tollgate\n  static_configs:\n  - targets: ['{}', '{admin}']\n",
            engine.http
        ),
    )
    .unwrap();
    let check = config.display().to_string();
    let checked = blocking(move || run("promtool", &["check", "config", &check])).await;
    assert!(checked.contains("SUCCESS"), "{checked}");
    let prometheus = tokio::process::Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", workspace.path("tsdb").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let _prometheus =
        prometheus.unwrap_or_else(|error| panic!("`prometheus`: {error}; install the peers with tests/setup.sh"));
    until("prometheus listens", || async { tokio::net::TcpStream::connect(address).await.is_ok() }).await;

    let value = async |query: &str| {
        let answer = get(address, &format!("/api/v1/query?query={query}")).await;
        // It listens before it answers.
        let answer = if answer.status == 200 { answer.json() } else { return None };
        answer["data"]["result"][0]["value"][1].as_str().and_then(|value| value.parse::<f64>().ok())
    };
    until("both targets are up", || async { value("sum(up)").await == Some(2.0) }).await;
    until("the engine counts its rows", || async { value("sum(tollgate_rows_admitted_total)").await == Some(5.0) })
        .await;
    until("the proxy counts its requests", || async { value("sum(tollgate_proxy_requests_total)").await == Some(5.0) })
        .await;
}
