"""Days that the ledger has no longer whole: their entries were archived, or have expired.

The rollups keep what was added up of them, so on these days the two differ for good.
"""

from calendar import monthrange
from datetime import date
from typing import Literal

from clickhouse_connect.driver.client import Client

Reason = Literal["archive", "retention"]


def note(client: Client, first_day: date, last_day: date, reason: Reason) -> None:
    """Note that entries of these days (UTC) leave the ledger; to be called before the first does.

    Nothing takes a note back: a day that lost no entry after all is only compared no more.
    """
    client.insert(
        "removals",
        [[first_day, last_day, reason]],
        column_names=["first_day", "last_day", "reason"],
        settings={"async_insert": 0, "insert_deduplicate": 0},
    )


def note_month(client: Client, month: int) -> None:
    """Note that entries of a month (YYYYMM) are archived."""
    year, number = divmod(month, 100)
    last_day = monthrange(year, number)[1]
    note(client, date(year, number, 1), date(year, number, last_day), "archive")


def spans(client: Client) -> list[tuple[date, date]]:
    """Return the first and the last day (UTC) of each removal."""
    rows = client.query("SELECT first_day, last_day FROM removals").result_rows
    return [(first, last) for first, last in rows]
