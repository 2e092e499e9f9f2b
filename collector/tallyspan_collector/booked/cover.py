"""Booked calls that a commitment pays for now, or no more: taken back, and booked as they are.

New calls name their commitment when they are booked; this is for calls that are in the ledger from
before the price file had it, or had it otherwise.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan.conditions import COMMITMENT
from tallyspan_clickhouse.moments import microseconds, sql_moment
from tallyspan_collector.booked import ledger
from tallyspan_collector.booked.commitments import KIND, midnight
from tallyspan_collector.booked.ledger import LAST, Row
from tallyspan_collector.booked.move import SETTLED
from tallyspan_collector.ledger.covered import without_commitment
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.match import Kind

_KINDS = f"""
SELECT c.provider_name, c.endpoint_id, c.model_name, c.service_tier, c.conditions,
    c.cost_status = 'notional' AS is_notional, min(c.start_time) AS first, max(c.start_time) AS last
FROM calls AS c
WHERE c.start_time >= {sql_moment("start")} AND c.start_time < {sql_moment("end")}
GROUP BY ALL
"""  # noqa: S608  own names, values are bound
_NAMES = ("provider_name", "endpoint_id", "model_name")
_WHERE = [f"l.{name} IN {{{name}:Array(String)}}" for name in _NAMES]


@dataclass(slots=True)
class Result:
    """Calls that are covered now, or no more, what was billed for them before and is now, in USD.

    `not_settled`: they may still be taken back by their collector, and are left until later.
    """

    calls: int = 0
    not_settled: int = 0
    old_cost_usd: Decimal = Decimal(0)
    new_cost_usd: Decimal = Decimal(0)


class Cover:
    """Calls of some days that another commitment pays for than the ledger says, or none."""

    name = "commitment cover"
    audit_table = "price_changes"

    def __init__(self, book: PriceBook, days: Sequence[date], now: datetime | None = None) -> None:
        self._book = book
        self._days = sorted(days)
        self._settled_before = (now or datetime.now(UTC)) - SETTLED
        self.result = Result()

    def audit_scope(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say which calls."""
        return {
            "kind": KIND,
            "calls_from": midnight(self._days[0]),
            "calls_to": midnight(self._days[-1] + timedelta(days=1)),
            "scope": json.dumps({"covered": True}),
        }

    def audit_totals(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say what changed."""
        result = self.result
        return {
            "calls": result.calls,
            "old_cost_usd": result.old_cost_usd,
            "new_cost_usd": result.new_cost_usd,
        }

    def calls(self, client: Client) -> Iterator[Row]:
        """Yield calls of the kinds that have one whose commitment changes."""
        for day in self._days:
            bounds = (midnight(day), midnight(day + timedelta(days=1)))
            if places := self._places(client, *bounds):
                names = dict(
                    zip(_NAMES, map(sorted, map(set, zip(*places, strict=True))), strict=True)
                )
                yield from ledger.calls_by_day(client, *bounds, _WHERE, "sum(l.sign) > 0", names)

    def _places(self, client: Client, start: datetime, end: datetime) -> list[tuple[str, ...]]:
        """Return provider, endpoint and model of calls that may change."""
        parameters = {"start": microseconds(start), "end": microseconds(end)}
        changes = {
            ns
            for each in self._book.file.commitments
            for ns in (each.match.from_ns, each.match.to_ns)
        }
        places = []
        for row in client.query(_KINDS, parameters=parameters).named_results():
            first, last = (microseconds(row[name]) * 1000 for name in ("first", "last"))
            moments = [first, last, *(ns for ns in changes if first < ns <= last)]
            if any(self._paying(row, at_ns) != _payer(row) for at_ns in moments):
                places.append(tuple(str(row[name]) for name in _NAMES))
        return places

    def _paying(self, call: Row, at_ns: int) -> str:
        """Return the commitment that pays for a call; empty: none does, or a subscription."""
        if call["is_notional"] and not _payer(call):
            return ""
        conditions = without_commitment(call["conditions"])
        provider, endpoint, model = (str(call[name]) for name in _NAMES)
        kind = Kind.of(provider, endpoint, model, str(call["service_tier"]), conditions)
        return self._book.commitment(kind, at_ns)

    def entries(self, call: Row) -> Sequence[Row]:
        """Return the two entries that change who pays; none where it stays."""
        name = self._paying(call, microseconds(call["start_time"]) * 1000)
        if name == _payer(call):
            return ()
        result = self.result
        if call[LAST] > self._settled_before:
            result.not_settled += 1
            return ()
        cost = call["cost_usd"] or Decimal(0)
        result.calls += 1
        result.old_cost_usd += 0 if call["is_notional"] else cost
        result.new_cost_usd += 0 if name else cost
        conditions = without_commitment(call["conditions"])
        is_unpriced = call["cost_status"] == "unpriced" and not name
        tokens = (call["input_tokens"] or 0) + (call["output_tokens"] or 0)
        return (
            ledger.entry(call, "correction", -1),
            ledger.entry(call, "correction", 1)
            | {
                "conditions": conditions | ({COMMITMENT.name: name} if name else {}),
                "is_notional": bool(name),
                "unpriced_calls": int(is_unpriced),
                "unpriced_tokens": tokens if is_unpriced else 0,
            },
        )


def _payer(call: Row) -> str:
    return str(call["conditions"].get(COMMITMENT.name, ""))
