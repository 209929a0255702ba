"""ADBC's Flight SQL driver and pyarrow: queries, prepared statements, the catalog, and rows into `requests`."""
import datetime
import sys

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.flight as flight

location = f"grpc://{sys.argv[1]}"

with adbc.connect(location) as connection:
    with connection.cursor() as cursor:
        cursor.execute("SELECT time, source, status, policies FROM requests ORDER BY time LIMIT 5")
        table = cursor.fetch_arrow_table()
        assert table.num_rows == 5 and table["source"].to_pylist() == ["shop/a"] * 5, table
        cursor.execute("SELECT count(*) AS n FROM requests WHERE destination = ?".replace("?", "$1"), ("shop/catalog",))
        assert cursor.fetchone()[0] >= 5
        try:
            cursor.execute("SELECT nope FROM requests")
            raise AssertionError("a column that does not exist was answered")
        except adbc.Error as error:
            assert "unknown column `nope`" in str(error), error
    objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
    tables = [table["table_name"] for table in objects[0]["catalog_db_schemas"][0]["db_schema_tables"]]
    assert "requests" in tables and "services" in tables, tables

now = datetime.datetime.now(datetime.timezone.utc)
rows = pa.table(
    {
        "time": pa.array([now, now], pa.timestamp("us", "UTC")),
        "direction": ["inbound", "inbound"],
        "source": ["arrow/a", "arrow/b"],
        "destination": ["arrow/c", "arrow/c"],
        "status": pa.array([200, 503], pa.int64()),
        "duration_us": [100, 200],
    }
)
client = flight.connect(location)


def put(table, path="requests"):
    writer, reader = client.do_put(flight.FlightDescriptor.for_path(path), table.schema)
    with writer:
        writer.write_table(table)
        writer.done_writing()
        said = reader.read()
        return bytes(said) if said else b""


assert b'{"rows":2}' == put(rows)
with adbc.connect(location) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT count(*), sum(weight), max(status) FROM requests WHERE destination = 'arrow/c'")
    assert cursor.fetchone() == (2, 2, 503)
for bad, said in [
    (rows.append_column("sorce", pa.array(["x", "y"])), "did you mean `source`"),
    (rows.set_column(4, "status", pa.array([200, 99999], pa.int64())), "status"),
]:
    try:
        put(bad)
        raise AssertionError("rows that are wrong were taken")
    except (pa.ArrowInvalid, flight.FlightError) as error:
        assert said in str(error), error
print("ok")
