"""Prices of our own files, as their sources have them: `shipped_prices.json`, a call a line.

Each line is provider, model, conditions (the service tier and the moment among them), what was used
in meters, the right cost in USD, and where that is to be read.
"""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Priced, Unpriced

ROWS: list[list[Any]] = json.loads((Path(__file__).parent / "shipped_prices.json").read_text())
NOON = "2026-11-27T12:00"
BOOK = PriceBook()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}-{row[2]}-{row[3]}")
def test_a_call_costs_what_the_provider_says(row: list[Any]) -> None:
    provider, model, conditions, used, usd, _ = row
    conditions = dict(conditions)
    tier = conditions.pop("service_tier", "")
    at = datetime.fromisoformat(conditions.pop("at", NOON)).replace(tzinfo=UTC)
    cost = BOOK.price(
        provider=provider,
        endpoint_id="",
        model=model,
        at_ns=int(at.timestamp()) * 10**9,
        usage=Usage(**{name: used[name] for name in TOKEN_FIELDS if name in used}),
        service_tier=tier,
        conditions=conditions,
        meters={name: amount for name, amount in used.items() if name not in TOKEN_FIELDS},
    )

    if usd is None:
        assert isinstance(cost, Unpriced)
    else:
        assert isinstance(cost, Priced), cost
        assert Decimal(cost.cost_picousd).scaleb(-12) == Decimal(usd)
