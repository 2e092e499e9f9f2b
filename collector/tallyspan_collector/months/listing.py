"""Months side by side: what each is, what it was closed with, what the ledger has of it."""

from datetime import date
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_collector.units.money import dollars

# What a bill says of a month, and what of the ledger is recorded, trued up and moved there from
# months that were closed before. Days of bills in other zones are those of their own.
_QUERY = """
SELECT u.month AS month, if(m.state = '', 'open', toString(m.state)) AS state, m.version AS version,
    if(m.version = 0, NULL, m.written_at) AS written_at, m.written_by AS written_by,
    m.reason AS reason, u.cost - u.true_up - u.prior AS recorded_usd, u.true_up AS true_up_usd,
    u.prior AS prior_period_usd, u.cost AS cost_usd, b.billed AS billed_usd,
    if(m.version = 0, NULL, m.cost_usd) AS closed_usd, u.unpriced AS unpriced_calls,
    m.accepted AS accepted
FROM (
    SELECT toStartOfMonth(day) AS month, sum(ifNull(cost_usd, 0)) AS cost,
        sum(true_up_cost_usd) AS true_up, sum(prior_period_cost_usd) AS prior,
        sum(unpriced_calls) AS unpriced
    FROM usage_totals WHERE day >= {first:Date} GROUP BY month
) AS u
LEFT JOIN months AS m ON m.month = u.month
LEFT JOIN (
    SELECT toStartOfMonth(day) AS month, toNullable(sum(billed_usd)) AS billed FROM bills
    WHERE day >= {first:Date} GROUP BY month
) AS b ON b.month = u.month
ORDER BY month DESC
"""
COLUMNS = (
    "month", "state", "version", "written_at", "written_by", "reason", "recorded_usd",
    "true_up_usd", "prior_period_usd", "cost_usd", "billed_usd", "closed_usd", "unpriced_calls",
    "accepted",
)  # fmt: skip
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
    return [dict(zip(names, row, strict=True)) for row in rows if row[-1] != Decimal(0)]
