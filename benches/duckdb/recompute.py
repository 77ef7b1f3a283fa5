"""Runs a query on a file of events with two threads, and prints the seconds that it took: recompute.py SQL EVENTS OUT."""

import pathlib
import sys
import time

import duckdb

sql, events, out = sys.argv[1:]
connection = duckdb.connect(config={"threads": 2, "preserve_insertion_order": False})
connection.execute("SET VARIABLE events = ?", [events])
# COPY takes no variable for its target.
query = pathlib.Path(sql).read_text().replace("'OUT'", "'" + out.replace("'", "''") + "'")
start = time.perf_counter()
connection.execute(query)
print(time.perf_counter() - start)
