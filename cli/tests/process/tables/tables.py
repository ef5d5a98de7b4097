"""Runs the Python and SQL blocks of docs/export.md in the current directory, which has the exported files, and checks
what pandas, polars and DuckDB read.

Usage: tables.py PATH_OF_EXPORT_MD
"""

import csv
import re
import sys
from datetime import datetime, timezone
from decimal import Decimal

import duckdb
import pandas as pd
import polars as pl

UTC = timezone.utc


def blocks(path):
    """The blocks of each section of a document, as a language and a text."""
    found = {}
    for section in re.split(r"^## ", open(path).read(), flags=re.MULTILINE)[1:]:
        found[section.splitlines()[0]] = re.findall(r"^```(python|sql)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return found


def run(section):
    """Runs the blocks of a section. Returns the variables of its Python, and the results of its SQL."""
    variables, results = {}, []
    for language, text in section:
        if language == "python":
            exec(text, variables)
        else:
            statements = [statement.strip() for statement in text.split(";") if statement.strip()]
            results += [duckdb.sql(statement) for statement in statements]
    return variables, results


def expected(name):
    """The rows of a file, read by Python's own library: texts, with None for an empty cell."""
    with open(name, newline="") as file:
        return [{column: cell or None for column, cell in row.items()} for row in csv.DictReader(file)]


def truth(text):
    return {"true": True, "false": False}[text]


def typed(row):
    """The values that a row of texts stands for. Prices are floating-point numbers."""
    kinds = {"interval": str, "cause": str, "complete": truth}
    # Of a candle, it is the number of its samples that were backfilled.
    kinds["backfilled"] = int if "start" in row else truth
    kinds |= dict.fromkeys(["slot", "from", "to", "start"], datetime.fromisoformat)
    kinds |= dict.fromkeys(["price", "open", "high", "low", "close"], float)
    return {column: None if text is None else kinds.get(column, int)(text) for column, text in row.items()}


def exactly(rows):
    def exact(row):
        slot, price = datetime.fromisoformat(row["slot"]), Decimal(row["price"])
        return slot, price, int(row["sequence"]), truth(row["backfilled"])

    return [exact(row) for row in rows]


def same(found, expected, what):
    assert len(found) == len(expected) > 0, (what, len(found), len(expected))
    for one, other in zip(found, expected):
        assert one == other, (what, one, other)


texts = {name: expected(f"{name}.csv") for name in ["btc", "gaps", "candles"]}
values = {name: [typed(row) for row in rows] for name, rows in texts.items()}
exact = exactly(texts["btc"])
assert any(row["sources"] is None for row in texts["gaps"]), "the gaps must have an empty cell"
assert {row["complete"] for row in texts["candles"]} == {"true", "false"}

document = blocks(sys.argv[1])

# pandas
read, _ = run(document["pandas"])
frames = {"btc": read["prices"], "gaps": read["gaps"], "candles": read["candles"]}
assert [str(kind) for kind in frames["btc"].dtypes] == ["datetime64[us, UTC]", "float64", "int64", "bool"]
assert str(frames["candles"]["complete"].dtype) == "bool"
assert str(frames["gaps"]["sources"].dtype) == "float64"
for name, frame in frames.items():
    rows = [{key: None if pd.isna(value) else value for key, value in row.items()} for row in frame.to_dict("records")]
    same(rows, values[name], f"pandas {name}")
same(list(read["exact"].itertuples(index=False, name=None)), exact, "pandas exact")
whole = pd.read_csv("gaps.csv", dtype_backend="numpy_nullable")
assert str(whole["sources"].dtype) == "Int64"

# polars
read, _ = run(document["polars"])
frames = {"btc": read["prices"], "gaps": read["gaps"], "candles": read["candles"]}
kinds = {"slot": pl.Datetime("us", "UTC"), "price": pl.Float64, "sequence": pl.Int64, "backfilled": pl.Boolean}
assert dict(frames["btc"].schema) == kinds
for name, frame in frames.items():
    same(frame.to_dicts(), values[name], f"polars {name}")
same(read["exact"].rows(), exact, "polars exact")

# DuckDB
duckdb.sql("SET TimeZone = 'UTC'")
_, results = run(document["DuckDB"])
for name, result in zip(["btc", "gaps", "candles"], results):
    rows = [dict(zip(result.columns, row)) for row in result.fetchall()]
    rows = [{k: v.astimezone(UTC) if isinstance(v, datetime) else v for k, v in row.items()} for row in rows]
    same(rows, values[name], f"DuckDB {name}")
assert [str(kind) for kind in results[0].types] == ["TIMESTAMP WITH TIME ZONE", "DOUBLE", "BIGINT", "BOOLEAN"]
same([(at.astimezone(UTC), *rest) for at, *rest in results[3].fetchall()], exact, "DuckDB exact")

# Parquet: each program reads the file of the other one.
run(document["Parquet"])
same(pl.read_parquet("btc-duckdb.parquet").rows(), exact, "Parquet of DuckDB")
result = duckdb.sql("FROM 'btc-polars.parquet'")
assert [str(kind) for kind in result.types] == ["TIMESTAMP WITH TIME ZONE", "DECIMAL(38,14)", "BIGINT", "BOOLEAN"]
same([(at.astimezone(UTC), *rest) for at, *rest in result.fetchall()], exact, "Parquet of polars")
print(len(exact), "prices")
