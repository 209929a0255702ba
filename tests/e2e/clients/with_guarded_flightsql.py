"""ADBC's Flight SQL driver against an engine with TLS: with a token, with name and token, and without."""
import sys

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as adbc

location = f"grpc+tls://{sys.argv[1]}"
options = adbc_driver_flightsql.DatabaseOptions
roots = {options.TLS_ROOT_CERTS.value: open(sys.argv[2]).read()}
bearer = {options.AUTHORIZATION_HEADER.value: f"Bearer {sys.argv[3]}"}
basic = {"username": "grafana", "password": sys.argv[3]}

for credentials in (bearer, basic):
    with adbc.connect(location, db_kwargs=roots | credentials) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS one")
        assert cursor.fetchone() == (1,)
for credentials in ({}, {options.AUTHORIZATION_HEADER.value: "Bearer wrong"}, basic | {"username": "alice"}):
    try:
        with adbc.connect(location, db_kwargs=roots | credentials) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 AS one")
        raise AssertionError("somebody unknown was answered")
    except adbc.Error as error:
        assert "unauthenticated" in str(error).lower(), error
print("ok")
