"""What a request must not be that the document allows, because no schema can say it."""

import re
from datetime import datetime, timezone

import schemathesis

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@schemathesis.hook
def filter_case(context, case):
    path, query = case.path_parameters or {}, case.query or {}
    return is_pair(str(path.get("pair", ""))) and are_pairs(str(query.get("pairs", ""))) and is_question(query)


def is_pair(text):
    """A pair is of two assets."""
    halves = re.split("[-_/]", text)
    return len(halves) != 2 or halves[0].upper() != halves[1].upper()


def are_pairs(text):
    """Each pair is named once."""
    pairs = re.sub("[_/]", "-", text.upper()).split(",")
    return len(set(pairs)) == len(pairs) <= 64 and all(is_pair(pair) for pair in pairs)


def is_question(query):
    """Time begins in 1970 and does not run backwards, and a page goes on in the order of the one before it.

    A range is either paged or thinned, an asset is not converted to itself, and a page of an earlier position is
    not later than that.
    """
    if "max_points" in query and ("limit" in query or "cursor" in query):
        return False
    if "from" in query and str(query["from"]).upper() == str(query.get("to")).upper():
        return False
    if not all(is_span(span) for name in ("max_age", "window") for span in str(query.get(name, "")).split(",")):
        return False
    bounds = [millis(query[name]) for name in ("from", "to") if name in query]
    known = [bound for bound in bounds if bound is not None]
    if any(bound < 0 for bound in known) or known != sorted(known):
        return False
    if "at_sequence" in query and "cursor" in query:
        return False
    cursor, order = str(query.get("cursor", "")), str(query.get("order", "desc"))
    return not re.match("[ad][0-9]", cursor) or cursor[0] == order[:1]


def is_span(text):
    """No length of time is longer than ten years."""
    found = re.fullmatch("([1-9][0-9]*)(ms|s|m|h|d)", text)
    seconds = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
    return not found or int(found[1]) * seconds[found[2]] <= 3_660 * 86_400


def millis(text):
    """An instant in either spelling; none where it is no instant."""
    if re.fullmatch("[0-9]+", str(text)):
        return int(text)
    try:
        return (datetime.fromisoformat(str(text)) - EPOCH).total_seconds() * 1000
    except (TypeError, ValueError, OverflowError):
        return None
