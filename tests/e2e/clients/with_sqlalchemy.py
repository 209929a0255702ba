"""SQLAlchemy over psycopg: the questions it asks on connecting, tables, views and columns, and a query built from them."""
import sys

import sqlalchemy as sa

engine = sa.create_engine(f"postgresql+psycopg://analyst@{sys.argv[1]}/tollgate")
with engine.connect() as connection:
    assert connection.execute(sa.text("SELECT count(*) AS n FROM requests")).scalar_one() >= 5
    inspector = sa.inspect(connection)
    assert "requests" in inspector.get_table_names(), inspector.get_table_names()
    assert "services" in inspector.get_view_names(), inspector.get_view_names()
    columns = {column["name"]: column for column in inspector.get_columns("requests")}
    assert isinstance(columns["time"]["type"], sa.TIMESTAMP) and columns["time"]["type"].timezone
    assert isinstance(columns["status"]["type"], sa.SMALLINT)
    assert columns["status"]["comment"].startswith("HTTP status"), columns["status"]

    # What has nothing to show says so.
    assert inspector.get_schema_names() == ["information_schema", "public"], inspector.get_schema_names()
    assert inspector.get_pk_constraint("requests")["constrained_columns"] == []
    nothing = [inspector.get_foreign_keys, inspector.get_indexes, inspector.get_unique_constraints, inspector.get_check_constraints]
    assert [ask("requests") for ask in nothing] == [[]] * len(nothing)
    assert (inspector.get_sequence_names(), inspector.get_enums(), inspector.get_domains()) == ([], [], [])
    assert inspector.get_table_comment("requests")["text"].startswith("What proxies saw"), inspector.get_table_comment("requests")
    assert inspector.has_table("requests") and not inspector.has_table("nothing")
    assert "FROM traffic_1s" in inspector.get_view_definition("edges")
    reflected = sa.MetaData()
    reflected.reflect(connection, views=True)
    assert {"requests", "traffic", "edges"} <= reflected.tables.keys(), reflected.tables.keys()
    assert reflected.tables["requests"].c.keys() == list(columns), "columns in their order"
    with connection.begin_nested():
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1

    table = sa.table("requests", *(sa.column(name, column["type"]) for name, column in columns.items()))
    query = sa.select(table.c.destination, sa.func.count()).where(table.c.status == 200).group_by(table.c.destination)
    rows = connection.execute(query).all()
    assert rows and rows[0][0] == "shop/catalog" and rows[0][1] >= 5, rows
print("ok")
