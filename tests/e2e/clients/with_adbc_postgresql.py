"""ADBC's PostgreSQL driver: rows as Arrow, by COPY in the binary format."""
import sys

import adbc_driver_postgresql.dbapi as adbc

with adbc.connect(f"postgresql://analyst@{sys.argv[1]}/tollgate") as connection, connection.cursor() as cursor:
    cursor.execute("SELECT time, source, status, duration_us, policies FROM requests ORDER BY time LIMIT 5")
    table = cursor.fetch_arrow_table()
    assert table.num_rows == 5 and table.column_names == ["time", "source", "status", "duration_us", "policies"], table
    assert table["source"].to_pylist() == ["shop/a"] * 5
    assert table["policies"].to_pylist() == [["all"]] * 5
    cursor.execute("SELECT count(*) AS n FROM requests WHERE destination = $1", ("shop/catalog",))
    assert cursor.fetchone()[0] >= 5
print("ok")
