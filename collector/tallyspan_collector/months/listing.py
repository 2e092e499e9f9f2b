"""Months side by side: what each is, what it was closed with, what the ledger has of it."""

from datetime import date
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_collector.units.money import dollars

COLUMNS = (
    "month", "state", "version", "written_at", "written_by", "reason", "recorded_usd",
    "true_up_usd", "prior_period_usd", "cost_usd", "billed_usd", "closed_usd", "unpriced_calls",
    "accepted",
)  # fmt: skip
_QUERY = f"""
SELECT {", ".join(COLUMNS)} FROM month_totals WHERE month >= {{first:Date}} ORDER BY month DESC
"""  # noqa: S608  own names, values are bound
_CORRECTIONS = """
SELECT closed_month, department, model_name, user_id, sum(cost_usd) AS cost
FROM month_corrections WHERE booked_in = {month:Date} AND closed_month != booked_in
GROUP BY closed_month, department, model_name, user_id HAVING cost != 0
ORDER BY closed_month, department, model_name, user_id
"""


def months(client: Client, first: date = date(1970, 1, 1)) -> list[dict[str, Any]]:
    """Return the months since the first that have anything, the newest first, by `COLUMNS`.

    Amounts are Decimal USD; None: there is none. Raises what the store raises.
    """
    rows = tuples_of(client, _QUERY, {"first": first})
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def sentence(row: dict[str, Any]) -> str:
    """Return in one line what is recorded, trued up and billed."""
    parts = [f"recorded {dollars(row['recorded_usd'])}", f"trued up {dollars(row['true_up_usd'])}"]
    if row["prior_period_usd"]:
        parts.append(f"corrections of closed months {dollars(row['prior_period_usd'])}")
    billed = "no bill" if row["billed_usd"] is None else f"billed {dollars(row['billed_usd'])}"
    return f"{', '.join(parts)}: {dollars(row['cost_usd'])}; {billed}"


def corrections(client: Client, month: date) -> list[dict[str, Any]]:
    """Return what is booked in a month as corrections of months that were closed before."""
    names = ("closed_month", "department", "model_name", "user_id", "cost_usd")
    rows = tuples_of(client, _CORRECTIONS, {"month": month})
    return [dict(zip(names, row, strict=True)) for row in rows]
