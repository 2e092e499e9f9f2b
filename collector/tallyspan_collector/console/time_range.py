"""The time range of a page, in Grafana's notation, as two moments."""

import re
from datetime import UTC, datetime, timedelta

from tallyspan_clickhouse.moments import EPOCH
from tallyspan_collector.summary import RequestError, parse_time

_RELATIVE = re.compile(r"now(?:-([1-9][0-9]{0,4})([mhdwMy]))?(?:/([dwMy]))?", re.ASCII)
_MILLISECONDS = re.compile(r"[0-9]{1,14}", re.ASCII)
_UNITS = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
# ClickHouse's DateTime ends here.
_LATEST = datetime(2106, 1, 1, tzinfo=UTC)


def read(start: str, end: str, now: datetime) -> tuple[datetime, datetime]:
    """Return both ends in UTC, of `now-30d`, `now/M`, milliseconds since 1970 or a date.

    Raises RequestError for what is none of them, and for a range that ends before it starts.
    """
    first, last = _moment(start, "from", now), _moment(end, "to", now, is_end=True)
    if first >= last:
        raise RequestError(f"from must be before to: {start!r} is not before {end!r}")
    return first, last


def _moment(text: str, parameter: str, now: datetime, *, is_end: bool = False) -> datetime:
    try:
        if match := _RELATIVE.fullmatch(text):
            moment = _back(now, int(match[1] or 0), match[2] or "d")
            if match[3]:
                moment = _rounded(moment, match[3], is_end=is_end)
        elif _MILLISECONDS.fullmatch(text):
            moment = EPOCH + timedelta(milliseconds=int(text))
        else:
            moment = parse_time(text, parameter, is_end=is_end)
    except (OverflowError, ValueError, RequestError):
        moment = _LATEST
    if not EPOCH <= moment < _LATEST:
        raise RequestError(
            f"{parameter} must be a range such as now-30d, now/M or now, a time in milliseconds, "
            f"or a date (2026-01-31) between 1970 and 2105, not {text!r}"
        )
    return moment


def _back(now: datetime, count: int, unit: str) -> datetime:
    if unit in _UNITS:
        return now - count * _UNITS[unit]
    months = now.year * 12 + now.month - 1 - count * (12 if unit == "y" else 1)
    year, month = divmod(months, 12)
    for day in (now.day, 30, 29, 28):  # the 31st of a month that has none is its last day
        try:
            return now.replace(year=year, month=month + 1, day=day)
        except ValueError:
            if day == 28:  # noqa: PLR2004  every month has it: the year is out of range
                raise
    raise AssertionError


def _rounded(moment: datetime, unit: str, *, is_end: bool) -> datetime:
    start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    match unit:
        case "w":
            start -= timedelta(days=start.weekday())
            following = start + timedelta(weeks=1)
        case "M":
            start = start.replace(day=1)
            following = _back(start, -1, "M")
        case "y":
            start = start.replace(month=1, day=1)
            following = start.replace(year=start.year + 1)
        case _:
            following = start + timedelta(days=1)
    return following - timedelta(seconds=1) if is_end else start
