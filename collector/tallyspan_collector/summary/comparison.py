"""A month, quarter or year so far against the same days of the one before, by groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.query.errors import RequestError
from tallyspan_clickhouse.query.filters import Filters, source
from tallyspan_clickhouse.query.sums import BUCKETS
from tallyspan_collector.summary.rows import Row
from tallyspan_collector.summary.totals import MAX_ROWS, summarise, totals

PERIODS = ("month", "quarter", "year")
CHANGES = (
    "calls", "cost_usd", "unpriced_calls",
    "before_calls", "before_cost_usd", "before_unpriced_calls", "change_usd", "change",
)  # fmt: skip
"""Fields of a row behind its groups."""
_SUMS = ("calls", "cost_usd", "unpriced_calls")


@dataclass(frozen=True, slots=True)
class Running:
    """A period so far, `started` to `now`, and what it is compared with; moments are UTC.

    Days are those of `time_zone`; `before_ended` is excluded.
    """

    period: str
    time_zone: str
    period_start: date
    started: datetime
    now: datetime
    before_start: date
    before_last_day: date
    before_started: datetime
    before_ended: datetime


def running(client: Client, period: str) -> Running:
    """Return the running one of PERIODS, by the clock and the time zone of the store."""
    names = tuple(Running.__dataclass_fields__)
    text, parameters = source("running_periods", Filters(), None, "c.period = {period:String}")
    [row] = client.query(
        f"SELECT {', '.join(f'c.{name}' for name in names)} {text}",
        parameters={**parameters, "period": period},
    ).named_results()
    values: Row = {
        name: value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
        for name, value in row.items()
    }
    return Running(**values)


def compare(
    client: Client, of: Running, filters: Filters, group_by: Sequence[str]
) -> tuple[list[Row], Row]:
    """Return a row a group, those that cost most first, and the totals; both with CHANGES.

    What cost nothing before has the `change` None. Raises RequestError for groups of time, and for
    more groups than can be told apart.
    """
    if buckets := [name for name in group_by if name in BUCKETS]:
        raise RequestError(
            f"group_by: a comparison is of whole periods, and cannot be by {buckets[0]}"
        )
    now = filters.between(of.started, of.now)
    before = filters.between(of.before_started, of.before_ended)
    sides = [summarise(client, each, group_by, limit=MAX_ROWS) for each in (now, before)]
    if any(len(side) == MAX_ROWS for side in sides):
        raise RequestError(f"there are {MAX_ROWS:,} groups or more: choose some, or others")
    this, then = ({tuple(row[name] for name in group_by): row for row in side} for side in sides)
    rows = [
        dict(zip(group_by, key, strict=True)) | _change(this.get(key), then.get(key))
        for key in {**this, **then}
    ]
    rows.sort(
        key=lambda row: (
            -(row["cost_usd"] or 0),
            -(row["before_cost_usd"] or 0),
            tuple(row[name] for name in group_by),
        )
    )
    return rows, _change(totals(client, now), totals(client, before))


def _change(this: Row | None, then: Row | None) -> Row:
    """Return CHANGES of a group; None: it had no call then, and cost nothing."""
    nothing: Row = {"calls": 0, "cost_usd": Decimal(0), "unpriced_calls": 0}
    this, then = this or nothing, then or nothing
    cost, before = this["cost_usd"] or Decimal(0), then["cost_usd"] or Decimal(0)
    return (
        {name: this[name] for name in _SUMS}
        | {f"before_{name}": then[name] for name in _SUMS}
        | {"change_usd": cost - before, "change": float(cost / before - 1) if before else None}
    )
