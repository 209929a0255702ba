//! Lists: in force as soon as they change, and while their sources fail as they last were.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::harness::{Backend, Client, Engine, Proxy, Workspace, eventually, until};

const ACCESS: &str = "\
@id(\"all\") permit (principal, action, resource);
@id(\"listed\") forbid (principal, action, resource == Service::\"shop/catalog\") when { context.lists.contains(\"bad\") };
";

/// A web server with one page.
struct Page {
    address: SocketAddr,
    answer: Arc<Mutex<(u16, String)>>,
    task: JoinHandle<()>,
}

impl Page {
    async fn start(text: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new((200, text.to_owned())));
        let shared = Arc::clone(&answer);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4_096];
                let _ = stream.read(&mut request).await;
                let (status, text) = shared.lock().unwrap().clone();
                let head =
                    format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
                let _ = stream.write_all((head + &text).as_bytes()).await;
            }
        });
        Self { address, answer, task }
    }

    fn set(&self, status: u16, text: &str) {
        *self.answer.lock().unwrap() = (status, text.to_owned());
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answers(proxy: &Proxy, caller: &str, status: u16) {
    until(&format!("{caller} gets {status}"), || async {
        Client::new(proxy.inbound()).get_as(caller, "/").await.status == status
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_a_file_is_in_force_when_it_is_saved() {
    let workspace = Workspace::new(&[
        ("access/all.cedar", ACCESS),
        ("lists/bad.yaml", "kind: exact\nof: source\nfile: bad.txt\n"),
        ("lists/bad.txt", "# nobody yet\n# empty\n"),
    ]);
    let engine = Engine::start(&workspace).await;
    let backend = Backend::start().await;
    let proxy = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
    let other = Proxy::in_front_of(&workspace, &engine, "payments-1", "shop/payments", backend.address).await;
    engine.wait_enforced(2).await;
    answers(&proxy, "shop/a", 200).await;

    workspace.write_policy("lists/bad.txt", "shop/a\nshop/c # until further notice\n");
    answers(&proxy, "shop/a", 403).await;
    answers(&proxy, "shop/b", 200).await;
    let row = engine.sql("SELECT name, kind, of, source, entries, error FROM lists").await;
    let shown = json!({ "name": "bad", "kind": "exact", "of": "source", "source": "lists/bad.txt", "entries": 2, "error": null });
    assert_eq!(row, [shown]);
    // It is pushed where a policy reads it, and nowhere else.
    let pushed = engine.sql("SELECT DISTINCT reporter FROM decisions WHERE cause = 'lists'").await;
    assert_eq!(pushed, [json!({ "reporter": "catalog-1" })]);

    // Without its source it stays as it was.
    std::fs::remove_file(workspace.policies().join("lists/bad.txt")).unwrap();
    let error = eventually("the failure is shown", || async {
        engine.sql("SELECT error FROM lists").await[0]["error"].as_str().map(str::to_owned)
    })
    .await;
    assert!(error.contains("lists/bad.txt"), "{error}");
    answers(&proxy, "shop/a", 403).await;
    workspace.write_policy("lists/bad.txt", "shop/c\n");
    answers(&proxy, "shop/a", 200).await;
    answers(&proxy, "shop/c", 403).await;
    assert_eq!(Client::new(other.inbound()).get_as("shop/c", "/").await.status, 200);

    // A name that is none is refused where it stands, with what was meant.
    workspace.write_policy("access/all.cedar", &ACCESS.replace("\"bad\"", "\"bda\""));
    let problem = eventually("the edit is refused", || async {
        let ready = engine.get("/readyz").await.json();
        ready["policies"]["refused"]["diagnostics"].as_array().map(|problems| problems[0].clone())
    })
    .await;
    assert_eq!((&problem["code"], &problem["line"]), (&json!("TG0804"), &json!(2)), "{problem}");
    assert!(problem["help"].as_str().unwrap().contains("`bad`"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_list_holds_while_its_source_fails_and_over_a_restart() {
    let page = Page::start("127.0.0.0/8\n").await;
    let list = format!("kind: cidr\nurl: http://user:secret@{}/bad.txt?token=secret\nrefresh: 1s\n", page.address);
    let workspace = Workspace::new(&[("access/all.cedar", ACCESS), ("lists/bad.yaml", &list)]);
    let engine = Engine::start(&workspace).await;
    let backend = Backend::start().await;
    let proxy = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
    answers(&proxy, "shop/a", 403).await;

    page.set(500, "out of order");
    let failed = "SELECT count(*) FROM lists WHERE error LIKE '%500%' AND entries = 1 AND refreshed_at IS NOT NULL";
    until("the failure is shown", || async { engine.number(failed).await == 1 }).await;
    assert_eq!(engine.sql("SELECT source FROM lists").await[0]["source"], format!("http://{}/bad.txt", page.address));
    let metrics = engine.get("/metrics").await.text();
    assert!(metrics.contains("tollgate_lists{state=\"failing\"} 1"), "{metrics}");
    assert_eq!(Client::new(proxy.inbound()).get_as("shop/a", "/").await.status, 403);
    page.set(200, "<html>Sorry!</html>");
    let not_a_list = "SELECT count(*) FROM lists WHERE error LIKE 'line 1:%' AND entries = 1";
    until("what is no list is refused", || async { engine.number(not_a_list).await == 1 }).await;

    // An engine that starts meanwhile has it, and so has a proxy that comes to it.
    proxy.stop().await;
    engine.stop().await;
    let engine = Engine::start(&workspace).await;
    let proxy = Proxy::in_front_of(&workspace, &engine, "catalog-2", "shop/catalog", backend.address).await;
    engine.wait_enforced(1).await;
    assert_eq!(Client::new(proxy.inbound()).get_as("shop/a", "/").await.status, 403);
    page.set(200, "192.0.2.0/24\n");
    answers(&proxy, "shop/a", 200).await;
    assert!(!workspace.log("engine").contains("secret"), "{}", workspace.log("engine"));
}
