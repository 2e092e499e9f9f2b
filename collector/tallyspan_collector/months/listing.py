"""Months side by side: what each is, what it was closed with, what the ledger has of it."""

from datetime import date
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of

COLUMNS = (
    "month", "state", "version", "written_at", "written_by", "reason", "recorded_usd",
    "true_up_usd", "prior_period_usd", "cost_usd", "billed_usd", "closed_usd", "unpriced_calls",
    "accepted",
)  # fmt: skip
_QUERY = f"""
SELECT {", ".join(COLUMNS)} FROM month_totals WHERE month >= {{first:Date}} ORDER BY month DESC
"""  # noqa: S608  own names, values are bound


def months(client: Client, first: date = date(1970, 1, 1)) -> list[dict[str, Any]]:
    """Return the months since the first that have anything, the newest first, by `COLUMNS`.

    Amounts are Decimal USD; None: there is none. Raises what the store raises.
    """
    rows = tuples_of(client, _QUERY, {"first": first})
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]
