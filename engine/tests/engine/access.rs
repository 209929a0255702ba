//! Policies on data: what may not be read cannot be got at in any way.

use futures::TryStreamExt as _;
use tollgate_attributes::Row;
use tollgate_engine::{Identity, QueryError, QueryErrorKind, Reader};

use crate::harness::{Running, request, wait_for};

/// The team of the shop reads what concerns its services, but no user and no address; root reads everything.
const TEAMS: &str = r#"
@id("shop-tables")
permit (principal in Team::"shop", action == Action::"readTable", resource)
unless { ["leases", "metrics", "snapshot"].contains(resource.name) };

@id("shop-columns")
permit (principal in Team::"shop", action == Action::"readColumn", resource)
unless { ["user", "source_address"].contains(resource.name) };

@id("shop-services")
permit (principal in Team::"shop", action == Action::"readService", resource in Namespace::"shop");

@id("root")
permit (principal == Person::"root", action in Action::"read", resource);

@id("audit")
permit (principal in Team::"audit", action in [Action::"readTable", Action::"readService"], resource);

@id("audit-columns")
permit (principal in Team::"audit", action == Action::"readColumn", resource) unless { resource.name == "shadow" };

@id("reporters")
permit (principal, action == Action::"report", resource)
when { principal.name == resource.name };
"#;

/// What no answer to the shop's team may hold.
const SECRETS: [&str; 4] = ["bank", "carol", "10.9.8.7", "hidden"];

struct Guarded {
    running: Running,
    shop: Reader,
    root: Reader,
}

impl Guarded {
    async fn start() -> Self {
        let running = Running::start().await;
        std::fs::create_dir(running.policies().join("data")).unwrap();
        running.write_policy("data/teams.cedar", TEAMS);
        let policies = ["hidden-policy".into()];
        let own = Row { user: "dave", source_address: "10.0.0.1", ..request("shop-1") };
        let other = Row {
            source: "bank/teller",
            destination: "bank/ledger",
            path: "/hidden",
            user: "carol",
            source_address: "10.9.8.7",
            decision: "deny",
            policies: &policies,
            ..request("bank-1")
        };
        let shared = Row { destination: "shop/catalog", user: "carol", ..own };
        running.report("shop-1", &[own, shared]).await;
        running.report("bank-1", &[other]).await;
        let shop = Identity::new("alice", &["shop".to_owned()], &[]);
        wait_for("the policies on data", async || {
            !running.engine.reader(&Identity::anonymous()).await.unwrap().may_read("requests")
        })
        .await;
        let shop = running.engine.reader(&shop).await.unwrap();
        let root = running.engine.reader(&Identity::new("root", &[], &[])).await.unwrap();
        Self { running, shop, root }
    }

    async fn ask(&self, reader: &Reader, sql: &str) -> Result<String, QueryError> {
        let rows: Vec<_> = self.running.engine.query(reader, sql).await?.batches.try_collect().await?;
        Ok(arrow::util::pretty::pretty_format_batches(&rows).unwrap().to_string())
    }

