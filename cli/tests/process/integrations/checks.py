"""Checks of blocks that are not programs, or that run inside of another product."""

import csv
import io
import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Longer than any check takes, also on a slow machine.
DEADLINE_SECONDS = 180


def get(address):
    with urllib.request.urlopen(address, timeout=DEADLINE_SECONDS) as response:
        return response.read().decode()


def node(script, *arguments):
    """Runs a script that is next to this file. Returns what it printed."""
    done = subprocess.run(
        ["node", HERE / script, *map(str, arguments)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shown(file, url, expected):
    """Opens a page in a browser, as if it came from the pod."""
    return node("shown.mjs", file, url, *expected.split(" ", 1)).strip()


def rows(address):
    found = list(csv.DictReader(io.StringIO(get(address))))
    assert found, f"{address} has no rows"
    return found


def sheets(code, _url, _folder):
    address = re.fullmatch(r'=IMPORTDATA\("(.*)"; ","; "en_US"\)', code.strip())[1]
    assert {"slot", "price", "sequence", "backfilled"} == set(rows(address)[0])


def excel(code, _url, _folder):
    address = re.search(r'Web\.Contents\("(.*?)"\)', code)[1]
    types = dict(re.findall(r'\{"(\w+)", ([\w. ]+)\}', code))
    found = rows(address)[0]
    assert set(types) == set(found), f"{types} of {found}"
    assert types["slot"] == "type datetimezone" and found["slot"].endswith("Z")
    assert types["price"] == "type number" and float(found["price"]) > 0
    assert types["sequence"] == "Int64.Type" and int(found["sequence"]) > 0
    assert types["backfilled"] == "type logical" and found["backfilled"] in ("true", "false")
    assert code.rstrip().endswith("Typed") and '"en-US"' in code


def apps_script(code, url, folder):
    file = folder / "apps_script.js"
    file.write_text(code)
    node("apps_script.mjs", file, url)


def datafeed(code, url, folder):
    file = folder / "datafeed.js"
    file.write_text(code)
    node("datafeed.mjs", file, url)


def infinity(code, _url, _folder):
    """Does what the data source does: requests the address, applies the root selector, and reads the columns."""
    query = json.loads(code)
    assert (query["type"], query["parser"], query["source"]) == ("json", "backend", "url")
    now = int(time.time() * 1000)
    address = query["url"].replace("${__from}", str(now - 3_600_000)).replace("${__to}", str(now + 60_000))
    assert "$" not in address, address
    # Infinity tries GJSON first, in which many expressions of JSONata mean something else. A name is the same in both.
    assert re.fullmatch(r"\w+", query["root_selector"]), f"not a plain name: {query['root_selector']}"
    items = json.loads(get(address))[query["root_selector"]]
    assert items, "the response has no items"
    kinds = [column["type"] for column in query["columns"]]
    assert kinds.count("timestamp") == 1 and kinds.count("number") == len(kinds) - 1, kinds
    for column in query["columns"]:
        assert column["text"] == column["selector"], f"Infinity may find no values for {column}"
        for value in (item[column["selector"]] for item in items):
            if column["type"] == "timestamp":
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value), value
            else:
                assert float(value) > 0, value


def home_assistant(code, _url, _folder):
    import jinja2
    import yaml

    (entry,) = yaml.safe_load(code)["rest"]
    body = json.loads(get(entry["resource"]))
    (sensor,) = entry["sensor"]
    assert set(sensor["json_attributes"]) <= set(body), body

    def rendered(name, value):
        # Home Assistant renders templates with the response as `value_json`.
        return jinja2.Template(sensor[name]).render(value_json=value)

    assert rendered("value_template", body) == body["price"]
    assert rendered("availability", body | {"stale": False}) == "True"
    assert rendered("availability", body | {"stale": True}) == "False"
    problem = entry["resource"].replace("BTC-USD", "NO-USD")
    try:
        get(problem)
        raise AssertionError(f"{problem} must be an error")
    except urllib.error.HTTPError as error:
        body = json.loads(error.read())
    assert rendered("availability", body) == "False"
