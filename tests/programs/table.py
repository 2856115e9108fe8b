"""Prints columns of a Delta table, a row a line, tabs between: what an engine that is not Podtap's finds in it.

table.py URL COLUMN…; settings of the store come from the environment.
"""

import os
import sys

import polars

url, *columns = sys.argv[1:]
storage = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
rows = polars.scan_delta(url, storage_options=storage or None).select(columns).collect()
for row in rows.iter_rows():
    print("\t".join("" if value is None else str(value) for value in row))
