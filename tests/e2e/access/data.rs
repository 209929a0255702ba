//! What somebody may read, asked over every port.

use std::process::Command;

use super::{PERMIT, blocking, said};
use crate::harness::{Answer, Backend, Client, Engine, Proxy, Workspace, pypi, until};

/// The shop's team reads about its own services, and no user; root reads everything.
const TEAMS: &str = r#"
permit (principal in Team::"shop", action == Action::"readTable", resource)
unless { ["leases", "metrics", "snapshot"].contains(resource.name) };
permit (principal in Team::"shop", action == Action::"readColumn", resource) unless { resource.name == "user" };
permit (principal in Team::"shop", action == Action::"readService", resource in Namespace::"shop");
permit (principal == Person::"root", action in Action::"read", resource);
permit (principal, action == Action::"report", resource) when { principal.name == resource.name };
"#;
const ALICE: &str = "alice-0123456789";
const ROOT: &str = "root-01234567890";

struct Two {
    engine: Engine,
    _parts: (Workspace, Backend, [Proxy; 2]),
}

impl Two {
    /// An engine with tokens and policies on data, that has seen a request to `shop/catalog` and one to `bank/ledger`.
    async fn start() -> Self {
        let workspace = Workspace::new(&[("access/all.cedar", PERMIT), ("data/teams.cedar", TEAMS)]);
        let auth = format!(
            "auth:\n  tokens:\n    - {{ name: alice, token: {ALICE}, teams: [shop] }}\n    - {{ name: root, token: {ROOT} }}\n    \
             - {{ name: catalog-1, token: catalog-1-0123456789 }}\n    - {{ name: ledger-1, token: ledger-1-0123456789 }}\n"
        );
        let engine = Engine::start_at(&workspace, "127.0.0.1:0".parse().unwrap(), &auth).await;
        let backend = Backend::start().await;
        let start = async |name: &str, service: &str| {
            std::fs::write(workspace.path(&format!("{name}.token")), format!("{name}-0123456789\n")).unwrap();
            let yaml = format!(
                "name: {name}\nengine: http://{}\nengine_token_file: {}\nservice: {service}\nidentity: header\nworkers: 1\n\
                 inbound: {{ listen: 127.0.0.1:0, forward: {} }}\n",
                engine.grpc,
                workspace.path(&format!("{name}.token")).display(),
                backend.address
            );
            let proxy = Proxy::start(&workspace, name, &yaml).await;
            until("the proxy enforces a snapshot", || async {
                Client::new(proxy.inbound())
                    .get_as(&format!("{}/caller", service.split('/').next().unwrap()), "/")
                    .await
                    .status
                    == 200
            })
            .await;
            proxy
        };
        let proxies = [start("catalog-1", "shop/catalog").await, start("ledger-1", "bank/ledger").await];
        let two = Self { engine, _parts: (workspace, backend, proxies) };
        until("rows of both are kept", || async {
            two.sql(ROOT, "SELECT count(DISTINCT destination) AS n FROM requests").await.1.contains("\"n\":2")
        })
        .await;
        two
    }

    async fn http(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        Client::new(self.engine.http).send(method, path, &headers, body.as_bytes()).await.unwrap()
    }

    async fn sql(&self, token: &str, query: &str) -> (u16, String) {
        let answer = self.http(token, "POST", "/v1/sql", query).await;
        (answer.status, answer.text())
    }

