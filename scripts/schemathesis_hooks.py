"""Leaves out generated requests that the schema allows but the API rejects, because a schema cannot express the rule."""

import re
from datetime import datetime, timezone

import schemathesis

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@schemathesis.hook
def filter_case(context, case):
    path, query = case.path_parameters or {}, case.query or {}
    return is_pair(str(path.get("pair", ""))) and are_pairs(str(query.get("pairs", ""))) and is_question(query)


def is_pair(text):
    """Whether the two assets of a pair differ."""
    halves = re.split("[-_/]", text)
    return len(halves) != 2 or halves[0].upper() != halves[1].upper()


def are_pairs(text):
    """Whether each pair is listed once."""
    pairs = re.sub("[_/]", "-", text.upper()).split(",")
    return len(set(pairs)) == len(pairs) <= 64 and all(is_pair(pair) for pair in pairs)


def is_question(query):
    """Whether the query parameters are allowed together.

    Times are in 1970 or later. Time ranges do not end before they start. A range is either paged (limit, cursor) or
    thinned (max_points). An asset cannot be converted to itself. at_sequence cannot be combined with a cursor, and a
    cursor must be for the requested order.
    """
    if "max_points" in query and ("limit" in query or "cursor" in query):
        return False
    if "from" in query and str(query["from"]).upper() == str(query.get("to")).upper():
        return False
    if not all(is_span(span) for name in ("max_age", "window") for span in str(query.get(name, "")).split(",")):
        return False
    bounds = [millis(query[name]) for name in ("from", "to") if name in query]
    known = [bound for bound in bounds if bound is not None]
    times = query["time"] if isinstance(query.get("time"), list) else [query.get("time")]
    if any(time < 0 for time in [*known, *map(millis, times)] if time is not None) or known != sorted(known):
        return False
    if "at_sequence" in query and "cursor" in query:
        return False
    cursor, order = str(query.get("cursor", "")), str(query.get("order", "desc"))
    return not re.match("[ad][0-9]", cursor) or cursor[0] == order[:1]


def is_span(text):
    """Whether a duration is at most ten years."""
    found = re.fullmatch("([1-9][0-9]*)(ms|s|m|h|d)", text)
    seconds = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
    return not found or int(found[1]) * seconds[found[2]] <= 3_660 * 86_400


def millis(text):
    """Milliseconds of a timestamp in any format, or None if it is not a timestamp."""
    if re.fullmatch("[0-9]+", str(text)):
        return int(text)
    try:
        time = datetime.fromisoformat(str(text))
        # A date is the start of that day in UTC. Other times need an offset.
        is_date = re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", str(text))
        return ((time.replace(tzinfo=timezone.utc) if is_date else time) - EPOCH).total_seconds() * 1000
    except (TypeError, ValueError, OverflowError):
        return None
