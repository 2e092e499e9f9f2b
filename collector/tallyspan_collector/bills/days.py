"""The day of a charge, from the times that bills write."""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache

_EPOCH_DIGITS = 10


@lru_cache(maxsize=4096)
def day_of(
    start: str, zone: tzinfo = UTC, end: str = "", *, of_naive: tzinfo = UTC, formats: str = ""
) -> date:
    """Return the day in `zone` that a charge is of; a day without a time is that day.

    `end` is when the charge ends, empty: not known. Times without a zone are of `of_naive`.
    `formats`: a further way to write a day. Raises ValueError, with a sentence, for what is no
    time, and for a charge over a midnight, of which nobody knows how much is of which day.
    """
    begin = _moment(start, of_naive, formats)
    if begin is None:
        raise ValueError(f"must be a day like 2026-01-31; got {start!r}")
    day = begin.astimezone(zone).date() if isinstance(begin, datetime) else begin
    stop = _moment(end, of_naive, formats) if end else None
    if end and stop is None:
        raise ValueError(f"must end with a day like 2026-01-31; got {end!r}")
    if stop is not None and _begin(stop, zone) > _begin(day + timedelta(days=1), zone):
        raise ValueError(
            f"{start} to {end} is of more than one day in {zone}: export it by day or by hour, or"
            " name the zone of its days"
        )
    return day


def _moment(text: str, of_naive: tzinfo, formats: str) -> date | datetime | None:
    text = text.strip()
    if text.isdigit() and len(text) >= _EPOCH_DIGITS:
        try:
            return datetime.fromtimestamp(int(text), UTC)
        except (ValueError, OverflowError, OSError):
            return None
    for parse in (date.fromisoformat, datetime.fromisoformat):
        try:
            at = parse(text.replace(" UTC", "+00:00"))
        except ValueError:
            continue
        if isinstance(at, datetime) and at.tzinfo is None:
            return at.replace(tzinfo=of_naive)
        return at
    try:
        return datetime.strptime(text, formats).date() if formats else None  # noqa: DTZ007  a day
    except ValueError:
        return None


def _begin(at: date | datetime, zone: tzinfo) -> datetime:
    return at if isinstance(at, datetime) else datetime.combine(at, time(), zone)
