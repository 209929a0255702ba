//! Who comes in: TLS, tokens and client certificates on every port, with the clients that people have.

mod certificates;
mod data;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use self::certificates::Authority;
use crate::harness::{Backend, Client, Engine, Proxy, Workspace, pypi, tollgate, until};

const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);\n";
const TOKEN: &str = "0123456789abcdef";
const COUNT: &str = "SELECT count(*) AS n FROM requests";

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What `tollgate sql` prints with these options.
async fn sql(engine: &Engine, options: &[&Path], query: &'static str) -> String {
    let url = format!("https://localhost:{}", engine.http.port());
    let mut command = tollgate(&["sql", "-o", "csv", "--engine", &url, query]);
    command.args(options);
    said(&blocking(move || command.output().unwrap()).await)
}

/// What curl prints, and the status.
async fn curl(address: SocketAddr, ca: &Path, path: &str, options: &[&str]) -> (String, u16) {
    let mut command = Command::new("curl");
    command.args(["-s", "-w", "\n%{http_code}", "--cacert"]).arg(ca).args(options);
    command.arg(format!("https://localhost:{}{path}", address.port()));
    let output = blocking(move || command.output()).await;
    let output = output.unwrap_or_else(|error| panic!("`curl`: {error}; install the peers with tests/setup.sh"));
    let text = said(&output);
    let (body, code) = text.rsplit_once('\n').unwrap();
    (body.to_owned(), code.parse().unwrap())
}

/// What psql prints for a count, with these parameters and this password.
async fn psql(address: SocketAddr, parameters: String, token: &'static str) -> String {
    let dsn = format!("host=localhost port={} dbname=tollgate {parameters}", address.port());
    let output = blocking(move || {
        Command::new("psql").args(["-X", "-A", "-t", "-c", COUNT, &dsn]).env("PGPASSWORD", token).output()
    });
    let output = output.await;
    said(&output.unwrap_or_else(|error| panic!("`psql`: {error}; install the peers with tests/setup.sh")))
}

/// An engine that lets in holders of a token and of certificates, and a proxy that has one.
struct Guarded {
    workspace: Workspace,
    authority: Authority,
    engine: Engine,
    _backend: Backend,
    proxy: Proxy,
}

impl Guarded {
    async fn start(auth: &str) -> Self {
        let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
        let authority = Authority::write(&workspace, "ca");
        authority.issue(&workspace, "engine");
        authority.issue(&workspace, "catalog-1");
        authority.issue(&workspace, "alice");
        std::fs::write(workspace.path("grafana.token"), TOKEN).unwrap();
        let file = |name: &str| workspace.path(name).display().to_string();
        let settings = format!(
            "tls: {{ cert: {}, key: {}, client_ca: {} }}\nauth: {auth}\n",
            file("engine.pem"),
            file("engine.key"),
            file("ca.pem")
        );
        let engine = Engine::start_at(&workspace, "127.0.0.1:0".parse().unwrap(), &settings).await;
        let backend = Backend::start().await;
        let yaml = proxy_yaml(&workspace, &engine, "catalog-1", backend.address);
        let proxy = Proxy::start(&workspace, "catalog-1", &yaml).await;
        until("the proxy enforces a snapshot", || async {
            Client::new(proxy.inbound()).get_as("shop/a", "/").await.status == 200
        })
        .await;
        Self { workspace, authority, engine, _backend: backend, proxy }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.workspace.path(name)
    }

    /// The options of somebody with a client certificate.
    fn certificate_of(&self, name: &str) -> [std::path::PathBuf; 6] {
        let options = ["--ca".into(), self.file("ca.pem"), "--cert".into(), self.file(&format!("{name}.pem"))];
        let [ca, ca_file, cert, cert_file] = options;
        [ca, ca_file, cert, cert_file, "--key".into(), self.file(&format!("{name}.key"))]
    }
}

/// A proxy that reports under a name, with the certificate of `catalog-1`.
fn proxy_yaml(workspace: &Workspace, engine: &Engine, name: &str, forward: SocketAddr) -> String {
    let file = |name: &str| workspace.path(name).display().to_string();
    format!(
        "name: {name}\nengine: https://localhost:{}\nengine_tls: {{ ca: {}, cert: {}, key: {} }}\nservice: shop/catalog\n\
         identity: header\nworkers: 1\ninbound: {{ listen: 127.0.0.1:0, forward: {forward} }}\n",
        engine.grpc.port(),
        file("ca.pem"),
        file("catalog-1.pem"),
        file("catalog-1.key"),
    )
}

/// Whether the last line is a number, and not zero.
fn is_some(counted: &str) -> bool {
    counted.lines().last().and_then(|line| line.parse::<u64>().ok()).is_some_and(|count| count > 0)
}

