"""Dates and time zones as people write them -> moments in UTC; moments -> buckets' names."""

import functools
import re
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from tallyspan_clickhouse.moments import EPOCH
from tallyspan_clickhouse.query.errors import RequestError
from tallyspan_clickhouse.query.zones import MAX_MOMENT

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
# What the system calls a zone and the store does not know.
_NO_ZONES = {"localtime", "posixrules", "Factory"}


@functools.cache
def zone_names() -> frozenset[str]:
    """Return the names of the IANA time zones there are."""
    return frozenset(zoneinfo.available_timezones() - _NO_ZONES)


def parse_zone(name: str, parameter: str = "time_zone") -> str:
    """Return the name of a time zone as it is. Raises RequestError for one there is not."""
    if name not in zone_names():
        raise RequestError(
            f"{parameter} must be the name of a time zone, such as UTC or Europe/Berlin,"
            f" not {name[:60]!r}"
        )
    return name


def parse_time(value: str, parameter: str, *, is_end: bool = False, zone: str = "UTC") -> datetime:
    """Return the moment in UTC an ISO date or datetime means; without an offset it is of `zone`.

    A date is the start of its day there; with `is_end` the end of it, so that a range includes it.
    A day may have 23 or 25 hours. Raises RequestError.
    """
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=ZoneInfo(zone))
        if is_end and is_date(value):
            moment += timedelta(days=1)  # on the clock of the zone, whatever it does that day
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        moment = MAX_MOMENT
    if not EPOCH <= moment < MAX_MOMENT:
        raise RequestError(
            f"{parameter} must be a date (2026-01-31) or a time (2026-01-31T12:00:00Z)"
            f" between 1970 and 2199, not {value[:60]!r}"
        )
    return moment


def parse_since(value: str, now: datetime, parameter: str = "since") -> datetime:
    """Return the moment `30d`, `12h` or `4w` before `now`. Raises RequestError."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([hdw])", value, re.ASCII)
    if match:
        ago = int(match[1]) * _UNITS[match[2]]
        if ago <= now - EPOCH:
            return now - ago
    raise RequestError(
        f"{parameter} must be a number of hours, days or weeks back to 1970 at most,"
        f" such as 12h, 30d or 4w, not {value!r}"
    )


def is_date(value: str) -> bool:
    """Return whether the text is a date without a time."""
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def hour_text(seconds: int, zone: str) -> str:
    """Return the hour that begins so many seconds after 1970, with the offset it has in `zone`."""
    moment = datetime.fromtimestamp(seconds, ZoneInfo(zone))
    return moment.isoformat().replace("+00:00", "Z") if zone == "UTC" else moment.isoformat()
