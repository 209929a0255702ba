//! From saving one file of a directory of 10,000 policies to the enforcement of what it says.

#[path = "../../policies/benches/decide/mesh.rs"]
#[expect(dead_code, reason = "what decisions are measured with is not needed here")]
mod mesh;

use std::time::{Duration, Instant};

use crate::figures;
use crate::harness::{Backend, Client, Engine, Proxy, Workspace, until};

const POLICIES: usize = 10_000;
const EDITS: usize = 50;
/// The service that is edited.
const EDITED: usize = 7;

pub(crate) async fn run() {
    let sources = mesh::sources(POLICIES);
    let workspace = Workspace::new(&[]);
    sources.write(&workspace.policies()).unwrap();
    let signal =
        "-- entity: Service\nSELECT destination, count(*) AS p99_ms, count(*) AS error_pct FROM requests GROUP BY 1\n";
    workspace.write_policy("signals/service.sql", signal);
    let service = mesh::service(EDITED);
    let path = format!("access/svc{EDITED:03}.cedar");
    let open = sources.access.iter().find(|file| file.path == path).unwrap().text.clone()
        + &format!("@id(\"open\") permit (principal, action, resource == Service::\"{service}\");\n");
    let closed = format!("{open}@id(\"closed\") forbid (principal, action, resource == Service::\"{service}\");\n");
    workspace.write_policy(&path, &open);

    let started = Instant::now();
    let engine = Engine::start_within(Duration::from_secs(1_800), &workspace, "127.0.0.1:0".parse().unwrap(), "").await;
    println!("policy edit of {POLICIES}: the engine compiled all of them in {:.1} s", started.elapsed().as_secs_f64());
    let backend = Backend::start().await;
    let proxy = Proxy::in_front_of(&workspace, &engine, "edited-1", &service, backend.address).await;
    let other = Proxy::in_front_of(&workspace, &engine, "other-1", &mesh::service(EDITED + 1), backend.address).await;
    engine.wait_enforced(2).await;
    let mut client = Client::new(proxy.inbound());
    assert_eq!(client.get_as("ns1/svc1", "/").await.status, 200);
    let mut times = Vec::new();
    for edit in 0..EDITS {
        let (text, status) = if edit % 2 == 0 { (&closed, 403) } else { (&open, 200) };
        let saved = Instant::now();
        workspace.write_policy(&path, text);
        while client.get_as("ns1/svc1", "/").await.status != status {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(saved.elapsed());
    }
    figures::print(&format!("policy edit, one file of {POLICIES} policies, saved to enforced"), times);
    let held = engine.sql("SELECT name, policies FROM reporters ORDER BY name").await;
    println!("policies at each proxy: {}", serde_json::Value::Array(held));
    until("the other has none of it", || async {
        engine.number("SELECT count(*) FROM decisions WHERE cause = 'policies' AND reporter = 'other-1'").await == 0
    })
    .await;
    drop(other);
}