    async fn shop(&self, sql: &str) -> String {
        self.ask(&self.shop, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

/// Each gets a secret where nothing is in the way.
const ATTEMPTS: &[&str] = &[
    "SELECT * FROM requests",
    "SELECT r.* FROM requests AS r",
    "SELECT * FROM tollgate.public.requests",
    "SELECT destination FROM \"requests\" WHERE destination LIKE 'b%'",
    "SELECT DISTINCT destination FROM requests",
    "SELECT destination, count(*) FROM requests GROUP BY ROLLUP (destination)",
    "SELECT max(destination), min(destination), max(path) FROM requests",
    "SELECT array_agg(destination) FROM requests",
    "SELECT string_agg(path, ',') FROM requests",
    "SELECT first_value(destination) OVER (ORDER BY destination) FROM requests",
    "SELECT lag(path, 1) OVER (ORDER BY path), lead(path) OVER (ORDER BY path) FROM requests",
    "SELECT * FROM (SELECT * FROM (SELECT destination, path FROM requests))",
    "WITH a AS (SELECT * FROM requests), b AS (SELECT * FROM a) SELECT destination FROM b",
    "WITH RECURSIVE a AS (SELECT destination FROM requests UNION SELECT destination FROM a) SELECT * FROM a",
    "SELECT 'x' AS d UNION ALL SELECT CAST(destination AS VARCHAR) FROM requests",
    "SELECT destination FROM requests EXCEPT SELECT 'shop/catalog'",
    "SELECT destination FROM requests INTERSECT SELECT destination FROM requests",
    "SELECT a.destination, b.path FROM requests a JOIN requests b ON a.destination = b.destination",
    "SELECT b.destination FROM requests a CROSS JOIN requests b",
    "SELECT b.destination FROM requests a RIGHT JOIN requests b ON false",
    "SELECT b.destination FROM (VALUES (1)) AS a (x), LATERAL (SELECT destination FROM requests) AS b",
    "SELECT (SELECT max(path) FROM requests)",
    "SELECT x FROM (VALUES ('bank/ledger')) AS v (x) WHERE x IN (SELECT destination FROM requests)",
    "SELECT x FROM (VALUES ('bank/ledger')) AS v (x) WHERE EXISTS (SELECT 1 FROM requests WHERE destination = x)",
    "SELECT coalesce(destination, path) FROM requests",
    "SELECT named_struct('d', destination) FROM requests",
    "SELECT make_array(destination, source) FROM requests",
    "SELECT CASE WHEN destination = 'bank/ledger' THEN 'hidden' ELSE 'x' END AS x FROM requests",
    "SELECT concat(source, destination) FROM requests WHERE starts_with(destination, 'bank')",
    "SELECT * FROM requests ORDER BY destination LIMIT 1",
    "SELECT * FROM requests WHERE decision = 'deny' OR destination = 'bank/ledger'",
    "SELECT policies FROM requests WHERE decision = 'deny'",
    "SELECT unnest(policies) FROM requests",
    "SELECT \"user\" FROM requests",
    "SELECT r.\"user\" FROM requests r",
    "SELECT u FROM (SELECT \"user\" AS u FROM requests)",
    "SELECT max(\"user\") FROM requests",
    "SELECT destination, \"user\" FROM requests GROUP BY destination, \"user\"",
    "SELECT 'carol' AS x FROM requests HAVING max(\"user\") > 'car'",
    "SELECT 'carol' AS x FROM requests WHERE \"user\" = 'carol'",
    "SELECT 'carol' AS x FROM requests ORDER BY \"user\"",
    "SELECT 'carol' AS x, row_number() OVER (PARTITION BY \"user\") FROM requests",
    "SELECT 'carol' AS x FROM requests a JOIN requests b USING (\"user\")",
    "SELECT source_address FROM requests WHERE destination = 'bank/ledger'",
    "SELECT source, destination FROM traffic",
    "SELECT source, destination FROM traffic_1s",
    "SELECT source, destination FROM traffic_1m",
    "SELECT source, destination FROM traffic_1h",
    "SELECT * FROM policy_traffic_1m",
    "SELECT destination, path FROM authorize('live')",
    "SELECT count(*), max(destination) FROM authorize('live')",
    "SELECT * FROM denied",
    "SELECT \"user\" FROM denied",
    "SELECT * FROM edges",
    "SELECT * FROM services",
    "SELECT * FROM services_now",
    "SELECT * FROM top_talkers",
    "SELECT * FROM reporters",
    "SELECT * FROM (SELECT name FROM reporters UNION SELECT CAST(reporter AS VARCHAR) FROM requests)",
    "SELECT 'bank' AS x, table_name FROM information_schema.tables WHERE table_name = 'leases'",
    "SELECT 'carol' AS x, column_name FROM information_schema.columns WHERE column_name = 'user'",
    "SELECT 'hidden' AS x, column_name FROM information_schema.columns WHERE column_name = 'source_address'",
    "SELECT 'hidden' AS x, definition FROM information_schema.views WHERE table_name = 'leases' UNION SELECT 'hidden', policy FROM leases",
    "EXPLAIN SELECT 'bank' AS x FROM requests",
    "EXPLAIN VERBOSE SELECT 'bank' FROM requests",
    "EXPLAIN ANALYZE SELECT 'bank' FROM requests WHERE destination = 'bank/ledger'",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_query_gets_around_the_policies() {
    let guarded = Guarded::start().await;
    let mut told = 0;
    for sql in ATTEMPTS {
        // What root gets shows that the attempt would succeed; plans are shown to nobody.
        told += match guarded.ask(&guarded.root, sql).await {
            Ok(answer) => usize::from(SECRETS.iter().any(|secret| answer.contains(secret))),
            Err(error) => usize::from(error.kind == QueryErrorKind::Denied),
        };
        match guarded.ask(&guarded.shop, sql).await {
            Ok(answer) => assert!(!SECRETS.iter().any(|secret| answer.contains(secret)), "{sql}:\n{answer}"),
            Err(error) => assert!(
                matches!(error.kind, QueryErrorKind::Denied | QueryErrorKind::Plan),
                "{sql}: {:?} {error}",
                error.kind
            ),
        }
    }
    assert!(told + 8 >= ATTEMPTS.len(), "only {told} of {} attempts would tell a secret", ATTEMPTS.len());
    guarded.running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_read_is_answered_and_what_may_not_is_named() {
    let guarded = Guarded::start().await;
    assert!(guarded.shop("SELECT count(*) AS n FROM requests").await.contains("| 2 |"));
    assert!(guarded.shop("SELECT sum(requests) AS n FROM traffic_1s").await.contains("| 2 |"));
    assert!(guarded.shop("SELECT service FROM services").await.contains("shop/catalog"));
    let everything =
        guarded.ask(&guarded.root, "SELECT count(*) AS n, max(\"user\") AS u FROM requests").await.unwrap();
    assert!(everything.contains("| 3 | dave |"), "{everything}");
    // Filters that could fail on a row that is left out are not asked about it, and count nothing of it.
    let trap =
        "SELECT count(*) AS n FROM requests WHERE 1 / (CASE WHEN destination = 'bank/ledger' THEN 0 ELSE 1 END) = 1";
    assert!(guarded.shop(trap).await.contains("| 2 |"));
    assert_eq!(guarded.ask(&guarded.root, trap).await.unwrap_err().kind, QueryErrorKind::Execution);
    // A view goes on without what is withheld from below it.
    guarded.shop("SELECT destination, path FROM denied").await;

    let denied = async |sql: &str| {
        let error = guarded.ask(&guarded.shop, sql).await.unwrap_err();
        assert_eq!(error.kind, QueryErrorKind::Denied, "{sql}: {error}");
        error.to_string()
    };
    let column = denied("SELECT \"user\" FROM requests").await;
    assert!(column.contains("`alice` may not read the column `user`"), "{column}");
    let table = denied("SELECT * FROM leases").await;
    assert!(table.contains("`alice` may not read the table `leases`"), "{table}");
    let plans = denied("EXPLAIN ANALYZE SELECT 1").await;
    assert!(plans.contains("EXPLAIN"), "{plans}");
    for sql in ["COPY requests TO '/tmp/x.csv'", "CREATE VIEW v AS SELECT * FROM requests", "SET x = 1"] {
        let error = guarded.ask(&guarded.shop, sql).await.unwrap_err();
        assert_eq!(error.kind, QueryErrorKind::ReadOnly, "{sql}: {error}");
    }
    let nobody =
        guarded.running.engine.reader(&Identity::new("mallory", &["marketing".to_owned()], &[])).await.unwrap();
    let error = guarded.ask(&nobody, "SELECT 1 FROM requests").await.unwrap_err();
    assert!(error.to_string().contains("`mallory` may not read the table `requests`"), "{error}");
    assert!(
        guarded
            .ask(&nobody, "SELECT table_name FROM information_schema.tables")
            .await
            .is_ok_and(|tables| !tables.contains("requests"))
    );
    assert!(!guarded.shop.may_read("metrics") && guarded.root.may_read("metrics"));
    guarded.running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_not_computed_for_who_may_not_read_their_like() {
    let guarded = Guarded::start().await;
    let auditor = guarded.running.engine.reader(&Identity::new("eve", &["audit".to_owned()], &[])).await.unwrap();
    assert!(guarded.ask(&auditor, "SELECT \"user\", decision, policies FROM requests").await.is_ok());
    let sql = "SELECT would_decide, would_shadow FROM authorize('live')";
    let error = guarded.ask(&auditor, sql).await.unwrap_err();
    assert_eq!(error.kind, QueryErrorKind::Plan);
    assert!(error.to_string().contains("authorize tells the like of `shadow`"), "{error}");
    assert!(guarded.ask(&guarded.root, sql).await.is_ok());
    guarded.running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reports_is_permitted_too() {
    let guarded = Guarded::start().await;
    let engine = &guarded.running.engine;
    let may =
        |identity: &Identity, reporter: &str| engine.may_report(identity, reporter).map_err(|error| error.to_string());
    assert_eq!(may(&Identity::new("shop-1", &[], &[]), "shop-1"), Ok(()));
    let other = may(&Identity::new("shop-1", &[], &[]), "bank-1").unwrap_err();
    assert!(other.contains("`shop-1` may not report as `bank-1`: report under the own name"), "{other}");
    let listed = may(&Identity::new("shop", &[], &["shop-*".to_owned()]), "shop-1").unwrap_err();
    assert!(listed.contains("no policy in `data/*.cedar` permits the action `report`"), "{listed}");
    guarded.running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_in_force_at_once_and_old_plans_are_not_run() {
    let guarded = Guarded::start().await;
    let (engine, shop) = (&guarded.running.engine, &guarded.shop);
    let state = engine.query_state(shop);
    let plan = state.create_logical_plan("SELECT path FROM requests").await.unwrap();
    let run = async |plan: &datafusion::logical_expr::LogicalPlan| {
        let frame = datafusion::dataframe::DataFrame::new(state.clone(), plan.clone());
        let rows = engine.run(shop, async move { Ok(frame) }, None).await?;
        rows.batches.try_collect::<Vec<_>>().await
    };
    assert!(run(&plan).await.is_ok());
    let waiting = tokio::spawn({
        let shop = shop.clone();
        async move { shop.outdated().await }
    });
    // A change that is wrong changes nothing.
    guarded.running.write_policy(
        "data/more.cedar",
        "permit (principal, action == Action::\"readTable\", resource == Table::\"reqests\");",
    );
    wait_for("a refusal", async || engine.status().policies.refused.is_some()).await;
    let refused = engine.status().policies.refused.unwrap().diagnostics.to_string();
    assert!(
        refused.contains(
            "data/more.cedar:1:70: error[TG1001]: there is no table `reqests`; help: did you mean `requests`?"
        ),
        "{refused}"
    );
    assert!(run(&plan).await.is_ok() && shop.is_current());

    guarded.running.write_policy(
        "data/more.cedar",
        "forbid (principal, action == Action::\"readColumn\", resource == Column::\"requests.path\");",
    );
    waiting.await.unwrap();
    assert!(!shop.is_current());
    let error = run(&plan).await.unwrap_err();
    assert!(error.to_string().contains("policies on data have changed"), "{error}");
    let now = engine.reader(shop.identity()).await.unwrap();
    let error = guarded.ask(&now, "SELECT path FROM requests").await.unwrap_err();
    assert_eq!(error.kind, QueryErrorKind::Denied, "{error}");
    // Taking all policies away would let everybody read everything, which is not done in passing.
    std::fs::rename(guarded.running.policies().join("data"), guarded.running.dir.path().join("gone")).unwrap();
    wait_for("a refusal", async || engine.status().policies.refused.is_some()).await;
    assert!(engine.status().policies.refused.unwrap().diagnostics.to_string().contains("TG1003"));
    assert!(guarded.ask(&now, "SELECT path FROM requests").await.is_err());
    engine.shutdown().await;
}
