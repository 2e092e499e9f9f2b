"""Which days of LibreChat's ledger were read, and up to which document."""

from datetime import date, datetime, timedelta
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.moments import utc
from tallyspan_collector.access.account import account
from tallyspan_collector.booked.imports import gone_until

_COLUMNS = (
    "source", "day", "last_id", "calls", "recorded", "imported", "left_out", "read_at", "read_by",
)  # fmt: skip


class Day(NamedTuple):
    """What a run found of a day: calls of LibreChat's ledger, and what became of them.

    `last_id` is the newest document (hex `_id`) that is settled; empty: there is none.
    """

    day: date
    last_id: str
    calls: int
    recorded: int
    imported: int
    left_out: int


def note(client: Client, source: str, day: Day, now: datetime) -> None:
    """Keep what a run found of a day; to be called when all of it is booked."""
    client.insert(
        "librechat_days",
        [[source, *day, now, account()]],
        column_names=_COLUMNS,
        settings={"async_insert": 0},
    )


def first_day(client: Client, source: str, today: date, look_back_days: int) -> date:
    """Return the day a run begins with: spans may be late, and the last run may be long ago.

    Days whose calls have expired or are archived are left out.
    """
    first = today - timedelta(days=look_back_days - 1)
    rows = tuples_of(
        client,
        "SELECT max(day) FROM librechat_days WHERE source = {source:String} HAVING count() > 0",
        {"source": source},
    )
    for (day,) in rows:
        first = min(first, day)
    until = gone_until(client)
    return first if until is None else max(first, until + timedelta(days=1))


def last_read(client: Client) -> dict[str, datetime]:
    """Return when each source was last read (UTC)."""
    rows = tuples_of(client, "SELECT source, max(read_at) FROM librechat_days GROUP BY source")
    return {str(source): utc(at) for source, at in rows}
