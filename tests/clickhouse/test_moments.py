from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from tallyspan_clickhouse.moments import (
    EPOCH,
    iso_text,
    microseconds,
    milliseconds,
    of_microseconds,
    of_nanoseconds,
)


@given(st.integers(0, 7_000 * 10**12), st.timezones())
def test_a_moment_is_the_same_after_the_way_to_microseconds_and_back(
    count: int, zone: ZoneInfo
) -> None:
    moment = (EPOCH + timedelta(microseconds=count)).astimezone(zone)
    back = of_microseconds(microseconds(moment))

    assert (back, microseconds(moment)) == (moment, count)
    assert back.tzinfo is UTC
    assert abs(milliseconds(moment) - microseconds(moment) / 1000) <= 0.5


def test_microseconds_do_not_depend_on_the_zone() -> None:
    east = timezone(timedelta(hours=5, minutes=30))

    assert microseconds(datetime(1970, 1, 1, 5, 30, 0, 7, tzinfo=east)) == 7
    assert of_nanoseconds(1_999) == EPOCH + timedelta(microseconds=1)


def test_a_moment_as_text_has_milliseconds_and_its_zone() -> None:
    assert (
        iso_text(datetime(2026, 1, 31, 12, 0, 0, 5_999, tzinfo=UTC)) == "2026-01-31T12:00:00.005Z"
    )
