"""The parameters that choose calls, the same for every operation over calls."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tallyspan_clickhouse.query.access import Access
from tallyspan_clickhouse.query.filters import FILTERS as FILTER_COLUMNS
from tallyspan_clickhouse.schema import SCHEMA
from tallyspan_clickhouse.schema_types import CallColumn, Column
from tallyspan_collector.api.parameters import Parameter, choice, text
from tallyspan_collector.summary import Filters, RequestError, parse_time
from tallyspan_collector.summary.times import parse_zone

MAX_TAGS = 10
MAX_DAYS = 3_660
MAX_DAYS_OF_HOURS = 400
_EMPTY = "; an empty value: calls where nobody said"


def about(column: Column | CallColumn) -> str:
    """Return what a column holds, as the API's documentation says it."""
    return column.comment.replace("NULL:", "null:")


def _tag(name: str, pair: str) -> tuple[str, str]:
    key, colon, value = pair.partition(":")
    if not colon or not key:
        raise RequestError(f"{name} must be <key>:<value>, not {pair[:60]!r}")
    return key, value


PERIOD = (
    Parameter(
        "start_date",
        "only calls that began then or later: a date, or a time such as 2026-03-31T12:00:00Z;"
        " without an offset it is of time_zone",
    ),
    Parameter(
        "end_date",
        "only calls that began before: a date includes its day, a time is exact;"
        f" {MAX_DAYS} days after start_date at most",
    ),
    Parameter(
        "time_zone",
        "IANA name of the zone of dates and of hours, days, weeks and months",
        {"type": "string", "examples": ["UTC", "Europe/Berlin"]},
        lambda name, zone: parse_zone(zone, name),
        "UTC",
    ),
)
OF_CALLS = (
    *(
        choice(each.filter, f"only calls with this {each.filter}: {about(column)}", each.values)
        if each.values
        else text(each.filter, f"only calls with exactly this: {about(column)}{_EMPTY}")
        for each, column in SCHEMA.dimensions.items()
    ),
    Parameter(
        "tag",
        f"only calls with this free tag: <key>:<value>, up to {MAX_TAGS} times",
        {"type": "string", "pattern": "^[^:]+:"},
        _tag,
        max_times=MAX_TAGS,
    ),
)
FILTERS = (*OF_CALLS, *PERIOD)


def filters(values: Mapping[str, Any], access: Access, days: int | None = None) -> Filters:
    """Return the filters of a request, within what the reader may see.

    Without start_date an answer begins `days` before its end; None: with the first call.
    Raises RequestError: for another department than those, and for a range that is too long.
    """
    for name, own in (("department", access.departments), ("tenant", access.tenants)):
        if own and values.get(name) not in {None, *own}:
            raise RequestError(f"this key is limited: {name} must be one of {', '.join(own)}")
    start, end = period(values)
    if start is None and days is not None:
        start = (end or datetime.now(UTC)) - timedelta(days=days)
    return Filters(
        **{name: values.get(name) for name in FILTER_COLUMNS},
        tags=values.get("tag", ()),
        access=access,
        start=start,
        end=end,
    )


def period(values: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """Return start and end in UTC, None for one that is not in the request. Raises RequestError."""
    zone = values["time_zone"]
    bounds = [
        None if values[name] is None else parse_time(values[name], name, is_end=is_end, zone=zone)
        for name, is_end in (("start_date", False), ("end_date", True))
    ]
    check_length(bounds[0], bounds[1], MAX_DAYS, "an answer")
    return bounds[0], bounds[1]


def check_length(start: datetime | None, end: datetime | None, days: int, what: str) -> None:
    """Raise RequestError if start and end are more than `days` apart."""
    if start is None or end is None or end - start <= timedelta(days=days, hours=1):
        return
    raise RequestError(
        f"{what} covers {days} days at most, not {(end - start).days}:"
        " bring start_date and end_date closer together"
    )
