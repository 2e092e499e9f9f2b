"""Moments as the store is asked for them and as it answers."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(parameter: str) -> str:
    """Return the SQL of a moment whose parameter is bound to microseconds since 1970.

    An integer, because a bound time is read in the zone of the server or of this machine.
    """
    return f"fromUnixTimestamp64Micro({{{parameter}:Int64}}, 'UTC')"


def micros(moment: datetime) -> int:
    """Return microseconds since 1970 of an aware time."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def utc(moment: datetime) -> datetime:
    """Return a time that was read from the store as aware UTC: the driver may omit the zone."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
