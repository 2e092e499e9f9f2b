"""What calls would have cost with another model, another tier, or without the cache."""

from collections.abc import Callable, Mapping
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_collector.api.fields import Field, Fields, record_of, rows_of
from tallyspan_collector.api.filters import OF_CALLS, PERIOD, check_length, filters
from tallyspan_collector.api.operation import Operation, Query
from tallyspan_collector.api.parameters import Parameter
from tallyspan_collector.api.token_usage import GROUP_BY, GROUPED
from tallyspan_collector.booked.compare import REASONS
from tallyspan_collector.pricing import alternative
from tallyspan_collector.pricing.alternative import NO_CACHE, TIERS
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.summary import RequestError, plain
from tallyspan_collector.summary.as_of_today import MAX_CALLS
from tallyspan_collector.summary.what_if import FILTERS, what_if

MAX_DAYS = 92
AS = Parameter(
    "as",
    f"a model, provider/model, a tier ({', '.join(TIERS)}), or {NO_CACHE[0]}: all that the cache"
    " read or wrote at the price of input",
    {"type": "string", "examples": ["gpt-5-mini", "openai/gpt-5-mini", "batch", NO_CACHE[0]]},
)
_TOTAL: Fields = {
    "compared_calls": Field("count", "calls with a cost either way"),
    "cost_usd": Field("usd?", "what those cost, as booked; null: none"),
    "what_if_cost_usd": Field("usd?", "what they would have cost; null: none"),
    "difference_usd": Field("usd?", "what_if_cost_usd - cost_usd; below 0: cheaper; null: none"),
    "other_tokenizer_calls": Field(
        "count",
        "compared calls of a model that may cut text into other tokens: counts are taken as they"
        " are, and how many it would be is not compared",
    ),
    "not_compared_calls": Field("count", "calls that cannot be compared"),
    "not_compared_cost_usd": Field("usd", "what those cost"),
}


def what_if_operations(client: Client, prices: Callable[[], PriceBook]) -> list[Operation]:
    """Return the operation; `prices` returns the price book."""

    def ask(query: Query) -> Mapping[str, Any]:
        if query["as"] is None or query["start_date"] is None or query["end_date"] is None:
            raise RequestError("as, start_date and end_date are needed")
        chosen = filters(query.values, query.access)
        check_length(chosen.start, chosen.end, MAX_DAYS, "what if")
        book = prices()
        other = alternative.read(query["as"], book)
        result = what_if(
            client,
            book,
            chosen,
            other,
            query["group_by"],
            zone=query["time_zone"],
            max_calls=MAX_CALLS,
        )
        return {
            "as": other.text,
            "group_by": list(result.groups),
            "rows": [plain(row) for row in result.rows()],
            "totals": plain(result.total.row()),
            "not_compared": [plain(row) for row in result.not_compared()],
            "prices": result.prices_used(),
        }

    reasons = "; ".join(f"{name}: {what}" for name, what in REASONS.items())
    return [
        Operation(
            "/what_if",
            "what_if",
            "What calls would have cost with another model, another tier, or without the cache,"
            " each at the prices of its own time."
            f" {MAX_DAYS} days and {MAX_CALLS:,} calls at most; nothing is booked.",
            ask,
            {
                "as": Field("text", "what was compared with"),
                "group_by": Field("texts", "the groups, as asked for"),
                "rows": rows_of("a row a group", {**GROUPED, **_TOTAL}),
                "totals": record_of("over all groups", _TOTAL),
                "not_compared": rows_of(
                    "a row a reason",
                    {
                        "reason": Field(
                            "text",
                            f"{reasons}; else why it has no such price, or what is doubtful of it",
                        ),
                        "calls": Field("count", "calls that cannot be compared for it"),
                        "cost_usd": Field("usd", "what they cost, as booked"),
                    },
                ),
                "prices": rows_of(
                    "a row a price of the comparison",
                    {
                        "price_id": Field("text", "as entries of the ledger have it"),
                        "calls": Field("count", "compared calls with it"),
                    },
                ),
            },
            (
                AS,
                GROUP_BY,
                *(each for each in OF_CALLS if each.name in FILTERS),
                *PERIOD,
            ),
            table="rows",
        )
    ]
