"""psycopg 3: both protocols, types, a server-side binding, errors, COPY, and cancelling from another thread."""
import sys
import threading
import time

import psycopg

host, port = sys.argv[1].rsplit(":", 1)
dsn = f"host={host} port={port} user=analyst dbname=tollgate"

with psycopg.connect(dsn) as connection:
    assert connection.info.server_version == 150006, connection.info.server_version
    row = connection.execute("SELECT count(*), max(status), min(time) FROM requests").fetchone()
    assert row[0] >= 5 and row[1] == 200 and row[2].tzinfo is not None, row

    cursor = connection.execute(
        "SELECT source, policies, labels, trace_id, is_mtls FROM requests WHERE destination = %s AND status >= %s LIMIT %s",
        ["shop/catalog", 200, 1],
    )
    source, policies, labels, trace_id, is_mtls = cursor.fetchone()
    assert source == "shop/a" and policies == ["all"], (source, policies)
    assert trace_id is None or len(trace_id) == 16, trace_id
    assert is_mtls in (True, False)
    names = [column.name for column in connection.execute("SELECT count(*), max(status), 1 FROM requests").description]
    assert names == ["count", "max", "?column?"], names

    binary = connection.cursor(binary=True).execute("SELECT duration_us, time, source, policies FROM requests LIMIT 1")
    duration, moment, source, policies = binary.fetchone()
    assert isinstance(duration, int) and moment.tzinfo is not None and policies == ["all"]

    with connection.cursor().copy("COPY (SELECT source, status FROM requests ORDER BY time LIMIT 2) TO STDOUT") as copy:
        assert list(copy.rows()) == [("shop/a", "200")] * 2

with psycopg.connect(dsn, autocommit=True) as connection:
    for statement, code in [
        ("SELECT nope FROM requests", "42703"),
        ("SELECT * FROM nope", "42P01"),
        ("SELEC 1", "42601"),
        ("DELETE FROM requests", "25006"),
        ("CREATE TABLE t (a int)", "25006"),
    ]:
        try:
            connection.execute(statement)
            raise AssertionError(f"{statement} was answered")
        except psycopg.Error as error:
            assert error.sqlstate == code, (statement, error.sqlstate, str(error))
    assert connection.execute("SELECT 1").fetchone() == (1,), "the connection goes on after errors"

    # A cross join of everything with itself, cancelled by a CancelRequest.
    def cancel():
        time.sleep(0.5)
        connection.cancel()

    threading.Thread(target=cancel).start()
    start = time.monotonic()
    try:
        connection.execute("SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b")
        raise AssertionError("the query was not cancelled")
    except psycopg.errors.QueryCanceled:
        assert time.monotonic() - start < 4, "cancelling took too long"

    connection.execute("SET statement_timeout = 300")
    try:
        connection.execute("SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b")
        raise AssertionError("the query went on for ever")
    except psycopg.errors.QueryCanceled as error:
        assert "0.3 s" in str(error), error

print("ok")
