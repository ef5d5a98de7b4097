"""Runs the programs on the pages of docs/integrations against a pod: python run.py URL [PAGE…]

Before each block of code, comments that are not shown say what to do with it:

    <!-- prints: REGEX -->           run it; what it prints must match
    <!-- pages: REGEX -->            also run it with several short pages; what matches must be the number of all rows
    <!-- refused: N -->              also run it against a server that refuses the requests from number N on; it must fail
    <!-- shows: SELECTOR REGEX -->   open it in a browser; the text of the element must match
    <!-- shown also with: LINE -->   also open it with a line that begins as this one replaced by this one
    <!-- check: NAME -->             call the function NAME of checks.py with it
    <!-- file: NAME -->              only save it, for the blocks that follow
    <!-- needs: MODULE -->           skip it if Python does not have the module; in CI, that is a failure
    <!-- not run: WHY -->            do nothing

All blocks of a page run in one new directory, in their order.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import checks
from between import REASON, Between

ROOT = Path(__file__).resolve().parents[4]
PAGES = ROOT / "docs/integrations"

# The address in the examples.
EXAMPLE = "127.0.0.1:8080"

# Longer than any block takes, also on a slow machine.
DEADLINE_SECONDS = 180

BLOCK = re.compile(r"((?:^<!--.*?-->\n)*)^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- (prints|pages|refused|shows|shown also with|check|file|needs|not run): (.*?) -->")

PROGRAMS = {
    "sh": ["bash", "-eu"],
    "python": [sys.executable],
    "js": ["node"],
}
ENDINGS = {"sh": ".sh", "python": ".py", "js": ".mjs", "html": ".html"}


def lacks(what):
    if os.environ.get("CI"):
        raise SystemExit(f"{what} is missing, and CI must not skip tests")
    return f"skipped: {what} is missing"


def started(command, folder):
    return subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_SECONDS,
    )


def ran(command, folder):
    """What a command printed. Fails if the command does."""
    done = started(command, folder)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def program(language, code, url, folder):
    """The command that runs a block, with the address of a pod in place of the example's."""
    file = folder / f"block{ENDINGS[language]}"
    file.write_text(code.replace(EXAMPLE, url))
    return [*PROGRAMS[language], str(file)]


def reads_all_pages(language, code, regex, url, folder):
    history = f"{url}/v1/prices/BTC-USD/history?limit=1000"
    start = json.loads(checks.get(history))["items"][4]["slot"]
    with Between(url, start) as between:
        printed = ran(program(language, code, between.address, folder), folder)
    rows = int(re.search(regex, printed)[0])
    assert between.requests > 2, f"only {between.requests} pages"
    # Meanwhile the pod may have had new rows.
    now = len(json.loads(checks.get(f"{history}&from={start}"))["items"])
    assert 5 <= rows <= now, f"{rows} rows of 5 to {now}"


def fails_if_refused(language, code, number, url, folder):
    with Between(url, refused=int(number)) as between:
        done = started(program(language, code, between.address, folder), folder)
    said = done.stdout + done.stderr
    assert between.requests == int(number), f"{between.requests} requests\n{said}"
    assert done.returncode != 0, f"does not fail if request {number} is refused\n{said}"
    assert REASON in said or "429" in said, f"does not say why it failed\n{said}"


def run(language, code, marks, url, folder):
    """Does what the marks of a block say. Returns what to report."""
    if "not run" in marks:
        return "not run"
    if "needs" in marks and not importlib.util.find_spec(marks["needs"]):
        return lacks(f"the Python module {marks['needs']}")
    if "check" in marks:
        check = getattr(checks, marks["check"].replace("-", "_"))
        return check(code.replace(EXAMPLE, url.removeprefix("http://")), url, folder) or "ok"
    if "file" in marks:
        (folder / marks["file"]).write_text(code)
        return "saved"
    own = code.replace(EXAMPLE, url.removeprefix("http://"))
    if "shows" in marks:
        file = folder / f"block{ENDINGS[language]}"
        for text in [own, *also(own, marks)]:
            file.write_text(text)
            checks.shown(file, url, marks["shows"])
        return "ok"
    printed = ran(program(language, code, url.removeprefix("http://"), folder), folder)
    assert re.search(marks["prints"], printed.strip()), f"must match {marks['prints']}, but is:\n{printed}"
    if "pages" in marks:
        reads_all_pages(language, code, marks["pages"], url, folder)
    if "refused" in marks:
        fails_if_refused(language, code, marks["refused"], url, folder)
    return "ok"


def also(code, marks):
    """The code with another value of a variable, if a mark says so."""
    if "shown also with" in marks:
        line = marks["shown also with"]
        changed, count = re.subn(f"{re.escape(line.split('=')[0])}=.*", f"{line};", code)
        assert count == 1, f"{count} lines begin like: {line}"
        yield changed


def run_page(page, url):
    """The number of blocks that failed."""
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        text = page.read_text()
        for found in BLOCK.finditer(text):
            comments, language, code = found.groups()
            place = f"{page.name}:{text[:found.start(2)].count(chr(10)) + 1} {language}"
            marks = dict(MARK.findall(comments))
            try:
                assert marks.keys() - {"needs"}, "no comment says what to do with this block"
                report = run(language, code, marks, url, Path(folder))
                print(f"{place}: {report}", flush=True)
            except (AssertionError, LookupError, TypeError, ValueError, OSError, subprocess.SubprocessError) as error:
                failures += 1
                print(f"{place}: FAILED: {type(error).__name__}: {error}", flush=True)
    return failures


def main(url, *names):
    for program in ("bash", "curl", "jq", "node"):
        if not shutil.which(program):
            print(lacks(program))
            return
    pages = [PAGES / name for name in names] or sorted(set(PAGES.glob("*.md")) - {PAGES / "README.md"})
    sys.exit(bool(sum(run_page(page, url.rstrip("/")) for page in pages)))


if __name__ == "__main__":
    main(*sys.argv[1:])
