#!/usr/bin/env python3
"""Writes the tables and the plot of docs/performance.md from the results in bench/results. With --check, only says
whether they are up to date."""

import json
import re
import sys
from pathlib import Path

# Otherwise importing the module would leave a directory here.
sys.dont_write_bytecode = True
import plot  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
PAGE, IMAGE = ROOT / "docs/performance.md", ROOT / "docs/images/performance.svg"

# What the page assumes of prices, in US dollars. They are about what large clouds charge.
CORE_HOUR, DISK_MONTH = 0.04, 0.10
TICKS_A_YEAR = 365 * 8_640

# The lines of each benchmark that the page shows, and the name of the alternative in the results.
COMPARED = [
    ("http", "bare hyper", ["newest price", "newest price, not modified", "history, 100 ticks", "newest price, computed",
                            "history, computed"]),
    ("streams", "raw sockets", ["server-sent events: a tick at all clients", "server-sent events: memory for a client",
                                "WebSocket: memory for a client"]),
    ("rebuild", "ordered push consumer", ["records a second"]),
    ("store", "SQLite", ["on disk", "write, records a second", "open until ready", "a day's scan, 8,640 ticks, median",
                         "resident when ready"]),
    ("telemetry", "without telemetry", ["default: 1 % of requests: CPU time of a request",
                                        "all requests: CPU time of a request"]),
    ("page", "uPlot", ["1440×1000: lines drawn, median", "1440×1000: redraw, median"]),
]


def lines(scenario, results="bench/results"):
    return json.loads((ROOT / results / f"{scenario}.json").read_text())["lines"]


def ratios_before(scenario):
    """The ratios of the run before the last one. A new benchmark has none."""
    before = "bench/results/before"
    found = lines(scenario, before) if (ROOT / before / f"{scenario}.json").exists() else []
    return {line["name"]: f"{line['ratio']:.2f}" for line in found if line["ratio"]}


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def money(dollars):
    return f"${dollars:.2f}" if dollars >= 0.01 else "below $0.01"


def table(heads, rows):
    head, *body = (f"| {' | '.join(row)} |" for row in [heads, *rows])
    return "\n".join([head, "|---" + "|--:" * (len(heads) - 1) + "|", *body])


class Units:
    def __init__(self):
        self.values = {(line["of"], line["name"]): line["tickwell"] for line in lines("units")}

    def of(self, what, name):
        return self.values[what, name]

    def requests(self):
        """The name of each route, and the CPU time of a kept and of a computed response, if there is one."""
        kept, computed = (f"a request, response {how}" for how in ("kept", "computed"))
        return [(name, value, self.values.get((computed, name)))
                for (what, name), value in self.values.items() if what == kept]


def requests(units):
    rows = []
    for name, kept, computed in units.requests():
        each = f"{number(computed)} µs" if computed else "–"
        rows.append([name, f"{number(kept)} µs", each, number(1e6 / kept), money(1_000 * kept / 3600 * CORE_HOUR)])
    heads = ["route", "CPU time, response kept", "computed", "requests/s of one core", "a billion requests"]
    return table(heads, rows)


def ticks(units):
    tick = lambda name: units.of("a tick", name)
    log, disk = (tick(name) * TICKS_A_YEAR for name in
                 ("in the log, on each NATS server", "on the disk of a pod, after a year"))
    memory = tick("in the memory of a pod, for 24 hours") * 8_640
    cpu = tick("CPU time of a pod, from the log to one stream client")
    size = lambda name: f"{number(tick(name))} B"
    return table(["where", "a tick", "a pair", "cost"], [
        ["the log, on each NATS server", size("in the log, on each NATS server"), f"{number(log / 1e9)} GB a year",
         f"{money(log / 1e9 * DISK_MONTH)} a month"],
        ["the disk of each pod", size("on the disk of a pod, after a year"), f"{number(disk / 1e6)} MB a year",
         f"{money(disk / 1e9 * DISK_MONTH)} a month"],
        ["the memory of each pod", size("in the memory of a pod, for 24 hours"), f"{number(memory / 1e6)} MB", "–"],
        ["the CPU of each pod", f"{number(cpu)} µs", f"{number(cpu * 8_640 / 1e6)} s a day",
         f"{money(cpu * 8_640 * 30 / 1e6 / 3600 * CORE_HOUR)} a month"],
    ])


def clients(units):
    rows = []
    for way in ("server-sent events", "NDJSON", "WebSocket"):
        cpu = units.of("a stream client", f"CPU time for a tick, {way}")
        memory = units.of("a stream client", f"memory, {way}")
        rows.append([way, f"{number(memory)} kB", f"{number(cpu)} µs", f"{number(memory * 10)} MB",
                     f"{number(cpu * 2 / 10 * 10_000 / 1e6 * 100)} % of a core"])
    heads = ["stream", "memory", "CPU time for a tick", "memory of 10,000 clients", "CPU of 10,000 clients"]
    return table(heads, rows)


def peers(_):
    rows = [[line["name"], f"{number(line['tickwell_ratio'])} ×", f"{number(line['cpu_micros'])} µs",
             f"{number(line['p99_ms'])} ms", f"{number(line['memory_mb'])} MB"] for line in lines("peers")]
    return table(["server", "Tickwell's requests/s", "CPU time of a request", "99 % within", "memory"], rows)


def compared(_):
    rows = []
    for scenario, other, names in COMPARED:
        known, before = {line["name"]: line for line in lines(scenario)}, ratios_before(scenario)
        for name in names:
            line = known.get(name) or sys.exit(f"bench/results/{scenario}.json has no line {name}")
            rows.append([f"[{scenario}](../bench/results/{scenario}.md): {name}", f"{number(line['tickwell'])} {line['unit']}",
                         f"{number(line[other])} {line['unit']}", f"{line['ratio']:.2f}", before.get(name, "–")])
    return table(["benchmark", "Tickwell", "the other", "ratio", "in the run before"], rows)


def image(units):
    servers = [(line["name"].split(",")[0], line["cpu_micros"], "kept" if line["name"] == "Tickwell" else "other")
               for line in lines("peers")]
    routes = []
    for name, kept, computed in units.requests():
        routes.append((name, kept, "kept"))
        routes += [(f"{name}, computed", computed, "computed")] if computed else []
    groups = [("The newest price, from each server", servers), ("Tickwell's routes", routes)]
    legend = [("other", "others"), ("kept", "Tickwell, a response that it has kept"),
              ("computed", "Tickwell, computed for each request")]
    return plot.draw("CPU time of a request (logarithmic; shorter is better)", groups, legend)


def main():
    units, page = Units(), PAGE.read_text()
    for part in (requests, ticks, clients, peers, compared):
        begin, end = f"<!-- generated: {part.__name__} -->\n\n", "\n\n<!-- end -->"
        replacement = begin + part(units) + end
        page, count = re.subn(f"{begin}.*?{end}", lambda _: replacement, page, flags=re.DOTALL)
        assert count == 1, f"{PAGE} has no place for {part.__name__}"
    for path, text in ((PAGE, page), (IMAGE, image(units))):
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"{path.relative_to(ROOT)} is not up to date; run bench/document.py")


main()
