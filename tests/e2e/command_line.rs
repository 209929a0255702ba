//! Commands, their exit codes and what they say about bad input.

use std::fs;
use std::net::TcpListener;
use std::process::Output;

use crate::harness::{Engine, Workspace, tollgate};

const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);\n";

async fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = tollgate(args);
    let output: Output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_prints_a_table_json_or_csv() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let engine = Engine::start(&workspace).await;
    let url = engine.url();
    let query = "SELECT id, kind FROM policies";
    let (code, out, _) = run(&["sql", "--engine", &url, query]).await;
    assert_eq!((code, out.as_str()), (Some(0), " id  | kind\n-----+--------\n all | access\n(1 row)\n"));
    let (_, out, _) = run(&["sql", "--engine", &url, "-o", "json", query]).await;
    assert_eq!(out, "[{\"id\":\"all\",\"kind\":\"access\"}]\n");
    let (_, out, _) = run(&["sql", "--engine", &url, "-o", "csv", query]).await;
    assert_eq!(out, "id,kind\nall,access\n");

    let (code, out, error) = run(&["sql", "--engine", &url, "SELECT nothing FROM policies"]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(error.contains("nothing"), "{error}");
    let (code, _, error) = run(&["sql", "--engine", "http://127.0.0.1:9", "SELECT 1"]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("no engine at `http://127.0.0.1:9`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_check_finds_every_problem_and_its_place() {
    let workspace = Workspace::new(&[
        ("access/a.cedar", "@id(\"a\")\npermit (principal, action, resource)\nwhen { resource.signals has p99ms };\n"),
        ("access/b.cedar", "permit (principal, action resource);\n"),
        ("shaping/c.cedar", "@id(\"c\") @limit(\"ten\")\npermit (principal, action, resource);\n"),
        ("signals/service.sql", "-- entity: Service\nSELECT destination, count(*) AS p99_ms FROM requets GROUP BY 1\n"),
    ]);
    let dir = workspace.policies().display().to_string();
    let (code, out, _) = run(&["policy", "check", &dir]).await;
    assert_eq!(code, Some(1));
    for expected in ["access/b.cedar:1:", "shaping/c.cedar:1:", "signals/service.sql:2:"] {
        assert!(out.contains(expected), "no `{expected}` in\n{out}");
    }
    assert!(out.contains("requests"), "suggests the table:\n{out}");

    workspace.write_policy(
        "signals/service.sql",
        "-- entity: Service\nSELECT destination, count(*) AS p99_ms FROM requests GROUP BY 1\n",
    );
    let (_, out, _) = run(&["policy", "check", &dir, "-o", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["ok"], false);
    let misspelt = json["diagnostics"].as_array().unwrap().iter().find(|d| d["file"] == "access/a.cedar").unwrap();
    assert_eq!(misspelt["line"], 3);
    assert!(misspelt.to_string().contains("p99_ms"), "suggests the signal: {misspelt}");

    let good = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let (code, out, _) = run(&["policy", "check", &good.policies().display().to_string()]).await;
    assert_eq!(code, Some(0));
    assert!(out.contains("1 policy,"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_configuration_is_refused_with_every_problem() {
    let workspace = Workspace::new(&[]);
    let file = workspace.path("tollgate.yaml");
    fs::write(&file, "dta: x\nlisten:\n  http: 127.0.0.1:0\n  grcp: 127.0.0.1:0\n").unwrap();
    let path = file.display().to_string();
    for command in ["serve", "config"] {
        let (code, _, error) = run(&[command, "-c", &path]).await;
        assert_eq!(code, Some(1));
        assert!(error.contains("tollgate.yaml:1: unknown key `dta`"), "{error}");
        assert!(error.contains("tollgate.yaml:4: unknown key `listen.grcp`"), "{error}");
    }
    fs::write(&file, "listen: { http: 0.0.0.0:0 }\n").unwrap();
    let (code, _, error) = run(&["serve", "-c", &path]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("insecure: true"), "{error}");

    let proxy = workspace.path("proxy.yaml");
    fs::write(&proxy, "nam: x\nengine: http://127.0.0.1:1\nservice: shop/a\ninbuond: {}\n").unwrap();
    let (code, _, error) = run(&["proxy", "-c", &proxy.display().to_string()]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("`nam`") && error.contains("`inbuond`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_effective_configuration_reads_back() {
    let workspace = Workspace::new(&[]);
    let file = workspace.path("tollgate.yaml");
    fs::write(&file, "memory: { rows: 64MiB }\n").unwrap();
    let (code, out, _) = run(&["config", "-c", &file.display().to_string()]).await;
    assert_eq!(code, Some(0));
    assert!(out.contains("64MiB") && out.contains("127.0.0.1:7400"), "{out}");
    fs::write(&file, &out).unwrap();
    assert_eq!(run(&["config", "-c", &file.display().to_string()]).await.1, out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_one_line_and_exit_code_1() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let file = workspace.path("tollgate.yaml");
    fs::write(&file, format!("policies: {}\nlisten: {{ http: 127.0.0.1:{port} }}\n", workspace.policies().display()))
        .unwrap();
    let (code, _, error) = run(&["serve", "-c", &file.display().to_string()]).await;
    assert_eq!(code, Some(1));
    assert_eq!(error.trim_end(), format!("tollgate: port {port} for HTTP is in use"));

    let proxy = workspace.path("proxy.yaml");
    fs::write(
        &proxy,
        format!("name: a\nengine: http://127.0.0.1:1\nservice: shop/a\ninbound: {{ listen: 127.0.0.1:{port}, forward: 127.0.0.1:1 }}\n"),
    )
    .unwrap();
    let (code, _, error) = run(&["proxy", "-c", &proxy.display().to_string()]).await;
    assert_eq!(code, Some(1));
    let last = error.trim_end().lines().last().unwrap();
    assert!(last.contains(&port.to_string()) && last.contains("in use"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_engines_never_share_a_data_directory() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let _engine = Engine::start(&workspace).await;
    let file = workspace.path("second.yaml");
    let yaml = fs::read_to_string(workspace.path("tollgate.yaml")).unwrap();
    fs::write(&file, yaml).unwrap();
    let (code, _, error) = run(&["serve", "-c", &file.display().to_string()]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("data"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_are_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = run(&["completions", shell]).await;
        assert_eq!(code, Some(0));
        assert!(out.contains("policy"), "{shell}");
    }
}
