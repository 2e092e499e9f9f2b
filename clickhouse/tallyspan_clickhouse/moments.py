"""Moments of UTC as whole numbers since 1970 and back, and as the store's SQL has them.

A moment is an aware `datetime`.
"""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """Return whole microseconds since 1970."""
    return (moment - EPOCH) // MICROSECOND


def milliseconds(moment: datetime) -> int:
    """Return milliseconds since 1970, rounded."""
    return round(moment.timestamp() * 1000)


def of_microseconds(count: int) -> datetime:
    """Return the moment (UTC) so many microseconds after 1970."""
    return EPOCH + timedelta(microseconds=count)


def of_nanoseconds(count: int) -> datetime:
    """Return the moment (UTC) so many nanoseconds after 1970, to the microsecond below."""
    return of_microseconds(count // 1000)


def utc(moment: datetime) -> datetime:
    """Return a time that was read from the store as aware UTC: the driver may omit the zone."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def iso_text(moment: datetime) -> str:
    """Return ISO 8601 to the millisecond: `2026-01-31T12:00:00.000Z` for a moment in UTC."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sql_moment(parameter: str) -> str:
    """Return the SQL of a moment whose microseconds since 1970 are bound to `parameter`.

    An integer, because a bound time is read in the zone of the server or of this machine.
    """
    return f"fromUnixTimestamp64Micro({{{parameter}:Int64}}, 'UTC')"