    async fn psql(&self, user: &'static str, token: &'static str, commands: &'static [&'static str]) -> String {
        let dsn = format!("host=127.0.0.1 port={} dbname=tollgate user={user}", self.engine.postgres.port());
        let output = blocking(move || {
            let mut command = Command::new("psql");
            command.args(["-X", "-A", &dsn]).env("PGPASSWORD", token);
            for text in commands {
                command.args(["-c", text]);
            }
            command.output().unwrap()
        });
        said(&output.await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_on_data_hold_on_every_port() {
    let two = Two::start().await;
    // HTTP.
    let (status, answer) = two.sql(ALICE, "SELECT DISTINCT destination, source FROM requests").await;
    assert_eq!((status, answer.as_str()), (200, "[{\"destination\":\"shop/catalog\",\"source\":\"shop/caller\"}]"));
    let (status, answer) = two.sql(ALICE, "SELECT \"user\" FROM requests").await;
    assert!(status == 403 && answer.contains("`alice` may not read the column `user`"), "{answer}");
    let (status, answer) = two.sql(ALICE, "SELECT * FROM leases").await;
    assert!(status == 403 && answer.contains("`alice` may not read the table `leases`"), "{answer}");
    for path in ["/v1/snapshot", "/metrics"] {
        assert_eq!(two.http(ALICE, "GET", path, "").await.status, 403, "{path}");
        assert_eq!(two.http(ROOT, "GET", path, "").await.status, 200, "{path}");
    }

    // Prometheus: series, labels, exemplars and what is scraped.
    let paths = [
        "/metrics/mesh",
        "/api/v1/query?query=sum%20by%20(destination_service_name)(istio_requests_total)",
        "/api/v1/query?query=tollgate_requests_total%7Bdestination%3D~%22bank.*%22%7D",
        "/api/v1/query?query=sum%20by%20(le)(tollgate_request_duration_seconds_bucket%7Bdestination%3D%22bank%2Fledger%22%7D)",
        "/api/v1/series?match%5B%5D=tollgate_requests_total",
        "/api/v1/label/destination/values",
        "/api/v1/label/destination_service_namespace/values",
    ];
    // A second counts once it is over.
    until("series are there", || async { two.http(ROOT, "GET", paths[1], "").await.text().contains("ledger") }).await;
    for path in paths {
        let (alice, root) = (two.http(ALICE, "GET", path, "").await, two.http(ROOT, "GET", path, "").await);
        assert_eq!((alice.status, root.status), (200, 200), "{path}: {}", alice.text());
        assert!(!["bank", "ledger"].iter().any(|text| alice.text().contains(text)), "{path}: {}", alice.text());
        assert!(["bank", "ledger", "+Inf"].iter().any(|text| root.text().contains(text)), "{path}: {}", root.text());
    }
    let own = two.http(ALICE, "GET", "/api/v1/query?query=tollgate_queries_total", "").await;
    assert!(own.text().contains("\"result\":[]"), "{}", own.text());

    // PostgreSQL: queries, catalogs, prepared statements.
    let rows = two.psql("alice", ALICE, &["SELECT DISTINCT destination FROM requests"]).await;
    assert_eq!(rows, "destination\nshop/catalog\n(1 row)\n");
    let described =
        two.psql("alice", ALICE, &["\\d requests", "\\dt", "SELECT table_name FROM information_schema.tables"]).await;
    assert!(
        described.contains("destination|text") && !described.contains("user|") && !described.contains("leases"),
        "{described}"
    );
    let root = two.psql("root", ROOT, &["\\d requests", "\\dt"]).await;
    assert!(root.contains("user|") && root.contains("leases"), "{root}");
    let copied = two
        .psql(
            "alice",
            ALICE,
            &["COPY (SELECT destination FROM requests) TO STDOUT", "COPY (SELECT \"user\" FROM requests) TO STDOUT"],
        )
        .await;
    assert!(!copied.contains("bank") && copied.contains("may not read the column `user`"), "{copied}");
    let bound = two
        .psql("alice", ALICE, &["SELECT count(*) AS n FROM requests WHERE destination = $1 \\bind bank/ledger \\g"])
        .await;
    assert!(bound.contains("n\n0\n") || bound.contains("\\bind"), "{bound}");

    // gRPC: Flight SQL.
    let arguments = vec![two.engine.grpc.to_string(), ALICE.to_owned(), ROOT.to_owned()];
    pypi::client("with_restricted_flightsql.py", arguments).await;
}
