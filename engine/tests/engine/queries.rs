//! SQL: what it answers is in `tests/slt`; here are its limits and its errors.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use tollgate_attributes::Row;
use tollgate_engine::{QueryError, QueryErrorKind};

use crate::harness::{Running, now_us, request, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn limits_end_a_query_with_an_error_that_says_which() {
    let running = Running::start_with(|config| {
        config.query_rows_max = 100;
        config.query_timeout = Duration::from_secs(3);
        config.query_bytes_max = 4 << 20;
    })
    .await;
    let check = async |sql: &str, kind: QueryErrorKind, message: &str| {
        let error = running.try_rows(sql).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    };
    check("SELECT * FROM generate_series(1, 101)", QueryErrorKind::Rows, "more than 100 rows").await;
    let forever = "SELECT count(*) FROM generate_series(1, 100000000) a, generate_series(1, 100000000) b";
    check(forever, QueryErrorKind::Time, "after 3 s").await;
    let much = "SELECT count(*) FROM (SELECT value, count(*) FROM generate_series(1, 50000000) GROUP BY value)";
    let error = running.try_rows(much).await.unwrap_err();
    assert!(matches!(error.kind(), QueryErrorKind::Memory | QueryErrorKind::Time), "{error}");
    assert_eq!(
        running.rows("SELECT * FROM generate_series(1, 100)").await.iter().map(|b| b.num_rows()).sum::<usize>(),
        100
    );
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_without_an_end_leaves_its_thread_at_the_limit() {
    let running = Running::start_with(|config| {
        config.query_timeout = Duration::from_millis(300);
        config.query_threads = 1;
    })
    .await;
    let numbers = |n: u64| format!("generate_series(1, {n})");
    let (few, many) = (numbers(100_000), numbers(1_000_000_000));
    let hostile = [
        // Rows without number, one row that counts them.
        format!("SELECT count(*) FROM {few} a, {few} b, {few} c"),
        format!("SELECT count(*) FROM {few} a JOIN {few} b ON a.value % 2 = b.value % 2"),
        format!("SELECT count(*) FROM {few} a JOIN {few} b ON a.value + b.value > 0"),
        // Conditions that nothing meets: no row is ever made.
        format!("SELECT count(*) FROM {few} a JOIN {many} b ON a.value * b.value < 0"),
        format!("SELECT * FROM {few} a JOIN {many} b ON a.value % 2 = b.value % 2 AND a.value * b.value < 0"),
        format!("SELECT count(*) FROM {few} a WHERE EXISTS (SELECT 1 FROM {many} b WHERE a.value * b.value < 0)"),
        format!("SELECT count(*) FROM (SELECT unnest(range(0, 1000)) FROM {many})"),
    ];
    for sql in &hostile {
        let error = running.try_rows(sql).await.unwrap_err();
        assert_eq!(error.kind(), QueryErrorKind::Time, "{sql}: {error}");
    }
    // What is counted has ended, whatever its reader was told.
    let mut registry = prometheus_client::registry::Registry::default();
    running.engine.metrics().register(&mut registry);
    let ended = format!("tollgate_queries_total{{outcome=\"time\"}} {}\n", hostile.len());
    let mut text = String::new();
    wait_for("all of them to end", async || {
        text.clear();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.contains(&ended)
    })
    .await;
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_the_place_and_what_to_do() {
    let running = Running::start().await;
    let check = async |sql: &str, kind: QueryErrorKind, message: &str| {
        let error = running.try_rows(sql).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.to_string(), message);
    };
    use QueryErrorKind::{Plan, ReadOnly};
    check("SELECT statuss FROM requests", Plan, "1:8: unknown column `statuss`; help: did you mean `status`?").await;
    check("SELECT 1 FROM request", Plan, "1:15: unknown table `request`; help: did you mean `requests`?").await;
    for sql in
        ["DROP TABLE requests", "CREATE TABLE a (b INT)", "INSERT INTO requests (time) VALUES (now())", "SET a.b = 1"]
    {
        check(sql, ReadOnly, "only queries are answered: nothing can be changed with SQL").await;
    }
    let error = running.try_rows("SELECT (\n  FROM requests").await.unwrap_err();
    assert_eq!((error.kind(), error.position), (QueryErrorKind::Syntax, Some((2, 8))), "{error}");
    let error = running.try_rows("SELECT 1; SELECT 2").await.unwrap_err();
    assert_eq!(error.kind(), QueryErrorKind::Plan, "{error}");
    running.engine.shutdown().await;
}

/// The rows that the `.slt` files are about: ten requests, five seconds apart, the newest now.
fn fixed_rows<'a>(policies: &'a [std::sync::Arc<str>]) -> Vec<Row<'a>> {
    let now = now_us();
    let row =
        |index: i64| Row { time: now - index * 5_000_000, duration_us: (index + 1) * 1_000, ..request("catalog-1") };
    (0..10)
        .map(|index| match index {
            7 => Row { decision: "deny", reason: "no_permit", status: Some(403), source: "", ..row(index) },
            8 => Row { decision: "limit", reason: "rate", status: Some(429), policies, ..row(index) },
            9 => Row {
                status: Some(500),
                destination: "shop/payments",
                method: "POST",
                trace_id: Some([
                    0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36,
                ]),
                ..row(index)
            },
            _ => row(index),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_documentation_runs() {
    let running = Running::start().await;
    let policies = ["few".into()];
    running.report("catalog-1", &fixed_rows(&policies)).await;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sql.md");
    let page = std::fs::read_to_string(page).unwrap();
    let examples: Vec<_> = page.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() > 10);
    for example in examples {
        running.try_rows(example).await.unwrap_or_else(|error| panic!("{example}\n{error}"));
    }
    running.engine.shutdown().await;
}

struct Database<'a>(&'a Running);

#[async_trait]
impl AsyncDB for Database<'_> {
    type Error = QueryError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, QueryError> {
        let batches = self.0.try_rows(sql).await?;
        let mut rows = Vec::new();
        for batch in &batches {
            let options = arrow::util::display::FormatOptions::default().with_null("NULL");
            let columns: Vec<_> = batch
                .columns()
                .iter()
                .map(|column| arrow::util::display::ArrayFormatter::try_new(column, &options).unwrap())
                .collect();
            rows.extend(
                (0..batch.num_rows()).map(|row| columns.iter().map(|column| column.value(row).to_string()).collect()),
            );
        }
        let columns = batches.first().map_or(0, |batch| batch.num_columns());
        Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; columns], rows })
    }

    async fn shutdown(&mut self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_behaves_as_written() {
    let running = Running::start().await;
    let policies = ["few".into()];
    running.report("catalog-1", &fixed_rows(&policies)).await;
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let mut runner = Runner::new(async || Ok(Database(&running)));
        runner.run_file_async(&file).await.unwrap_or_else(|error| panic!("{}", error.display(false)));
    }
    running.engine.shutdown().await;
}
