"""Runs the programs on the pages of docs/integrations against a pod: python run.py URL [PAGE…]

Before each block of code, comments that are not shown say what to do with it:

    <!-- prints: REGEX -->           run it; what it prints must match
    <!-- shows: SELECTOR REGEX -->   open it in a browser; the text of the element must match
    <!-- check: NAME -->             call the function NAME of checks.py with it
    <!-- file: NAME -->              only save it, for the blocks that follow
    <!-- needs: MODULE -->           skip it if Python does not have the module; in CI, that is a failure
    <!-- not run: WHY -->            do nothing

All blocks of a page run in one new directory, in their order.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import checks

ROOT = Path(__file__).resolve().parents[4]
PAGES = ROOT / "docs/integrations"

# The address in the examples.
EXAMPLE = "127.0.0.1:8080"

# Longer than any block takes, also on a slow machine.
DEADLINE_SECONDS = 180

BLOCK = re.compile(r"((?:^<!--.*?-->\n)*)^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- (prints|shows|check|file|needs|not run): (.*?) -->")

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


def ran(command, folder):
    """What a command printed. Fails if the command does."""
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def run(language, code, marks, url, folder):
    """Does what the marks of a block say. Returns what to report."""
    if "not run" in marks:
        return "not run"
    if "needs" in marks and not importlib.util.find_spec(marks["needs"]):
        return lacks(f"the Python module {marks['needs']}")
    if "check" in marks:
        return getattr(checks, marks["check"].replace("-", "_"))(code, url, folder) or "ok"
    if "file" in marks:
        (folder / marks["file"]).write_text(code)
        return "saved"
    file = folder / f"block{ENDINGS[language]}"
    file.write_text(code)
    if "shows" in marks:
        return checks.shown(file, url, marks["shows"]) or "ok"
    printed = ran([*PROGRAMS[language], str(file)], folder)
    assert re.search(marks["prints"], printed.strip()), f"must match {marks['prints']}, but is:\n{printed}"
    return "ok"


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
                report = run(language, code.replace(EXAMPLE, url.removeprefix("http://")), marks, url, Path(folder))
                print(f"{place}: {report}", flush=True)
            except (AssertionError, LookupError, ValueError, OSError, subprocess.SubprocessError) as error:
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
