"""Query strings of the admin API -> what is asked for; refuses what it does not know."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from starlette.datastructures import QueryParams

from tallyspan_collector.summary import Filters, RequestError, parse_time

PERIOD = ("start_date", "end_date")


def check_names(query: QueryParams, allowed: Sequence[str]) -> None:
    """Raise RequestError for a parameter that is not allowed, or given twice."""
    for name, _ in query.multi_items():
        if name not in allowed:
            nearest = get_close_matches(name, allowed, n=1)
            hint = f"did you mean {nearest[0]}? " if nearest else ""
            raise RequestError(
                f"unknown parameter {name!r}: {hint}allowed are {', '.join(allowed)}"
            )
        if len(query.getlist(name)) > 1:
            raise RequestError(f"{name} may be given once only")


def read_filters(
    query: QueryParams, names: Sequence[str], departments: Sequence[str] = ()
) -> Filters:
    """Return the filters the query string sets. Raises RequestError.

    `departments` are those the key is limited to, if it is: one is taken as asked for, of several
    one must be named, and no other may.
    """
    texts: dict[str, Any] = {name: query[name] for name in names if name in query}
    if len(departments) == 1:
        texts.setdefault("department", departments[0])
    if departments and texts.get("department") not in departments:
        raise RequestError(
            f"this key is limited: department must be one of {', '.join(departments)}"
        )
    start, end = query.get("start_date"), query.get("end_date")
    return Filters(
        **texts,
        start=None if start is None else parse_time(start, "start_date"),
        end=None if end is None else parse_time(end, "end_date", is_end=True),
    )


def read_limit(query: QueryParams, default: int, most: int) -> int:
    """Return how many rows are wanted, 1 to `most`. Raises RequestError."""
    text = query.get("limit", str(default))
    # Six digits: int() of a text of any length is work for whoever sends it.
    limit = int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 0  # noqa: PLR2004
    if not 1 <= limit <= most:
        raise RequestError(f"limit must be a whole number from 1 to {most}, not {text!r}")
    return limit
