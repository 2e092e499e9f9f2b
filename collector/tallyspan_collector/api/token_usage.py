"""The ledger over HTTP: single calls, and their sums by groups."""

from collections.abc import Callable, Mapping
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.query.sums import BUCKETS, GROUPS, MAX_GROUPS, TAG, check_groups
from tallyspan_clickhouse.schema import FIGURES, SCHEMA
from tallyspan_clickhouse.schema_types import Figure
from tallyspan_collector.api.fields import Field, Fields, kind_of, record_of, rows_of
from tallyspan_collector.api.filters import (
    FILTERS,
    MAX_DAYS_OF_HOURS,
    about,
    check_length,
    filters,
)
from tallyspan_collector.api.operation import Operation, Query
from tallyspan_collector.api.parameters import Parameter, choice, whole_number
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.summary import MAX_ROWS, entries, plain, summary_page, totals
from tallyspan_collector.summary.as_of_today import MAX_CALLS, as_of_today
from tallyspan_collector.summary.currency import currency_of
from tallyspan_collector.summary.totals import DIRECTIONS, ORDERS

CALLS_A_PAGE, MAX_CALLS_A_PAGE = 100, 1_000
ROWS_A_PAGE = 1_000
CURSOR = Parameter("cursor", "next_cursor of the page before, with every other parameter as it was")
ORDER = choice("order", "what the rows are sorted by; group: by their names", tuple(ORDERS), "cost")
DIRECTION = choice("direction", "desc, or asc; asc by default where order is group", DIRECTIONS)
GROUP_BY = Parameter(
    "group_by",
    f"one or several, with commas, {MAX_GROUPS} at most: {', '.join(GROUPS)}, {TAG}<key>",
    {"type": "string", "examples": ["user", "department,model", "day,tag:project"]},
    lambda _, text: check_groups(text.split(",")),
    "user",
)
NEXT = Field("text?", "where the next page begins; null: this is the last")
CALL: Fields = {
    name: Field(kind_of(column.call_type), about(column))
    for name, column in SCHEMA.call_fields.items()
}


def measure(figure: Figure) -> Field:
    """Return the field of a sum."""
    kind = "usd" if figure.name.endswith("usd") else "integer"
    return Field(f"{kind}?" if "NULL" in figure.sql else kind, figure.about)


MEASURED: Fields = {
    **{figure.name: measure(figure) for figure in FIGURES},
    "cost_in_currency": Field(
        "amount?",
        "cost_usd in the currency asked for, each day's amount at that day's rate, to 12"
        " decimals; null: unpriced, or of days before the first rate",
        is_optional=True,
    ),
    "cost_usd_as_of_today": Field("usd?", "cost_usd with the prices of today", is_optional=True),
    "difference_usd": Field("usd", "cost_usd_as_of_today - cost_usd", is_optional=True),
    "newly_priced_calls": Field("count", "unpriced calls that have a price now", is_optional=True),
}
AS_OF_TODAY = choice(
    "as_of_today",
    f"true: also what the prices of today make of it, {MAX_CALLS:,} calls at most; nothing is"
    " booked",
    ("true", "false"),
    "false",
)
RATES = Field(
    "rows",
    "the rates that were used",
    {
        "from": Field("day?", "first day (UTC); null: always"),
        "usd": Field("amount", "USD for one of the currency"),
    },
    is_optional=True,
)
CURRENCY = Parameter(
    "currency",
    "a second currency for costs, such as EUR, with dated rates in the price file",
    {"type": "string", "examples": ["EUR"]},
)
GROUPED: Fields = {
    **{
        dimension.group: Field("text", about(column), is_optional=True)
        for dimension, column in SCHEMA.dimensions.items()
    },
    **{name: Field("text", f"{name} in time_zone", is_optional=True) for name in BUCKETS},
    f"^{TAG}": Field("text", "value of the tag", is_optional=True),
}


def token_usage(client: Client, prices: Callable[[], PriceBook]) -> list[Operation]:
    """Return the operations; `prices` returns the price book, which has the rates of currencies."""

    def ask_entries(query: Query) -> Mapping[str, Any]:
        chosen = filters(query.values, query.access)
        rows, following = entries(client, chosen, query["limit"], query["cursor"])
        return {"entries": [plain(row) for row in rows], "next_cursor": following}

    def ask_summary(query: Query) -> Mapping[str, Any]:
        chosen = filters(query.values, query.access)
        groups = query["group_by"]
        name = query["currency"]
        currency = None if name is None else currency_of(prices().file, name)
        if "hour" in groups:
            check_length(chosen.start, chosen.end, MAX_DAYS_OF_HOURS, "a summary by hour")
        today = None
        if query["as_of_today"] == "true":
            today = as_of_today(
                client, prices(), chosen, groups, zone=query["time_zone"], max_calls=MAX_CALLS
            )
        rows, following = summary_page(
            client,
            chosen,
            groups,
            query["order"],
            query["limit"],
            direction=query["direction"],
            zone=query["time_zone"],
            cursor=query["cursor"],
            currency=currency,
        )
        total = totals(client, chosen, currency=currency)
        if today is not None:
            rows = [today.add_to(row, groups) for row in rows]
            total = today.add_to_totals(total)
        answer = {
            "group_by": list(groups),
            "rows": [plain(row) for row in rows],
            "totals": plain(total),
            "truncated": following is not None,
            "next_cursor": following,
        }
        if currency is not None:
            answer |= {"currency": currency.name, "rates": currency.rate_rows()}
        return answer

    return [
        Operation(
            "/token_usage",
            "token_usage",
            "Calls, newest first, net of reversals and price changes.",
            ask_entries,
            {"entries": rows_of("the calls", CALL), "next_cursor": NEXT},
            (
                *FILTERS,
                whole_number("limit", "calls a page", CALLS_A_PAGE, MAX_CALLS_A_PAGE),
                CURSOR,
            ),
            table="entries",
        ),
        Operation(
            "/token_usage/summary",
            "token_usage_summary",
            "What calls add up to, by one or several groups; totals are over all pages.",
            ask_summary,
            {
                "group_by": Field("texts", "the groups, as asked for"),
                "rows": rows_of("a row a group", {**GROUPED, **MEASURED}),
                "totals": record_of("over all groups, on this page or not", MEASURED),
                "truncated": Field("flag", "whether there are more groups than on this page"),
                "next_cursor": NEXT,
                "currency": Field("text", "the second currency, where asked for", is_optional=True),
                "rates": RATES,
            },
            (
                *FILTERS,
                CURRENCY,
                AS_OF_TODAY,
                GROUP_BY,
                ORDER,
                DIRECTION,
                whole_number("limit", "rows a page", ROWS_A_PAGE, MAX_ROWS),
                CURSOR,
            ),
            table="rows",
        ),
    ]
