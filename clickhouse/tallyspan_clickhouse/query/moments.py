"""Moments of UTC as the store takes them: whole microseconds since 1970."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_MOMENT = datetime(2200, 1, 1, tzinfo=UTC)
MAX_ROLLUP_MOMENT = datetime(2100, 1, 1, tzinfo=UTC)
"""The rollups' DateTime ends in 2106; calls that claim to be later are read from `calls` alone."""
MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """Return the moment in microseconds since 1970, whatever zone the store's server is in."""
    return (moment - EPOCH) // MICROSECOND


def at(parameter: str) -> str:
    """Return SQL of the moment that a parameter holds in microseconds since 1970."""
    # An integer, because a bound DateTime64 is read in the server's own time zone.
    return f"fromUnixTimestamp64Micro({{{parameter}:Int64}}, 'UTC')"


def has_whole_hours(zone: str, start: datetime | None, end: datetime | None) -> bool:
    """Return whether hours of UTC are hours of the zone too, all the time from start to end."""
    clock = ZoneInfo(zone)
    moment, last = start or EPOCH, min(end or MAX_MOMENT, MAX_ROLLUP_MOMENT)
    while moment < last:
        offset = moment.astimezone(clock).utcoffset()
        if offset is None or offset % timedelta(hours=1):
            return False
        moment += timedelta(days=28)
    return True
