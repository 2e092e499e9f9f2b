"""The cost of commitments, booked by day: shares of the calls that used them, and what is unused.

What is booked of a day is the difference between its shares as the price file and the calls of the
day have them now and those that the ledger has. So it may be done again at any time: late calls,
calls that are taken back and changed commitments move shares, the sum of a day stays its cost.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.moments import microseconds, sql_moment
from tallyspan_clickhouse.retention import ENTRIES, kept_days
from tallyspan_collector.booked import ledger
from tallyspan_collector.booked.ledger import COUNT, Row
from tallyspan_collector.booked.of_no_call import hex_id
from tallyspan_collector.booked.shares_due import SHARE_COLUMNS, Share, shares_due
from tallyspan_collector.pricing.cost import MAX_COST_PICOUSD
from tallyspan_collector.pricing.rates import PriceFile

KIND = "commitment"
LOOK_BACK_DAYS = 31
"""As far before a day calls are read: for the month of a minimum, and for who has a seat."""
NOON = time(12, tzinfo=UTC)
"""When shares of a day stand in the ledger: noon (UTC) is the same day in nearly all zones."""
_COLUMNS = ", ".join(f"l.{name}" for name in SHARE_COLUMNS)
_BOOKED = f"""
SELECT {_COLUMNS}, sum(l.cost_usd) AS cost_usd, count() AS entries FROM llm_calls AS l
WHERE l.entry_kind = '{KIND}' AND l.start_time = {sql_moment("noon")}
GROUP BY {_COLUMNS}
"""  # noqa: S608  own names, values are bound
_BOOKED_DAYS = f"""
SELECT toDate32(l.start_time, 'UTC') AS day, l.price_id AS name, sum(l.cost_usd) AS cost_usd
FROM llm_calls AS l
WHERE l.entry_kind = '{KIND}' AND l.start_time >= {sql_moment("start")}
    AND l.start_time < {sql_moment("end")}
GROUP BY day, name HAVING cost_usd != 0
"""  # noqa: S608  own names, values are bound


@dataclass(slots=True)
class Total:
    """USD of a commitment: its cost, what nobody used of it, what was booked before."""

    due_usd: Decimal = Decimal(0)
    unused_usd: Decimal = Decimal(0)
    booked_usd: Decimal = Decimal(0)
    entries: int = 0


@dataclass(slots=True)
class Result:
    """What a run booked, or would book, by month and commitment."""

    by_month_and_name: defaultdict[tuple[str, str], Total] = field(
        default_factory=lambda: defaultdict(Total)
    )

    @property
    def entries(self) -> int:
        """How many entries are new."""
        return sum(total.entries for total in self.by_month_and_name.values())


class Spread:
    """The difference between the shares of some days and what the ledger has of them."""

    name = KIND
    audit_table = "price_changes"

    def __init__(self, file: PriceFile, days: Sequence[date]) -> None:
        self._file = file
        self._days = sorted(days)
        self.result = Result()

    def audit_scope(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say which days."""
        last = self._days[-1] + timedelta(days=1)
        return {
            "kind": KIND,
            "calls_from": midnight(self._days[0]),
            "calls_to": midnight(last),
            "scope": json.dumps({"days": len(self._days)}),
        }

    def audit_totals(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say what changed."""
        totals = self.result.by_month_and_name.values()
        return {
            "old_cost_usd": sum((each.booked_usd for each in totals), Decimal(0)),
            "new_cost_usd": sum((each.due_usd for each in totals), Decimal(0)),
            "new_price_ids": sorted({name for _, name in self.result.by_month_and_name}),
        }

    def calls(self, client: Client) -> Iterator[Row]:
        """Yield the shares that change, each with the difference in pico-dollars."""
        for day in self._days:
            due = shares_due(client, self._file, day)
            booked = _booked(client, day)
            for share in sorted({*due, *booked}):
                amount, (before, count) = due.get(share, 0), booked.get(share, (0, 0))
                total = self.result.by_month_and_name[f"{day:%Y-%m}", share.price_id]
                total.due_usd += usd(amount)
                total.booked_usd += usd(before)
                if share.cost_status == "unused":
                    total.unused_usd += usd(amount)
                if amount != before:
                    total.entries += 1
                    yield {"day": day, "share": share, "picousd": amount - before, COUNT: count}

    def entries(self, call: Row) -> Sequence[Row]:
        """Return the difference as entries: one, or several where it does not fit into one."""
        share: Share = call["share"]
        left, amounts = abs(call["picousd"]), []
        while left:
            amounts.append(min(left, MAX_COST_PICOUSD - 1))
            left -= amounts[-1]
        sign = 1 if call["picousd"] > 0 else -1
        columns = share._asdict() | {
            "start_time": datetime.combine(call["day"], NOON),
            "trace_id": hex_id(16, call["day"].isoformat(), share.price_id),
            "span_id": hex_id(8, *share),
            "price_source": self._file.name,
        }
        return [
            ledger.entry_of_no_call(KIND, columns | {"cost_usd": usd(sign * amount)})
            for amount in amounts
        ]


def booked_days(client: Client, first: date, last: date) -> dict[tuple[date, str], Decimal]:
    """Return what is booked of each day and commitment in USD; nothing where that is 0."""
    rows = tuples_of(
        client,
        _BOOKED_DAYS,
        {
            "start": microseconds(midnight(first)),
            "end": microseconds(midnight(last + timedelta(days=1))),
        },
    )
    return {(day, str(name)): cost for day, name, cost in rows}


def first_bookable(client: Client, today: date) -> date:
    """Return the first day whose shares can still be worked out.

    Its entries, and those of the month before it, are all kept: what has expired would look like
    a day that was not booked, and rollups keep what was.
    """
    kept = kept_days(client).get(ENTRIES, 0)
    return today - timedelta(days=kept - LOOK_BACK_DAYS) if kept else date.min


def midnight(day: date) -> datetime:
    """Return when the day (UTC) begins."""
    return datetime.combine(day, time(), UTC)


def usd(picousd: int) -> Decimal:
    """Return USD of pico-dollars, exact."""
    return Decimal(picousd).scaleb(-12)


def _booked(client: Client, day: date) -> dict[Share, tuple[int, int]]:
    """Return pico-dollars and number of entries of each share that the ledger has."""
    noon = microseconds(datetime.combine(day, NOON))
    rows = tuples_of(client, _BOOKED, {"noon": noon})
    return {
        Share(*map(str, columns)): (int(cost.scaleb(12)), entries)
        for *columns, cost, entries in rows
    }
