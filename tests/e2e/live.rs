//! What happens now: server-sent events, and the commands that show them and the views in a terminal.

use std::process::Stdio;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;

use crate::harness::{Backend, Client, Engine, PATIENCE, Proxy, Workspace, tollgate, until};

const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);\n";

/// An engine, and a proxy to send requests through.
struct Shop {
    engine: Engine,
    proxy: Proxy,
    _workspace: Workspace,
    _backend: Backend,
}

impl Shop {
    async fn start() -> Self {
        let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
        let engine = Engine::start(&workspace).await;
        let backend = Backend::start().await;
        let proxy = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
        engine.wait_enforced(1).await;
        Self { engine, proxy, _workspace: workspace, _backend: backend }
    }

    async fn call(&self, path: &str) {
        Client::new(self.proxy.inbound()).get_as("shop/a", path).await;
    }
}

/// An open tail.
struct Tail {
    body: Incoming,
    text: String,
}

impl Tail {
    /// Returns once the engine follows.
    async fn open(engine: &Engine, query: &str) -> Self {
        let stream = TcpStream::connect(engine.http).await.unwrap();
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(format!("/v1/tail?{query}")).header("host", "engine").body(Empty::<Bytes>::new());
        let response = sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut tail = Self { body: response.into_body(), text: String::new() };
        tail.read_until(": following\n\n").await;
        tail
    }

