//! Following `requests`: rows as they are admitted, chosen by SQL over one row at a time.

use futures::StreamExt as _;
use tollgate_attributes::Row;
use tollgate_engine::{FollowQuery, FollowedRows, QueryErrorKind};

use crate::harness::{PATIENCE, Running, request};

fn query(filter: &str, columns: &str) -> FollowQuery {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    FollowQuery { filter: text(filter), columns: text(columns) }
}

#[tokio::test(flavor = "multi_thread")]
async fn admitted_rows_are_followed_from_when_it_began() {
    let running = Running::start().await;
    running.report("catalog-1", &[Row { status: Some(500), ..request("catalog-1") }]).await;
    let chosen = query("status >= 500 AND time > now() - INTERVAL '1 hour'", "status, upper(source) AS who");
    let mut failed = running.follow(chosen).await.unwrap();
    let mut all = running.follow(FollowQuery::default()).await.unwrap();
    assert_eq!(all.schema, tollgate_attributes::schema());
    let names: Vec<_> = failed.schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["status", "who"]);

    let rows = [request("catalog-1"), Row { status: Some(503), ..request("catalog-1") }, request("catalog-1")];
    running.report("catalog-1", &rows[..1]).await;
    running.report("catalog-1", &rows).await;
    let next = tokio::time::timeout(PATIENCE, failed.batches.next()).await.unwrap();
    let FollowedRows { rows, missed } = next.unwrap().unwrap();
    assert_eq!((rows.num_rows(), missed), (1, 0));
    assert_eq!(arrow::util::display::array_value_to_string(rows.column(0), 0).unwrap(), "503");
    assert_eq!(arrow::util::display::array_value_to_string(rows.column(1), 0).unwrap(), "SHOP/STOREFRONT");

    running.engine.shutdown().await;
    assert!(failed.batches.next().await.is_none(), "the engine has ended");
    let mut seen = Vec::new();
    while let Some(batch) = all.batches.next().await {
        seen.push(batch.unwrap().rows.num_rows());
    }
    assert_eq!(seen, [1, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_about_one_row_is_refused() {
    let running = Running::start().await;
    let check = async |filter: &str, columns: &str, message: &str| {
        let error = running.follow(query(filter, columns)).await.err();
        let error = error.unwrap_or_else(|| panic!("{filter} {columns} was taken"));
        assert_eq!(error.kind(), QueryErrorKind::Plan, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    };
    check("statuss >= 500", "", "1:1: `where`: unknown column `statuss`; help: did you mean `status`?").await;
    check("", "source, statuss", "1:9: `columns`: unknown column `statuss`").await;
    check("status", "", "`where`: it is Int16 and not true or false").await;
    for (filter, columns) in [
        ("status = (SELECT max(status) FROM requests)", ""),
        ("EXISTS (SELECT 1 FROM services)", ""),
        ("count(*) > 1", ""),
        ("row_number() OVER () > 1", ""),
        ("", "count(*)"),
        ("", "DISTINCT source"),
        ("", "row_number() OVER ()"),
        ("", "(SELECT max(status) FROM requests)"),
        ("", "name FROM reporters --"),
        ("", "source FROM requests LIMIT 1 --"),
        ("", "source FROM requests UNION SELECT name FROM reporters --"),
        ("", "unnest(policies)"),
    ] {
        let error = running.follow(query(filter, columns)).await.err();
        let error = error.unwrap_or_else(|| panic!("{filter} {columns} was taken"));
        assert!(matches!(error.kind(), QueryErrorKind::Plan | QueryErrorKind::Syntax), "{filter} {columns}: {error}");
    }
    for syntax in ["status >=", "true) OR (true", "true; DROP TABLE requests", "true UNION SELECT 1"] {
        let error = running.follow(query(syntax, "")).await.err().unwrap();
        assert!(error.to_string().contains("`where`"), "{syntax}: {error}");
    }
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_computed_ends_it_with_an_error() {
    let running = Running::start().await;
    let mut followed = running.follow(query("", "100 / (status - 200) AS q")).await.unwrap();
    running.report("catalog-1", &[Row { status: Some(201), ..request("catalog-1") }]).await;
    running.report("catalog-1", &[request("catalog-1")]).await;
    let first = followed.batches.next().await.unwrap().unwrap();
    assert_eq!(first.rows.column(0).len(), 1);
    let error = followed.batches.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), QueryErrorKind::Execution, "{error}");
    assert!(followed.batches.next().await.is_none());
    running.engine.shutdown().await;
}
