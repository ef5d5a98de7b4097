"""The usual first design: each request asks an exchange, and stores the price in SQLite."""

import os
import sqlite3
import threading
import time

import requests
from flask import Flask

UPSTREAM = os.environ["BENCH_UPSTREAM"]
DATABASE = os.path.join(os.environ["BENCH_DIRECTORY"], "prices.db")

app = Flask(__name__)
own = threading.local()


def connections():
    """A session and a database for each thread, because neither is meant to be shared."""
    if not hasattr(own, "session"):
        own.session = requests.Session()
        own.database = sqlite3.connect(DATABASE, timeout=30)
        own.database.execute("PRAGMA journal_mode = WAL")
        own.database.execute("PRAGMA synchronous = NORMAL")
        own.database.execute(
            "CREATE TABLE IF NOT EXISTS prices (pair TEXT, time REAL, price TEXT)"
        )
    return own.session, own.database


@app.get("/v1/prices/<pair>")
def price(pair):
    session, database = connections()
    symbol = pair.replace("-", "").lower()
    answer = session.get(f"{UPSTREAM}/api/v2/ticker/{symbol}/", timeout=5)
    answer.raise_for_status()
    last, now = answer.json()["last"], time.time()
    with database:
        database.execute("INSERT INTO prices VALUES (?, ?, ?)", (pair, now, last))
    return {"pair": pair, "price": last, "time": now}
