"""The dataset Billing Period of FOCUS 1.4: the months of each provider, open or closed."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.moments import microseconds, sql_moment, utc
from tallyspan_collector.focus.charges import start_of
from tallyspan_collector.focus.sku import Row, named
from tallyspan_collector.units.months import next_month

COLUMNS = (
    "BillingPeriodCreated", "BillingPeriodEnd", "BillingPeriodLastUpdated", "BillingPeriodStart",
    "BillingPeriodStatus", "InvoiceIssuerName",
)  # fmt: skip
OPEN, CLOSED = "Open", "Closed"
_QUERY = f"""
SELECT toStartOfMonth(l.start_time, 'UTC') AS month, l.provider_name AS provider,
    min(l.ingested_at) AS first, max(l.ingested_at) AS last
FROM llm_calls AS l
WHERE l.start_time >= {sql_moment("start")} AND l.start_time < {sql_moment("end")}
GROUP BY month, provider
"""  # noqa: S608  own names, values are bound
_MONTHS = "SELECT month, state, written_at FROM months"


class Period(NamedTuple):
    """A month of a provider: when its first and its last entry was booked, whether it is closed.

    `closed_at` is None where the month is open.
    """

    provider: str
    month: date
    created: datetime
    updated: datetime
    closed_at: datetime | None

    @property
    def status(self) -> str:
        """Return Open or Closed."""
        return OPEN if self.closed_at is None else CLOSED

    def row(self) -> Row:
        """Return the row of the dataset."""
        return {
            "BillingPeriodCreated": moment_text(self.created),
            "BillingPeriodEnd": start_of(next_month(self.month)),
            "BillingPeriodLastUpdated": moment_text(self.updated),
            "BillingPeriodStart": start_of(self.month),
            "BillingPeriodStatus": self.status,
            "InvoiceIssuerName": self.provider,
        }


def periods(client: Client, start: datetime, end: datetime) -> Iterator[Period]:
    """Yield the months of each provider from `start` until before `end`, in their order.

    A month that was closed or opened again was last updated then, or when a later entry was booked.
    """
    changes = {month: (state, utc(at)) for month, state, at in tuples_of(client, _MONTHS)}
    bounds = {"start": microseconds(start), "end": microseconds(end)}
    for month, provider, first, last in sorted(tuples_of(client, _QUERY, bounds)):
        state, changed = changes.get(month, ("", None))
        updated = utc(last) if changed is None else max(utc(last), changed)
        closed_at = changed if state == "closed" else None
        yield Period(named(provider), month, utc(first), updated, closed_at)


def moment_text(moment: datetime) -> str:
    """Return the moment as FOCUS writes it, to the second."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
