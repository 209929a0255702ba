//! From saving a policy file to its enforcement at every proxy, as a caller sees it.

use std::net::SocketAddr;
use std::time::Instant;

use crate::figures;
use crate::harness::{Backend, Client, Engine, Proxy, Workspace};

const PROXIES: usize = 5;
const EDITS: usize = 100;
const OPEN: &str = "@id(\"all\") permit (principal, action, resource);\n";
const CLOSED: &str = "@id(\"all\") permit (principal, action, resource) when { context.path == \"/other\" };\n";

pub(crate) async fn run() {
    let workspace = Workspace::new(&[("access/all.cedar", OPEN)]);
    let engine = Engine::start(&workspace).await;
    let backend = Backend::start().await;
    let mut proxies = Vec::new();
    for n in 0..PROXIES {
        let proxy =
            Proxy::in_front_of(&workspace, &engine, &format!("catalog-{n}"), "shop/catalog", backend.address).await;
        proxies.push(proxy);
    }
    engine.wait_enforced(PROXIES).await;

    let mut times = Vec::new();
    for edit in 0..EDITS {
        let (text, status) = if edit % 2 == 0 { (CLOSED, 403) } else { (OPEN, 200) };
        let saved = Instant::now();
        workspace.write_policy("access/all.cedar", text);
        let waits = proxies.iter().map(|proxy| tokio::spawn(wait_for(proxy.inbound(), status)));
        for wait in waits.collect::<Vec<_>>() {
            wait.await.unwrap();
        }
        times.push(saved.elapsed());
    }
    figures::print(&format!("policy edit, saved to enforced at all of {PROXIES} proxies"), times);
}

async fn wait_for(address: SocketAddr, status: u16) {
    let mut client = Client::new(address);
    while client.get_as("shop/a", "/").await.status != status {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}
