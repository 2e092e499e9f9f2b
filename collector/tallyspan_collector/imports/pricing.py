"""What a remainder costs: what the report states, else the price book's price of the day."""

from datetime import datetime
from typing import NamedTuple

from tallyspan.meters import BY_NAME
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_clickhouse.moments import microseconds
from tallyspan_collector.imports.gaps import Remainder
from tallyspan_collector.imports.report import REQUESTS, Row, amount_of
from tallyspan_collector.imports.report import Usage as Amounts
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import (
    MAX_COST_PICOUSD,
    Priced,
    Unpriced,
    UnpricedReason,
)

_SHORT_CONTEXT = 1_000
"""Where a report counts no requests, so many input tokens are one: no long context begins there."""


class Cost(NamedTuple):
    """A cost in pico-dollars, or why there is none; `status` is one of the ledger's cost_status."""

    cost_picousd: int | None
    input_cost_picousd: int | None = None
    output_cost_picousd: int | None = None
    status: str = "priced"
    unpriced_reason: str = ""
    price_id: str = ""
    price_source: str = ""
    flags: tuple[str, ...] = ()


class Pricing:
    """Prices of a day, for calls to one endpoint (a glob is no endpoint)."""

    def __init__(self, book: PriceBook, endpoint: str, at: datetime) -> None:
        self._book = book
        self._endpoint = "" if "*" in endpoint else endpoint
        self._at_ns = microseconds(at) * 1_000

    def of_row(self, row: Row) -> int | None:
        """Return what a row costs by the price book, in pico-dollars; None: it has no price."""
        price = self._price(row, row.usage)
        return price.cost_picousd if isinstance(price, Priced) else None

    def of_remainder(self, left: Remainder) -> Cost:
        """Return what is left of a row costs: as the report states it, else by the price book."""
        if left.cost_picousd is not None:
            return Cost(left.cost_picousd, status="reported", price_source="provider")
        price = self._price(left.row, left.usage)
        if isinstance(price, Unpriced) and price.reason is UnpricedReason.INCONSISTENT_USAGE:
            # Parts and wholes are left in other proportions than the report has them.
            left.usage = _in_proportion(left.row.usage, left.usage)
            price = self._price(left.row, left.usage)
        if isinstance(price, Unpriced):
            return Cost(None, status="unpriced", unpriced_reason=price.reason.value)
        fits = max(price.cost_picousd, price.input_cost_picousd) < MAX_COST_PICOUSD
        return Cost(
            price.cost_picousd,
            price.input_cost_picousd if fits else None,
            price.output_cost_picousd if fits else None,
            price_id=price.price_id,
            price_source=price.price_source,
            flags=price.flags,
        )

    def _price(self, row: Row, usage: Amounts) -> Priced | Unpriced:
        units = {
            name: amount_of(name, amount)
            for name, amount in usage.items()
            if name not in TOKEN_FIELDS
        }
        if REQUESTS not in row.usage:
            prompt = usage.get("input_tokens", 0)
            units[REQUESTS] = 1 if row.is_long_context else max(prompt // _SHORT_CONTEXT, 1)
        counts = {name: amount for name, amount in usage.items() if name in TOKEN_FIELDS}
        if counts:
            counts |= {name: counts.get(name, 0) for name in ("input_tokens", "output_tokens")}
        return self._book.price(
            provider=row.provider,
            endpoint_id=self._endpoint,
            model=row.model,
            at_ns=self._at_ns,
            usage=Usage(**counts),
            service_tier=row.tier,
            conditions=dict(row.conditions),
            meters=units,
        )


def _in_proportion(reported: Amounts, left: Amounts) -> dict[str, int]:
    """Return the parts in the proportion that they have in the report; wholes stay as they are."""
    result = dict(left)
    for name in left:
        for whole in ("input_tokens", "output_tokens"):
            if BY_NAME[name].is_part_of(BY_NAME[whole]):
                total = reported.get(whole, 0)
                result[name] = reported[name] * left.get(whole, 0) // total if total else 0
    return result
