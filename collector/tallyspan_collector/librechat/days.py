"""Which days of LibreChat's ledger were read, and up to which document."""

from datetime import date, datetime
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.moments import utc
from tallyspan_collector.access.account import account

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


def last_day(client: Client, source: str) -> date | None:
    """Return the last day that was read to its end; None: the source was never read."""
    rows = tuples_of(
        client,
        "SELECT max(day) FROM librechat_days WHERE source = {source:String} HAVING count() > 0",
        {"source": source},
    )
    return rows[0][0] if rows else None


def last_read(client: Client) -> dict[str, datetime]:
    """Return when each source was last read (UTC)."""
    rows = tuples_of(client, "SELECT source, max(read_at) FROM librechat_days GROUP BY source")
    return {str(source): utc(at) for source, at in rows}
