"""What bills say of a period, beside what the ledger has of it."""

from datetime import datetime
from decimal import Decimal

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import row_of


def billed(client: Client, since: datetime) -> Decimal | None:
    """Return what bills say of the days from `since` on, in USD; None: no bill is kept of them."""
    cost, days = row_of(
        client,
        "SELECT sum(billed_usd), count() FROM bills WHERE day >= {day:Date}",
        {"day": since.date()},
    )
    return Decimal(cost) if days else None
