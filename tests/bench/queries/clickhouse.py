"""Reads lists of queries as JSON, runs each list in one ClickHouse session, and writes how long each query took."""

import json
import sys
import time

from chdb.session import Session


def main() -> None:
    session = Session()
    version = session.query("SELECT version()", "TabSeparated").bytes().decode().strip()
    answers = []
    for queries in json.load(sys.stdin):
        seconds, rows = [], 0
        for query in queries:
            started = time.perf_counter()
            text = session.query(query, "JSONEachRow").bytes()
            seconds.append(time.perf_counter() - started)
            rows = text.count(b"\n")
        answers.append({"seconds": seconds, "rows": rows})
    json.dump({"version": version, "answers": answers}, sys.stdout)


main()
