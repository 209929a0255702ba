"""ADBC's Flight SQL driver as somebody who may read a part, and as somebody who may read everything."""
import sys

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as adbc


def connect(token):
    header = adbc_driver_flightsql.DatabaseOptions.AUTHORIZATION_HEADER.value
    return adbc.connect(f"grpc://{sys.argv[1]}", db_kwargs={header: f"Bearer {token}"})


def ask(cursor, query):
    cursor.execute(query)
    return cursor.fetchall()


with connect(sys.argv[2]) as alice, alice.cursor() as cursor:
    assert ask(cursor, "SELECT DISTINCT destination FROM requests") == [("shop/catalog",)]
    assert "user" not in alice.adbc_get_table_schema("requests").names
    for query in ('SELECT "user" FROM requests', "SELECT * FROM leases"):
        try:
            ask(cursor, query)
            raise AssertionError(f"{query} was answered")
        except adbc.Error as error:
            assert "`alice` may not read" in str(error), error
with connect(sys.argv[3]) as root, root.cursor() as cursor:
    assert len(ask(cursor, "SELECT DISTINCT destination FROM requests")) == 2
    assert "user" in root.adbc_get_table_schema("requests").names
print("ok")
