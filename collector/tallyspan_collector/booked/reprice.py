"""New prices for booked calls: the difference is booked as an entry, nothing is written over."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from clickhouse_connect.driver.client import Client

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_clickhouse.moments import microseconds
from tallyspan_collector.booked import ledger
from tallyspan_collector.booked.ledger import COSTS, Row
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import (
    INCONSISTENT_USAGE,
    MAX_COST_PICOUSD,
    Priced,
    Unpriced,
    refusal,
)


@dataclass(frozen=True, slots=True)
class Scope:
    """Which calls: from `start` until before `end`; `model` may be a glob; empty: any."""

    start: datetime
    end: datetime
    model: str = ""
    provider: str = ""
    endpoint: str = ""
    department: str = ""
    only_unpriced: bool = False


@dataclass(slots=True)
class Total:
    """How many calls change, and what they cost before and after, in USD."""

    calls: int = 0
    newly_priced_calls: int = 0
    old_cost_usd: Decimal = Decimal(0)
    new_cost_usd: Decimal = Decimal(0)

    def add(self, call: Row, priced: Priced) -> None:
        """Add one call."""
        self.calls += 1
        self.newly_priced_calls += call["cost_status"] == "unpriced"
        self.old_cost_usd += call["cost_usd"] or 0
        self.new_cost_usd += _usd(priced.cost_picousd)


@dataclass(slots=True)
class Result:
    """What a run did, or would do: by month and model, and the calls it left alone."""

    by_month_and_model: defaultdict[tuple[str, str], Total] = field(
        default_factory=lambda: defaultdict(Total)
    )
    total: Total = field(default_factory=Total)
    unchanged_calls: int = 0
    without_price_calls: int = 0
    old_price_ids: set[str] = field(default_factory=set)
    new_price_ids: set[str] = field(default_factory=set)

    def add(self, call: Row, priced: Priced) -> None:
        """Add one call that changes."""
        month = f"{call['start_time']:%Y-%m}"
        self.by_month_and_model[month, call["model_name"]].add(call, priced)
        self.total.add(call, priced)
        self.old_price_ids.add(call["price_id"])
        self.new_price_ids.add(priced.price_id)


@dataclass(slots=True)
class Reprice:
    """The difference between what calls cost in the ledger and what they cost with a price book.

    Calls whose cost the provider reported, or that were not billed, keep it; a call that has no
    price any more keeps the one it was booked with.
    """

    book: PriceBook
    scope: Scope
    name: Literal["reprice", "backfill"] = "reprice"
    result: Result = field(default_factory=Result)
    audit_table = "price_changes"

    def audit_scope(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say which calls."""
        scope = asdict(self.scope)
        return {
            "kind": self.name,
            "calls_from": scope.pop("start"),
            "calls_to": scope.pop("end"),
            "scope": json.dumps({name: value for name, value in scope.items() if value}),
        }

    def audit_totals(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say what changed."""
        return asdict(self.result.total) | {
            "old_price_ids": sorted(self.result.old_price_ids),
            "new_price_ids": sorted(self.result.new_price_ids),
        }

    def calls(self, client: Client) -> Iterator[Row]:
        """Yield the calls of the scope that have a price of ours, or none."""
        scope = self.scope
        filters = {
            "provider_name": scope.provider,
            "endpoint_id": scope.endpoint,
            "department": scope.department,
        }
        where = [f"l.{name} = {{{name}:String}}" for name, value in filters.items() if value]
        parameters: dict[str, Any] = {name: value for name, value in filters.items() if value}
        if scope.model:
            where.append("l.model_name IN {models:Array(String)}")
            parameters["models"] = ledger.models_like(client, scope.start, scope.end, scope.model)
        statuses = "('unpriced')" if scope.only_unpriced else "('unpriced', 'priced')"
        having = (
            f"sum(l.sign) > 0 AND argMaxIf(l.cost_status, l.ingested_at, l.sign >= 0) IN {statuses}"
        )
        return ledger.calls_by_day(client, scope.start, scope.end, where, having, parameters)

    def entries(self, call: Row) -> Sequence[Row]:
        """Return the difference as an entry; none where the cost stays."""
        priced = priced_today(self.book, call)
        if not isinstance(priced, Priced):
            self.result.without_price_calls += 1
            return ()
        differences = _differences(call, priced)
        is_unpriced = call["cost_status"] == "unpriced"
        if not is_unpriced and not any(differences.values()):
            self.result.unchanged_calls += 1
            return ()
        self.result.add(call, priced)
        change = ledger.entry(call, "price_change", 0) | differences
        if is_unpriced and not call["is_notional"]:
            tokens = (call["input_tokens"] or 0) + (call["output_tokens"] or 0)
            change |= {"unpriced_calls": -1, "unpriced_tokens": -tokens}
        change |= {
            "cost_status": "priced",
            "unpriced_reason": "",
            "price_id": priced.price_id,
            "price_source": priced.price_source,
            "price_flags": list(priced.flags),
            "other_cost_usd": _usd_or_none(priced.other_cost_picousd),
        }
        return (change,)


def priced_today(book: PriceBook, call: Row) -> Priced | Unpriced:
    """Return what a booked call costs with the book, at its own time; or why not."""
    if (why_not := refusal(call["quality_flags"])) is not None:
        return why_not
    priced = book.price(
        provider=call["provider_name"],
        endpoint_id=call["endpoint_id"],
        model=call["model_name"],
        at_ns=microseconds(call["start_time"]) * 1000,
        usage=Usage(**{name: call[name] for name in TOKEN_FIELDS}),
        service_tier=call["service_tier"],
        conditions=call["conditions"],
        meters=call["meters"],
    )
    is_sound = isinstance(priced, Unpriced) or priced.cost_picousd < MAX_COST_PICOUSD
    return priced if is_sound else INCONSISTENT_USAGE


def _differences(call: Row, priced: Priced) -> dict[str, Decimal | None]:
    amounts = (
        priced.cost_picousd,
        priced.input_cost_picousd,
        priced.output_cost_picousd,
        priced.cache_saved_picousd,
    )
    return {
        name: None
        if amount is None and call[name] is None
        else _usd(amount or 0) - (call[name] or 0)
        for name, amount in zip(COSTS, amounts, strict=True)
    }


def _usd_or_none(picousd: int | None) -> Decimal | None:
    return None if picousd is None else _usd(picousd)


def _usd(picousd: int) -> Decimal:
    return Decimal(picousd).scaleb(-12)
