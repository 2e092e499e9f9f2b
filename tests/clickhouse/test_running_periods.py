"""Which days a period so far is compared with: right values, month by month."""

from datetime import UTC, datetime

import pytest
from clickhouse_connect.driver.client import Client

from set_clock import clock_at
from tallyspan_clickhouse.query.comparison import range_before


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# Each: now, zone, and for a period when it began, when the one before began, and where that is cut.
@pytest.mark.parametrize(
    ("now", "zone", "period", "began", "before", "until"),
    [
        ("2026-11-28T15:30", "UTC", "month", "2026-11-01", "2026-10-01", "2026-10-28T15:30"),
        ("2026-11-01T00:10", "UTC", "month", "2026-11-01", "2026-10-01", "2026-10-01T00:10"),
        ("2026-11-30T15:30", "UTC", "month", "2026-11-01", "2026-10-01", "2026-10-30T15:30"),
        # A month that has no such day: to its end.
        ("2026-10-31T09:00", "UTC", "month", "2026-10-01", "2026-09-01", "2026-10-01"),
        ("2027-03-28T09:00", "UTC", "month", "2027-03-01", "2027-02-01", "2027-02-28T09:00"),
        ("2027-03-29T09:00", "UTC", "month", "2027-03-01", "2027-02-01", "2027-03-01"),
        ("2027-03-31T09:00", "UTC", "month", "2027-03-01", "2027-02-01", "2027-03-01"),
        ("2028-03-29T09:00", "UTC", "month", "2028-03-01", "2028-02-01", "2028-02-29T09:00"),
        ("2028-03-31T09:00", "UTC", "month", "2028-03-01", "2028-02-01", "2028-03-01"),
        ("2027-01-31T09:00", "UTC", "month", "2027-01-01", "2026-12-01", "2026-12-31T09:00"),
        ("2026-11-28T15:30", "UTC", "quarter", "2026-10-01", "2026-07-01", "2026-08-28T15:30"),
        ("2027-05-31T12:00", "UTC", "quarter", "2027-04-01", "2027-01-01", "2027-03-01"),
        ("2028-02-29T12:00", "UTC", "year", "2028-01-01", "2027-01-01", "2027-03-01"),
        ("2029-02-28T12:00", "UTC", "year", "2029-01-01", "2028-01-01", "2028-02-28T12:00"),
        # Berlin is in its next month already, and its clocks change on 28 March 2027.
        ("2027-03-31T22:30", "Europe/Berlin", "month", "2027-03-31T22:00", "2027-02-28T23:00",
         "2027-02-28T23:30"),
        ("2027-04-15T10:00", "Europe/Berlin", "month", "2027-03-31T22:00", "2027-02-28T23:00",
         "2027-03-15T11:00"),
        ("2026-11-28T15:30", "Asia/Kolkata", "month", "2026-10-31T18:30", "2026-09-30T18:30",
         "2026-10-28T15:30"),
    ],
)  # fmt: skip
def test_a_period_so_far_is_compared_with_the_same_days_of_the_one_before(
    client: Client, now: str, zone: str, period: str, began: str, before: str, until: str
) -> None:
    with clock_at(client, at(now), zone):
        rows = client.query(
            "SELECT started, before_started, before_ended FROM running_periods"
            " WHERE period = {period:String}",
            parameters={"period": period},
        ).result_rows

    assert [tuple(each.replace(tzinfo=UTC) for each in row) for row in rows] == [
        (at(began), at(before), at(until))
    ]


@pytest.mark.parametrize(
    ("start", "end", "before", "until"),
    [
        # The last month whole, and a month so far.
        ("2026-10-01", "2026-11-01", "2026-09-01", "2026-10-01"),
        ("2027-03-01", "2027-04-01", "2027-02-01", "2027-03-01"),
        ("2026-11-01", "2026-11-28T16:00", "2026-10-01", "2026-10-28T16:00"),
        ("2027-03-01", "2027-03-30T16:00", "2027-02-01", "2027-03-01"),
        ("2026-10-01", "2026-11-28", "2026-07-01", "2026-08-28"),  # a quarter so far
        ("2026-01-01", "2026-11-28", "2025-01-01", "2025-11-28"),  # a year so far
        ("2026-01-01", "2027-01-01", "2025-01-01", "2026-01-01"),
        ("2026-08-01", "2026-11-01", "2026-05-01", "2026-08-01"),  # three months of no quarter
        ("2026-09-01", "2026-11-15", "2026-06-01", "2026-08-15"),
        ("2026-11-23", "2026-11-28T16:00", "2026-11-16", "2026-11-21T16:00"),  # a Monday
        ("2026-11-28", "2026-11-28T16:00", "2026-11-27", "2026-11-27T16:00"),  # a day so far
        ("2026-11-26T07:00", "2026-11-28T07:00", "2026-11-24T07:00", "2026-11-26T07:00"),
        ("2026-11-10", "2026-11-20", "2026-10-31", "2026-11-10"),
    ],
)
def test_a_range_is_compared_with_the_same_days_of_what_it_is_part_of(
    client: Client, start: str, end: str, before: str, until: str
) -> None:
    first, last = range_before("range_start", "range_end")
    [row] = client.query(
        "WITH parseDateTimeBestEffort({start:String}, 'UTC') AS range_start,"
        " parseDateTimeBestEffort({end:String}, 'UTC') AS range_end"
        f" SELECT {first}, {last}",
        parameters={"start": start, "end": end},
    ).result_rows

    assert tuple(each.replace(tzinfo=UTC) for each in row) == (at(before), at(until))
