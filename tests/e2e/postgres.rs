//! PostgreSQL's clients against a real engine: psql, Grafana's questions word for word, and drivers of several makers.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Backend, Client, Engine, PATIENCE, Proxy, Workspace, pypi, until};

const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);\n";

/// An engine that has seen five requests from `shop/a` to `shop/catalog`.
struct Seen {
    engine: Engine,
    proxy: Proxy,
    _workspace: Workspace,
    _backend: Backend,
}

impl Seen {
    async fn start(settings: &str) -> Self {
        let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
        let engine = Engine::start_at(&workspace, "127.0.0.1:0".parse().unwrap(), settings).await;
        let backend = Backend::start().await;
        let proxy = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
        engine.wait_enforced(1).await;
        for _ in 0..5 {
            assert_eq!(Client::new(proxy.inbound()).get_as("shop/a", "/").await.status, 200);
        }
        until("five rows are kept", || async { engine.number("SELECT count(*) FROM requests").await == 5 }).await;
        Self { engine, proxy, _workspace: workspace, _backend: backend }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// What psql prints for these commands, without alignment.
async fn psql(address: SocketAddr, commands: &'static [&'static str]) -> String {
    psql_as(address, &["-A"], commands).await
}

/// The same with further options.
async fn psql_as(address: SocketAddr, options: &'static [&'static str], commands: &'static [&'static str]) -> String {
    blocking(move || {
        let mut psql = Command::new("psql");
        psql.args(options).args([
            "-X",
            "-P",
            "pager=off",
            "-h",
            &address.ip().to_string(),
            "-p",
            &address.port().to_string(),
        ]);
        psql.args(["-U", "analyst", "-d", "tollgate"]).stdin(Stdio::null());
        for command in commands {
            psql.args(["-c", command]);
        }
        let output = psql.output();
        let output = output.unwrap_or_else(|error| panic!("`psql`: {error}; install the peers with tests/setup.sh"));
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_lists_and_describes_tables() {
    let seen = Seen::start("").await;
    let address = seen.engine.postgres;
    let tables = psql(address, &["\\dt+", "\\dv"]).await;
    assert!(tables.contains("public|requests|table|"), "{tables}");
    assert!(tables.contains("What proxies saw, one row a request"), "{tables}");
    assert!(tables.contains("public|services|view|"), "{tables}");

    let described = psql(address, &["\\d+ requests"]).await;
    assert!(described.contains("Table \"public.requests\""), "{described}");
    for line in [
        "time|timestamp with time zone||not null|",
        "source|text|||",
        "status|smallint|||",
        "duration_us|bigint||not null|",
        "policies|text[]|||",
        "trace_id|bytea|||",
    ] {
        assert!(described.contains(line), "{line}\n{described}");
    }
    assert!(described.contains("HTTP status that the caller got"), "{described}");

    let rows = psql(address, &["SELECT source, status, count(*) FROM requests GROUP BY 1, 2"]).await;
    assert_eq!(rows, "source|status|count\nshop/a|200|5\n(1 row)\n");
    let several = psql(address, &["SELECT 1; SELECT 1, 1; ; SELECT 'a' AS b"]).await;
    assert_eq!(several, "?column?\n1\n(1 row)\n?column?|?column?\n1|1\n(1 row)\nb\na\n(1 row)\n");
    let errors = psql(address, &["SELECT nope FROM requests", "SELECT * FROM reqests", "DROP TABLE requests"]).await;
    assert!(errors.contains("ERROR:  unknown column `nope`"), "{errors}");
}

/// What somebody sees who connects for the first time: the columns of a table, values of each kind, and errors that point at the place.
#[tokio::test(flavor = "multi_thread")]
async fn psql_shows() {
    let seen = Seen::start("").await;
    let commands: &[&str] = &[
        "\\d requests",
        "SELECT source, status, decision, policies, duration_us > 0 AS took, time > now() - interval '1 hour' AS recent FROM requests LIMIT 2",
        "SELECT 1::smallint, 2::bigint, 0.5::double precision, 1.25::numeric(6,2), true, 'text', NULL, DATE '2026-01-02', TIMESTAMPTZ '2026-01-02 03:04:05.678Z', arrow_cast(TIMESTAMP '2026-01-02 03:04:05', 'Timestamp(Microsecond, Some(\"UTC\"))') AS utc, INTERVAL '90 minutes', ARRAY[1, 2], X'00ff'",
        "\\x",
        "SELECT destination, requests, success FROM edges",
        "SELECT nope FROM requests",
        "SELECT * FROM reqests",
        "SELECT source FROM requests WHERE status = 'abc'",
        "SELECT source, FROM requests",
        "DELETE FROM requests",
    ];
    insta::assert_snapshot!(psql_as(seen.engine.postgres, &[], commands).await);
}

/// A message that says it is as long as PostgreSQL would read is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_claims_too_much_ends_the_connection() {
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT)]);
    let engine = Engine::start(&workspace).await;
    let startup = b"\0\0\0\x21\0\x03\0\0user\0analyst\0database\0t\0\0";
    let claims = |bytes: u32| [b"Q".as_slice(), &bytes.to_be_bytes()].concat();
    let check = async |first: &[u8], answer: &str, then: Vec<u8>| {
        let mut socket = tokio::net::TcpStream::connect(engine.postgres).await.unwrap();
        socket.write_all(first).await.unwrap();
        let mut said = Vec::new();
        let reading = async {
            while !String::from_utf8_lossy(&said).contains(answer) {
                assert_ne!(socket.read_buf(&mut said).await.unwrap(), 0, "{}", String::from_utf8_lossy(&said));
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap();
        socket.write_all(&then).await.unwrap();
        tokio::time::timeout(PATIENCE, socket.read_to_end(&mut said)).await.unwrap().unwrap();
        String::from_utf8_lossy(&said).into_owned()
    };
    // `server_version` comes with the end of the introduction.
    let said = check(startup, "server_version", claims(0x3fff_ffff)).await;
    assert!(said.contains("a message of 1073741823 bytes: at most 2097152 are read"), "{said}");
    assert!(said.contains("54000"), "{said}");
    let text = format!("SELECT '{}'\0", "x".repeat(1 << 20));
    let query = [claims(u32::try_from(text.len() + 4).unwrap()), text.into_bytes(), b"X\0\0\0\x04".to_vec()].concat();
    let said = check(startup, "server_version", query).await;
    assert!(said.contains("at most 1048576 are read"), "a long text is an error of the query: {}", &said[..400]);
}

#[tokio::test(flavor = "multi_thread")]
async fn grafana_finds_version_tables_and_columns_and_draws_panels() {
    let seen = Seen::start("").await;
    let address = seen.engine.postgres;
    assert_eq!(psql(address, &["-- ping"]).await, "");
    assert_eq!(psql(address, &[";"]).await, "");
    let version = psql(address, &["SELECT current_setting('server_version_num')::int/100 as version"]).await;
    assert_eq!(version, "version\n1500\n(1 row)\n");
    let timescale = psql(address, &["SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"]).await;
    assert_eq!(timescale, "extversion\n(0 rows)\n");

    let tables = psql(address, &[TABLES]).await;
    assert!(tables.contains("\nrequests\n") && !tables.contains("public."), "{tables}");
    let columns = psql(address, &[COLUMNS]).await;
    assert!(columns.contains("\ntime|timestamp with time zone\n") && columns.contains("\nsource|text\n"), "{columns}");

    let panel = psql(
        address,
        &["SELECT floor(extract(epoch from time)/300)*300 AS \"time\", source AS metric, count(*) AS value FROM requests \
           WHERE time BETWEEN '2020-01-01T00:00:00Z' AND '2099-01-01T00:00:00.000000001Z' GROUP BY 1, 2 ORDER BY 1"],
    )
    .await;
    assert!(panel.starts_with("time|metric|value\n") && panel.contains("|shop/a|"), "{panel}");
    let values = psql(
        address,
        &["SELECT 'source' AS col_name, \"source\"::text AS val FROM (SELECT DISTINCT \"source\" FROM requests LIMIT 100) \
           sub_0 UNION ALL SELECT 'status' AS col_name, \"status\"::text AS val FROM (SELECT DISTINCT \"status\" FROM \
           requests LIMIT 100) sub_1 ORDER BY 1"],
    )
    .await;
    assert_eq!(values, "col_name|val\nsource|shop/a\nstatus|200\n(2 rows)\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_reads_copies_and_cancels() {
    pypi::client("with_psycopg.py", vec![Seen::start("").await.engine.postgres.to_string()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlalchemy_lists_columns_and_queries() {
    pypi::client("with_sqlalchemy.py", vec![Seen::start("").await.engine.postgres.to_string()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asyncpg_prepares_and_pools() {
    pypi::client("with_asyncpg.py", vec![Seen::start("").await.engine.postgres.to_string()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn adbc_reads_arrow_over_copy() {
    pypi::client("with_adbc_postgresql.py", vec![Seen::start("").await.engine.postgres.to_string()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flight_sql_answers_and_takes_rows() {
    pypi::client("with_flightsql.py", vec![Seen::start("").await.engine.grpc.to_string()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_query_is_stopped_while_rows_come_in() {
    let seen = Seen::start("query: { timeout: 2s }\n").await;
    let address = seen.engine.postgres;
    let start = Instant::now();
    let hostile = tokio::spawn(psql(
        address,
        &[
            "SELECT count(*) FROM requests a, requests b, generate_series(1, 100000000) c, generate_series(1, 100000000) d",
        ],
    ));
    let mut slowest = std::time::Duration::ZERO;
    for _ in 0..20 {
        let sent = Instant::now();
        assert_eq!(Client::new(seen.proxy.inbound()).get_as("shop/a", "/").await.status, 200);
        slowest = slowest.max(sent.elapsed());
    }
    until("all rows are kept", || async { seen.engine.number("SELECT count(*) FROM requests").await == 25 }).await;
    let (kept, said) = (start.elapsed(), hostile.await.unwrap());
    assert!(said.contains("the query was not done after 2 s"), "{said}");
    println!("rows kept after {kept:?}, slowest request {slowest:?}, hostile query ended after {:?}", start.elapsed());
}

/// As Grafana asks for tables.
const TABLES: &str = r#"SELECT CASE WHEN quote_ident(table_schema) IN (
    SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
    FROM generate_series(array_lower(string_to_array(current_setting('search_path'),','),1),
        array_upper(string_to_array(current_setting('search_path'),','),1)) as i,
        string_to_array(current_setting('search_path'),',') s)
    THEN quote_ident(table_name) ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS "table"
    FROM information_schema.tables
    WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', '_timescaledb_cache',
        '_timescaledb_catalog', '_timescaledb_internal', '_timescaledb_config', 'timescaledb_information',
        'timescaledb_experimental')
    ORDER BY CASE WHEN quote_ident(table_schema) IN (
    SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
    FROM generate_series(array_lower(string_to_array(current_setting('search_path'),','),1),
        array_upper(string_to_array(current_setting('search_path'),','),1)) as i,
        string_to_array(current_setting('search_path'),',') s) THEN 0 ELSE 1 END, 1"#;

/// As Grafana asks for the columns of a table that it was not given the schema of.
const COLUMNS: &str = r#"SELECT quote_ident(column_name) AS "column", data_type AS "type"
    FROM information_schema.columns
    WHERE CASE WHEN array_length(parse_ident('requests'),1) = 2
    THEN quote_ident(table_schema) = (parse_ident('requests'))[1] AND quote_ident(table_name) = (parse_ident('requests'))[2]
    ELSE quote_ident(table_name) = 'requests' AND quote_ident(table_schema) IN (
    SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
    FROM generate_series(array_lower(string_to_array(current_setting('search_path'),','),1),
        array_upper(string_to_array(current_setting('search_path'),','),1)) as i,
        string_to_array(current_setting('search_path'),',') s) END"#;
