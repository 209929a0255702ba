//! SQL's `authorize`: recorded requests under other policies.

use std::path::Path;
use std::sync::Arc;

use tollgate_attributes::Row;
use tollgate_engine::QueryErrorKind;
use tollgate_policies::Sources;

use crate::harness::{Running, now_us, request};

/// An engine, and a set that denies writes to the catalog and reads the header `x-tenant`.
async fn start() -> Running {
    let running = Running::start_with(|config| {
        let dir = config.policies.with_file_name("candidate");
        write(&dir, CANDIDATE);
        config.policy_sets.insert("candidate".to_owned(), dir);
    })
    .await;
    let labels = [(Arc::from("x-tenant"), "blue".to_owned())];
    let row = |index: i64| Row { time: now_us() - index * 1_000_000, ..request("catalog-1") };
    let mut rows: Vec<Row<'_>> = (0..40).map(row).collect();
    rows.extend((0..10).map(|index| Row { method: "POST", ..row(index) }));
    rows.push(Row { path: "/tenants", labels: &labels, ..row(0) });
    rows.push(Row { path: "/tenants", ..row(0) });
    rows.push(Row { decision: "deny", reason: "bad_request", ..row(0) });
    // Of half a day ago, of which the filters of these tests want to know nothing.
    rows.push(Row { time: now_us() - 43_200_000_000, source: "shop/old", ..row(0) });
    running.report("catalog-1", &rows).await;
    running
}

const CANDIDATE: &str = r#"
@id("all") permit (principal, action, resource);
@id("no-writes") forbid (principal, action in Action::"write", resource == Service::"shop/catalog");
@id("tenants") forbid (principal, action, resource)
when { context.path == "/tenants" && !(context.headers has "x-tenant" && context.headers["x-tenant"] == "blue") };
"#;

fn write(dir: &Path, access: &str) {
    let mut sources = Sources::starter();
    sources.access.truncate(1);
    access.clone_into(&mut sources.access[0].text);
    sources.write(dir).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_decided_by_a_named_set() {
    let running = start().await;
    let decided = "SELECT decision, method, path, would_decide, would_reason, would_policies, would_unsure, count(*) AS n \
                   FROM authorize('candidate') WHERE time > now() - INTERVAL '1 hour' GROUP BY ALL ORDER BY 1, 2, 3, 4";
    let expected = "\
+----------+--------+----------+--------------+--------------+----------------+-------------------------------+----+
| decision | method | path     | would_decide | would_reason | would_policies | would_unsure                  | n  |
+----------+--------+----------+--------------+--------------+----------------+-------------------------------+----+
| allow    | GET    | /items   | allow        | permitted    | [all]          | []                            | 40 |
| allow    | GET    | /tenants | allow        | permitted    | [all]          | []                            | 1  |
| allow    | GET    | /tenants |              |              | []             | [context.headers[\"x-tenant\"]] | 1  |
| allow    | POST   | /items   | deny         | forbidden    | [no-writes]    | []                            | 10 |
| deny     | GET    | /items   |              |              | []             | []                            | 1  |
+----------+--------+----------+--------------+--------------+----------------+-------------------------------+----+";
    assert_eq!(running.table(decided).await, expected);
    // Whoever knows that the header is recorded says so, and what is not there was not sent.
    let denied =
        "SELECT count(*) FROM authorize('candidate', 'x-tenant') WHERE path = '/tenants' AND would_decide = 'deny'";
    assert_eq!(running.number(denied).await, 1);
    // The policies in force permit what this caller did, and signals are not recorded.
    let live = "SELECT count(*) FROM authorize('live') WHERE would_decide = 'allow' AND source = 'shop/storefront'";
    assert_eq!(running.number(live).await, 52);
    assert_eq!(running.number("SELECT count(*) FROM authorize('live')").await, 54);
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_read_anew_when_its_directory_changes_and_refused_with_its_problems() {
    let running = start().await;
    let denied = "SELECT count(*) FROM authorize('candidate') WHERE would_decide = 'deny'";
    assert_eq!(running.number(denied).await, 10);
    let dir = running.policies().with_file_name("candidate");
    write(&dir, "permit (principal, action, resource);");
    assert_eq!(running.number(denied).await, 0);
    write(&dir, "permit (principal, action, resource) when { oops };");
    let error = running.try_rows(denied).await.unwrap_err();
    assert_eq!(error.kind(), QueryErrorKind::Plan, "{error}");
    let said = error.to_string();
    assert!(said.starts_with("the policy set `candidate` in `"), "{said}");
    assert!(said.contains("access/protection.cedar:1:"), "{said}");
    // What is in force has nothing to do with it.
    assert!(running.engine.status().policies.refused.is_none());
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_names_and_arguments_say_what_there_is() {
    let running = start().await;
    let check = async |sql: &str, expected: &str| {
        let error = running.try_rows(sql).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (QueryErrorKind::Plan, expected));
    };
    check(
        "SELECT 1 FROM authorize('candidat')",
        "unknown policy set `candidat`; help: did you mean `candidate`? There are `live`, `candidate`",
    )
    .await;
    check(
        "SELECT 1 FROM authorize('zebra')",
        "unknown policy set `zebra`; help: there are `live`, `candidate`; `policy_sets` in tollgate.yaml names more",
    )
    .await;
    let error = running.try_rows("SELECT 1 FROM authorize(1)").await.unwrap_err().to_string();
    assert!(error.starts_with("authorize takes the name of a policy set"), "{error}");
    running.engine.shutdown().await;
}

/// So that files of other hours are not read, and a limit ends the reading.
#[tokio::test(flavor = "multi_thread")]
async fn filters_and_limits_reach_the_requests() {
    let running = Running::start().await;
    running.report("catalog-1", &[request("catalog-1")]).await;
    let explain = async |sql: &str| running.table(&format!("EXPLAIN {sql}")).await;
    let filtered =
        "SELECT would_decide FROM authorize('live') WHERE time > now() - INTERVAL '1 hour' AND would_decide = 'deny'";
    let filtered = explain(filtered).await;
    assert!(filtered.contains("AuthorizeExec"), "{filtered}");
    assert!(filtered.contains("partial_filters=[authorize().time >"), "{filtered}");
    let limited = explain("SELECT would_decide FROM authorize('live') LIMIT 1").await;
    assert!(limited.contains("TableScan: authorize() projection=[would_decide], fetch=1"), "{limited}");
    running.engine.shutdown().await;
}