    async fn read_until(&mut self, end: &str) {
        let reading = async {
            while !self.text.contains(end) {
                let frame = self.body.frame().await.unwrap_or_else(|| panic!("no `{end}` in {}", self.text));
                self.text.push_str(std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap());
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("waited for `{end}`"));
    }

    async fn rest(self) -> String {
        self.text + std::str::from_utf8(&self.body.collect().await.unwrap().to_bytes()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_shows_requests_as_they_are_admitted() {
    let shop = Shop::start().await;
    shop.call("/?status=500").await;
    until("it is kept", || async { shop.engine.number("SELECT count(*) FROM requests").await == 1 }).await;
    let query = "where=status+%3E%3D+500&columns=status,source,route&limit=2";
    let failed = Tail::open(&shop.engine, query).await;
    let mut all = Tail::open(&shop.engine, "columns=status").await;
    for path in ["/items/1", "/items/2?status=503", "/items/3", "/items/4?status=500", "/items/5?status=502"] {
        shop.call(path).await;
    }
    let text = tokio::time::timeout(PATIENCE, failed.rest()).await.unwrap();
    let rows: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let row = |status| json!({ "status": status, "source": "shop/a", "route": "/items/{id}" });
    assert_eq!(rows, [row(503), row(500), json!({ "rows": 2, "reason": "limit" })], "{text}");
    assert!(text.contains("event: end\ndata: "), "{text}");

    all.read_until("data: {\"status\":502}\n\n").await;
    shop.engine.stop().await;
    let text = tokio::time::timeout(PATIENCE, all.rest()).await.unwrap();
    assert!(text.contains("event: end\ndata: ") && text.contains("\"reason\":\"shutdown\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_followed_is_a_problem_before_anything_is_sent() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let engine = Engine::start(&workspace).await;
    let check = async |query: &str, accept: &str, status: u16, detail: &str| {
        let path = format!("/v1/tail?{query}");
        let answer = Client::new(engine.http).send("GET", &path, &[("accept", accept)], b"").await.unwrap();
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let json = answer.json();
        assert!(json["detail"].as_str().unwrap().contains(detail), "{json}");
    };
    let known = "1:1: `where`: unknown column `statuss`; help: did you mean `status`?";
    check("where=statuss+%3E+1", "text/event-stream", 400, known).await;
    check("where=status+%3E", "*/*", 400, "`where`").await;
    check("where=count(*)%3E1", "*/*", 400, "one at a time").await;
    check("columns=nope", "*/*", 400, "1:1: `columns`: unknown column `nope`").await;
    check("limit=0", "*/*", 400, "`limit` is `0`").await;
    check("filter=true", "*/*", 400, "unknown parameter `filter`").await;
    check("", "application/json", 406, "text/event-stream").await;

    // As many as there are places; each that ends leaves its place to another.
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(Tail::open(&engine, "").await);
    }
    check("", "*/*", 429, "64 tails are open").await;
    drop(open);
    until("a place is free", || async { engine.get("/v1/tail?where=nope").await.status == 400 }).await;
}

/// Starts a command and reads its first lines, while requests come in.
async fn lines(shop: &Shop, args: &[&str], count: usize) -> (tokio::process::Child, Vec<String>) {
    let mut command = tokio::process::Command::from(tollgate(args));
    command.env("TOLLGATE_ENGINE", shop.engine.url()).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = Vec::new();
    let reading = async {
        while lines.len() < count {
            tokio::select! {
                line = output.next_line() => match line.unwrap() {
                    Some(line) => lines.push(line),
                    None => break,
                },
                // Once more, as the command may not have been there before.
                () = tokio::time::sleep(std::time::Duration::from_millis(100)) => shop.call("/items/7?status=503").await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("{args:?} was silent"));
    (child, lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn tap_prints_requests_and_ends_as_it_is_told() {
    let shop = Shop::start().await;
    let columns = ["tap", "--columns", "status, route", "--where", "status >= 500", "--limit", "2"];
    let (mut child, seen) = lines(&shop, &columns, 3).await;
    assert_eq!(seen[0], "status  route");
    assert!(seen[1..].iter().all(|line| line == "   503  /items/{id}"), "{seen:?}");
    assert_eq!(child.wait().await.unwrap().code(), Some(0));

    // Ctrl-C is an end like any other.
    let (mut child, seen) = lines(&shop, &["tap", "-o", "json"], 1).await;
    let row: Value = serde_json::from_str(&seen[0]).unwrap();
    assert_eq!((&row["destination"], &row["status"]), (&json!("shop/catalog"), &json!(503)));
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(child.wait().await.unwrap().code(), Some(0));

    let url = shop.engine.url();
    let mut wrong = tollgate(&["tap", "--engine", &url, "--where", "statuss = 1"]);
    let output = tokio::task::spawn_blocking(move || wrong.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("`where`: unknown column `statuss`; help: did you mean `status`?"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stat_top_and_edges_print_what_is_going_on() {
    let shop = Shop::start().await;
    let print = async |args: &[&str]| {
        let mut command = tollgate(args);
        command.env("TOLLGATE_ENGINE", shop.engine.url());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, _) = print(&["top"]).await;
    assert_eq!((code, out.as_str()), (Some(0), "nobody called in the last minute\n"));
    for path in ["/", "/", "/", "/?status=500"] {
        shop.call(path).await;
    }
    let counted = "SELECT count(*) FROM edges WHERE requests >= 4";
    until("the requests are counted", || async { shop.engine.number(counted).await == 1 }).await;

    let (code, out, error) = print(&["edges"]).await;
    assert_eq!(code, Some(0), "{error}");
    let lines: Vec<_> = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines[0], "caller | called | req/s | success | p50 | p99 | denied | limited");
    assert!(lines[2].starts_with("shop/a | shop/catalog | 0.1 | 75.00% |"), "{out}");
    let (_, out, _) = print(&["top", "-o", "json", "--where", "requests >= 4"]).await;
    let rows: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&rows[0]["source"], &rows[0]["requests"]), (&json!("shop/a"), &json!(4)), "{out}");
    let (_, out, _) = print(&["stat", "-o", "csv"]).await;
    assert!(out.starts_with("service,requests_per_second,success,"), "{out}");

    // What is asked for again and again is printed one below the other.
    let (child, seen) = self::lines(&shop, &["stat", "--every", "100ms"], 6).await;
    drop(child);
    assert_eq!(seen.iter().filter(|line| line.contains("req/s")).count(), 2, "{seen:?}");

    let (code, _, error) = print(&["stat", "--where", "nope > 1"]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("unknown column `nope`"), "{error}");
}
