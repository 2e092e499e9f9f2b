"""Prices: the entries of the price file, a quote, and models without a price."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client
from starlette.exceptions import HTTPException

from tallyspan_collector.api.fields import Field, rows_of
from tallyspan_collector.api.filters import PERIOD
from tallyspan_collector.api.operation import Operation, Query
from tallyspan_collector.api.parameters import Parameter
from tallyspan_collector.booked import missing
from tallyspan_collector.pricing import listing
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Unpriced
from tallyspan_collector.pricing.steps import day
from tallyspan_collector.summary import RequestError, parse_time, plain

MISSING_DAYS = 30
_TEXT = Field("text", "as the price file has it; empty: any")
_OF_CALLS = Field("text", "as the calls have it")


def prices(client: Client, book: Callable[[], PriceBook]) -> list[Operation]:
    """Return the operations; `book` is called for each request, since the file may change."""

    def price_file(_: Query) -> Mapping[str, Any]:
        rates = [
            {
                "price_id": rate.price_id,
                "line": rate.origin.line,
                "model": rate.match.model,
                "provider": rate.match.provider,
                "endpoint": rate.match.endpoint,
                "service_tier": rate.match.tier,
                "from": day(rate.match.from_ns),
                "to": day(rate.match.to_ns),
            }
            for rate in book().file.rates
        ]
        return {"prices": rates, "behind_them": book().data.source}

    def quote(query: Query) -> Mapping[str, Any]:
        if not query["model"]:
            raise RequestError("model must name the model whose price is asked for")
        at_ns = time.time_ns()
        if query["at"] is not None:
            at_ns = int(parse_time(query["at"], "at").timestamp()) * 10**9
        kind = (query["provider"], query["endpoint_id"], query["model"], query["service_tier"])
        region = query["region"]
        conditions = {"region": region} if region else None
        price = book().quote(*kind, at_ns, conditions)
        if isinstance(price, Unpriced):
            raise HTTPException(404, f"there is no price for it: {price.reason.value}")
        rates = [
            {"class": row["class"], "context": row["context"], "usd": row["USD"]}
            for row in listing.rows(price)
        ]
        return {"price_id": price.price_id, "rates": rates}

    def missing_prices(query: Query) -> Mapping[str, Any]:
        start = datetime.now(UTC) - timedelta(days=MISSING_DAYS)
        if query["start_date"] is not None:
            start = parse_time(query["start_date"], "start_date", zone=query["time_zone"])
        rows = missing.find(client, start)
        for row in rows:
            row |= {name: row[name].replace(tzinfo=UTC) for name in ("first", "last")}
        return {"models": [plain(row) for row in rows]}

    return [
        Operation(
            "/prices",
            "prices",
            "The entries of the price file, the most specific first.",
            price_file,
            {
                "prices": rows_of(
                    "an entry a row",
                    {
                        "price_id": Field("text", "as entries of the ledger have it"),
                        "line": Field("count", "where it begins in the file"),
                        **dict.fromkeys(("model", "provider", "endpoint", "service_tier"), _TEXT),
                        "from": Field("text", "since when; empty: always"),
                        "to": Field("text", "until when; empty: for good"),
                    },
                ),
                "behind_them": Field("text", "prices that hold where the file says nothing"),
            },
            table="prices",
        ),
        Operation(
            "/prices/quote",
            "price",
            "The price of a model at a moment, and where it comes from.",
            quote,
            {
                "price_id": Field("text", "as entries of the ledger have it"),
                "rates": rows_of(
                    "a row a class of tokens or another unit",
                    {
                        "class": Field("text", "input, output, cache_read, ..."),
                        "context": Field("text", "above how many tokens; empty: from the first"),
                        "usd": Field("text", "USD; /M for a million tokens, each for one"),
                    },
                ),
            },
            (
                Parameter("model", "model, as the provider names it", default=""),
                Parameter("provider", "gen_ai.provider.name", default="openai"),
                Parameter("endpoint_id", "endpoint of the calls", default=""),
                Parameter("service_tier", "served tier: flex, priority, batch, ...", default=""),
                Parameter("region", "region of the endpoint", default=""),
                Parameter("at", "a date or a time (UTC); default: now"),
            ),
            table="rates",
        ),
        Operation(
            "/prices/missing",
            "prices_missing",
            "What calls wait for a price of, the most tokens first."
            f" Without start_date: in the last {MISSING_DAYS} days.",
            missing_prices,
            {
                "models": rows_of(
                    "a row a model",
                    {
                        **dict.fromkeys(
                            ("provider_name", "endpoint_id", "model_name", "service_tier"),
                            _OF_CALLS,
                        ),
                        "conditions": Field("map", "what the price depends on as well"),
                        "unpriced_reason": Field("text", "why there is no price"),
                        "calls": Field("count", "calls that wait"),
                        "tokens": Field("integer?", "their tokens"),
                        "first": Field("time", "when the first of them began"),
                        "last": Field("time", "when the last of them began"),
                    },
                )
            },
            tuple(each for each in PERIOD if each.name != "end_date"),
            table="models",
            is_for_all=True,
        ),
    ]