fn options(paths: &[std::path::PathBuf]) -> Vec<&Path> {
    paths.iter().map(AsRef::as_ref).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_port_asks_for_a_token_or_a_certificate() {
    let guarded = Guarded::start("{ tokens: [{ name: grafana, token: 0123456789abcdef }] }").await;
    let engine = &guarded.engine;
    let (ca, token) = (guarded.file("ca.pem"), guarded.file("grafana.token"));
    let with_token = [Path::new("--ca"), &ca, Path::new("--token-file"), &token];
    until("a row arrived through mutual TLS", || async { is_some(&sql(engine, &with_token, COUNT).await) }).await;

    // HTTP: by token, by certificate, by name and token; not without, and probes learn yes or no.
    let by_certificate = guarded.certificate_of("alice");
    assert!(is_some(&sql(engine, &options(&by_certificate), COUNT).await));
    let nobody = sql(engine, &[Path::new("--ca"), &ca], COUNT).await;
    assert!(nobody.contains("say who you are"), "{nobody}");
    let distrust = sql(engine, &with_token[2..], COUNT).await;
    assert!(distrust.contains("name the authority of its certificate with --ca"), "{distrust}");
    let post = ["--data", "SELECT 1 AS one"];
    let (body, code) =
        curl(engine.http, &ca, "/v1/sql", &[&post[..], &["-u", "grafana:0123456789abcdef"]].concat()).await;
    assert_eq!((body.as_str(), code), ("[{\"one\":1}]", 200));
    for header in ["authorization: Bearer 0123456789abcdeg", "authorization: Basic Z3JhZmFuYTp4", "x: y"] {
        for path in ["/v1/sql", "/v1/snapshot", "/metrics", "/metrics/mesh", "/api/v1/labels", "/", "/nothing"] {
            let (body, code) = curl(engine.http, &ca, path, &["-H", header]).await;
            assert_eq!(code, 401, "{path} {header}: {body}");
        }
    }
    assert_eq!(curl(engine.http, &ca, "/healthz", &[]).await, ("ok\n".to_owned(), 200));
    assert_eq!(curl(engine.http, &ca, "/readyz", &[]).await, ("{\"is_ready\":true}".to_owned(), 200));
    let bearer = format!("authorization: Bearer {TOKEN}");
    let (body, code) = curl(engine.http, &ca, "/readyz", &["-H", &bearer]).await;
    assert!(code == 200 && body.contains("digest"), "{body}");

    // PostgreSQL: the token is the password; a certificate is one for the user that it names.
    let root = format!("sslmode=verify-full sslrootcert={}", ca.display());
    let counted = psql(engine.postgres, format!("{root} user=grafana"), TOKEN).await;
    assert!(is_some(&counted), "{counted}");
    let wrong = psql(engine.postgres, format!("{root} user=grafana"), "0123456789abcdeg").await;
    assert!(wrong.contains("authentication failed"), "{wrong}");
    let unknown = psql(engine.postgres, format!("{root} user=somebody"), TOKEN).await;
    assert!(unknown.contains("authentication failed"), "{unknown}");
    let clear = psql(engine.postgres, "sslmode=disable user=grafana".to_owned(), TOKEN).await;
    assert!(clear.contains("connect with TLS"), "{clear}");
    let alice = format!(
        "{root} sslcert={} sslkey={}",
        guarded.file("alice.pem").display(),
        guarded.file("alice.key").display()
    );
    let counted = psql(engine.postgres, format!("{alice} user=alice"), "").await;
    assert!(is_some(&counted), "{counted}");
    let other = psql(engine.postgres, format!("{alice} user=grafana"), "0123456789abcdeg").await;
    assert!(other.contains("authentication failed"), "{other}");

    // gRPC: Flight SQL with the token as a header, and with name and token by handshake.
    let arguments = vec![format!("localhost:{}", engine.grpc.port()), ca.display().to_string(), TOKEN.to_owned()];
    pypi::client("with_guarded_flightsql.py", arguments).await;
    guarded.proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reporter_reports_under_its_own_name_only_and_a_renewed_certificate_is_used() {
    let digest = "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";
    let auth = format!("{{ tokens: [{{ name: digest, sha256: {digest} }}] }}");
    let guarded = Guarded::start(&auth).await;
    let Guarded { workspace, engine, .. } = &guarded;
    let yaml = proxy_yaml(workspace, engine, "payments-1", guarded._backend.address);
    let impostor = Proxy::start(workspace, "payments-1", &yaml).await;
    until("the impostor is told", || async {
        workspace.log("payments-1").contains("`catalog-1` may not report as `payments-1`")
    })
    .await;
    impostor.kill().await;
    let alice = guarded.certificate_of("alice");
    let reporters = sql(engine, &options(&alice), "SELECT name FROM reporters").await;
    assert_eq!(reporters, "name\ncatalog-1\n");

    // A token of which only the digest is configured is a password, too.
    let root = format!("sslmode=verify-full sslrootcert={} user=digest", guarded.file("ca.pem").display());
    let counted = psql(engine.postgres, root.clone(), TOKEN).await;
    assert!(is_some(&counted), "{counted}");
    let wrong = psql(engine.postgres, root, "0123456789abcdeg").await;
    assert!(wrong.contains("authentication failed"), "{wrong}");

    // The engine gets a certificate of another authority: who trusts only the first one is out, who trusts the new one is in.
    let renewed = Authority::write(workspace, "renewed");
    renewed.issue(workspace, "engine");
    let with = |ca: &str| {
        let mut options = guarded.certificate_of("alice");
        options[1] = guarded.file(ca);
        options
    };
    until("the renewed certificate is shown", || async {
        is_some(&sql(engine, &options(&with("renewed.pem")), COUNT).await)
    })
    .await;
    assert!(sql(engine, &options(&with("ca.pem")), COUNT).await.contains("no TLS with the engine"));
    guarded.authority.issue(workspace, "engine");
    until("the first certificate is back", || async { is_some(&sql(engine, &options(&with("ca.pem")), COUNT).await) })
        .await;
    guarded.proxy.stop().await;
}
