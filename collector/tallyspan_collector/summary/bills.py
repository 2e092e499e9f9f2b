"""What bills say of a period, beside what the ledger has of it."""

from datetime import datetime
from decimal import Decimal

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import row_of
from tallyspan_collector.units.money import dollars


def in_one_line(
    cost_usd: Decimal, true_up_usd: Decimal, prior_period_usd: Decimal, billed_usd: Decimal | None
) -> str:
    """Return what is recorded, trued up and billed; the cost is all but the bill."""
    recorded = cost_usd - true_up_usd - prior_period_usd
    parts = [f"recorded {dollars(recorded)}", f"trued up {dollars(true_up_usd)}"]
    if prior_period_usd:
        parts.append(f"corrections of closed months {dollars(prior_period_usd)}")
    bill = "no bill" if billed_usd is None else f"billed {dollars(billed_usd)}"
    return f"{', '.join(parts)}: {dollars(cost_usd)}; {bill}"


def billed(client: Client, since: datetime) -> Decimal | None:
    """Return what bills say of the days from `since` on, in USD; None: no bill is kept of them."""
    cost, days = row_of(
        client,
        "SELECT sum(billed_usd), count() FROM bills WHERE day >= {day:Date}",
        {"day": since.date()},
    )
    return Decimal(cost) if days else None
