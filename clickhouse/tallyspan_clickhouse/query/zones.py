"""How far sums look: bounds of time, and zones whose hours are those of UTC."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tallyspan_clickhouse.moments import EPOCH

MAX_MOMENT = datetime(2200, 1, 1, tzinfo=UTC)
MAX_ROLLUP_MOMENT = datetime(2100, 1, 1, tzinfo=UTC)
"""The rollups' DateTime ends in 2106; calls that claim to be later are read from `calls` alone."""


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
