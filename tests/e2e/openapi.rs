//! The description of HTTP in OpenAPI is held against a real engine by schemathesis, with all of its checks.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{Backend, Client, Engine, Proxy, Workspace, pypi};

const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);\n";

#[tokio::test(flavor = "multi_thread")]
async fn http_is_as_it_is_described() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let engine = Engine::start(&workspace).await;
    let backend = Backend::start().await;
    let proxy = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
    engine.wait_enforced(1).await;
    // Something for tails to show.
    let inbound = proxy.inbound();
    let traffic = tokio::spawn(async move {
        let mut client = Client::new(inbound);
        // The description's own example follows those that fail.
        for path in ["/", "/?status=503"].into_iter().cycle() {
            client.get_as("shop/a", path).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let url = engine.url();
    let checked = tokio::task::spawn_blocking(move || {
        let schemathesis = pypi::program("schemathesis");
        let config = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clients/schemathesis.toml");
        let output = Command::new(&schemathesis)
            .arg("--config-file")
            .arg(config)
            // One worker: with several, Python 3.11 confuses the depths of their recursions (python/cpython#106905).
            .args(["--no-color", "run", "--checks", "all", "--workers", "1", &format!("{url}/v1/openapi.json")])
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .output();
        output.unwrap_or_else(|error| {
            panic!("`{}`: {error}; install the peers with tests/setup.sh", schemathesis.display())
        })
    });
    let checked = checked.await.unwrap();
    traffic.abort();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}{}", String::from_utf8_lossy(&checked.stderr));
    engine.stop().await;
}
