//! Policy edits: live within a second without a failed request, or refused whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::{Backend, Client, Engine, Proxy, Workspace, eventually, until};

const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);\n";

async fn shop(workspace: &Workspace) -> (Engine, Backend, Proxy) {
    let engine = Engine::start(workspace).await;
    let backend = Backend::start().await;
    let proxy = Proxy::in_front_of(workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
    engine.wait_enforced(1).await;
    (engine, backend, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_under_load_fail_no_request() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let (engine, _backend, proxy) = shop(&workspace).await;

    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            let (stop, answered, address) = (Arc::clone(&stop), Arc::clone(&answered), proxy.inbound());
            tokio::spawn(async move {
                let mut client = Client::new(address);
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get_as(&format!("shop/caller-{caller}"), "/items/1").await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();

    for edit in 1..=10 {
        let before = engine.number("SELECT acknowledged_version FROM reporters").await;
        let served = answered.load(Ordering::Relaxed);
        let text = format!(
            "{PERMIT}@id(\"edit-{edit}\") forbid (principal == Service::\"shop/none-{edit}\", action, resource);\n"
        );
        workspace.write_policy("access/all.cedar", &text);
        until("the edit is enforced", || async {
            let query = format!("SELECT count(*) FROM policies WHERE id = 'edit-{edit}'");
            engine.number(&query).await == 1
                && engine.number("SELECT acknowledged_version FROM reporters").await > before
        })
        .await;
        until("requests went on", || async { answered.load(Ordering::Relaxed) > served }).await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let answered = answered.load(Ordering::Relaxed) as i64;
    until("every request has its row", || async { engine.number("SELECT count(*) FROM requests").await == answered })
        .await;
    assert_eq!(engine.number("SELECT count(*) FROM requests WHERE decision <> 'allow'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_edit_is_refused_whole_and_the_last_good_one_stays() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let (engine, _backend, proxy) = shop(&workspace).await;
    let mut client = Client::new(proxy.inbound());

    // Two problems in two files; a third, good file would deny everything, and must not take effect either.
    workspace.write_policy("access/deny.cedar", "@id(\"none\") forbid (principal, action, resource);\n");
    workspace
        .write_policy("shaping/limits.cedar", "@id(\"x\") @limt(\"5/s\")\npermit (principal, action, resource);\n");
    workspace.write_policy(
        "access/all.cedar",
        "@id(\"all\")\npermit (principal, action, resource) when { context.pth == \"/\" };\n",
    );
    let ready = eventually("the edit is refused", || async {
        let ready = engine.get("/readyz").await;
        assert_eq!(ready.status, 200);
        let text = ready.text();
        (text.contains("access/all.cedar") && text.contains("shaping/limits.cedar")).then_some(ready)
    })
    .await;
    let refused = ready.json()["policies"]["refused"]["diagnostics"].clone();
    let all = refused.as_array().unwrap().iter().find(|d| d["file"] == "access/all.cedar").unwrap();
    assert_eq!(all["line"], 2, "{all}");
    assert!(all.to_string().contains("path"), "suggests the attribute: {all}");
    let limits = refused.as_array().unwrap().iter().find(|d| d["file"] == "shaping/limits.cedar").unwrap();
    assert!(limits.to_string().contains("@limit"), "suggests the annotation: {limits}");

    assert!(engine.get("/metrics").await.text().contains("tollgate_policies_refused 1"));
    assert!(workspace.log("engine").contains("access/all.cedar:2:"), "{}", workspace.log("engine"));
    assert_eq!(client.get_as("shop/a", "/").await.status, 200, "the last good policies are in force");

    // Mended: all of it takes effect, the forbid too.
    workspace
        .write_policy("shaping/limits.cedar", "@id(\"x\") @limit(\"5/s\")\npermit (principal, action, resource);\n");
    workspace.write_policy("access/all.cedar", PERMIT);
    until("the mended edit is enforced", || {
        let mut client = Client::new(proxy.inbound());
        async move { client.get_as("shop/a", "/").await.status == 403 }
    })
    .await;
    let ready = engine.get("/readyz").await;
    assert!(ready.json()["policies"]["refused"].is_null(), "{}", ready.text());
    assert!(engine.get("/metrics").await.text().contains("tollgate_policies_refused 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_directory_keeps_the_last_good_policies() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let (engine, _backend, proxy) = shop(&workspace).await;
    std::fs::rename(workspace.policies(), workspace.path("elsewhere")).unwrap();
    until("the change is refused", || async { !engine.get("/readyz").await.json()["policies"]["refused"].is_null() })
        .await;
    assert_eq!(Client::new(proxy.inbound()).get_as("shop/a", "/").await.status, 200);
    std::fs::rename(workspace.path("elsewhere"), workspace.policies()).unwrap();
    until("it is accepted again", || async { engine.get("/readyz").await.json()["policies"]["refused"].is_null() })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_and_observe_record_and_refuse_nothing() {
    let shadow = "@id(\"no-curl\") @mode(\"shadow\") forbid (principal, action, resource) when { context.user_agent like \"curl*\" };\n";
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT), ("access/shadow.cedar", shadow)]);
    let (engine, _backend, proxy) = shop(&workspace).await;
    let mut client = Client::new(proxy.inbound());
    let answer = client.send("GET", "/", &[("user-agent", "curl/8.5")], b"").await.unwrap();
    assert_eq!(answer.status, 200);
    let row = eventually("the row is kept", || async {
        engine.sql("SELECT decision, shadow FROM requests").await.into_iter().next()
    })
    .await;
    assert_eq!(row, serde_json::json!({ "decision": "allow", "shadow": ["no-curl"] }));
    engine.stop().await;

    let empty = Workspace::new(&[]);
    let engine = Engine::start_at(&empty, "127.0.0.1:0".parse().unwrap(), "mode: observe\n").await;
    let backend = Backend::start().await;
    let proxy = Proxy::in_front_of(&empty, &engine, "catalog-1", "shop/catalog", backend.address).await;
    engine.wait_enforced(1).await;
    assert_eq!(Client::new(proxy.inbound()).get_as("shop/a", "/").await.status, 200);
    let row = eventually("the row is kept", || async {
        engine.sql("SELECT decision, reason, shadow FROM requests").await.into_iter().next()
    })
    .await;
    assert_eq!(row, serde_json::json!({ "decision": "allow", "reason": "observed", "shadow": ["no_permit"] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_name_is_believed_only_where_it_is_configured() {
    let workspace = Workspace::new(&[(
        "access/shop.cedar",
        "@id(\"shop\") permit (principal in Namespace::\"shop\", action, resource);",
    )]);
    let (engine, backend, believing) = shop(&workspace).await;
    let strict = Proxy::start(
        &workspace,
        "strict-1",
        &format!(
            "name: strict-1\nengine: http://{}\nservice: shop/catalog\nworkers: 1\ninbound: {{ listen: 127.0.0.1:0, forward: {} }}\n",
            engine.grpc, backend.address
        ),
    )
    .await;
    engine.wait_enforced(2).await;
    assert_eq!(Client::new(believing.inbound()).get_as("shop/a", "/").await.status, 200);
    assert!(workspace.log("catalog-1").contains("insecure"), "{}", workspace.log("catalog-1"));
    let before = backend.count();
    assert_eq!(Client::new(strict.inbound()).get_as("shop/a", "/").await.status, 403);
    assert_eq!(backend.count(), before);
    let row = eventually("the row is kept", || async {
        engine.sql("SELECT source, decision, reason FROM requests WHERE reporter = 'strict-1'").await.into_iter().next()
    })
    .await;
    assert_eq!(row, serde_json::json!({ "source": null, "decision": "deny", "reason": "no_permit" }));
}
