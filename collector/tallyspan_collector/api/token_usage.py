"""The two questions the admin API answers: which calls, and what they add up to."""

from collections.abc import Mapping
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_collector.api.fields import Field, Fields, rows_of
from tallyspan_collector.api.filters import (
    FILTERS,
    MOST_DAYS_OF_HOURS,
    check_length,
    filters,
)
from tallyspan_collector.api.operation import Asked, Operation
from tallyspan_collector.api.parameters import Parameter, choice, whole_number
from tallyspan_collector.summary import MAX_ROWS, entries, plain, summary_page, totals
from tallyspan_collector.summary.calls import CALL_COLUMNS
from tallyspan_collector.summary.measures import MEASURE_SAYS
from tallyspan_collector.summary.question import (
    BUCKETS,
    DIMENSIONS,
    DIRECTIONS,
    GROUPS,
    MOST_GROUPS,
    ORDERS,
    TAG,
    check_groups,
)

ENTRIES_LIMIT, ENTRIES_MOST = 100, 1_000
SUMMARY_LIMIT = 1_000
CURSOR = Parameter("cursor", "next_cursor of the page before, with every other parameter as it was")
ORDER = choice("order", "what the rows are sorted by; group: by their names", tuple(ORDERS), "cost")
DIRECTION = choice("direction", "desc, or asc; asc by default where order is group", DIRECTIONS)
GROUP_BY = Parameter(
    "group_by",
    f"one or several, with commas, {MOST_GROUPS} at most: {', '.join(GROUPS)}, {TAG}<key>",
    {"type": "string", "examples": ["user", "department,model", "day,tag:project"]},
    lambda _, said: check_groups(said.split(",")),
    "user",
)
NEXT = Field("text?", "where the next page begins; null: this is the last")
CALL: Fields = {name: Field(each.kind, each.says) for name, each in CALL_COLUMNS.items()}


def measure(name: str) -> Field:
    """Return the field of a measure."""
    is_known = name in {"calls", "errors"} or name.endswith("_calls") or name == "unpriced_tokens"
    kind = "usd" if name.endswith("usd") else "integer"
    return Field(kind if is_known else f"{kind}?", MEASURE_SAYS[name])


MEASURED: Fields = {name: measure(name) for name in MEASURE_SAYS}
GROUPED: Fields = {
    **{each.group: Field("text", each.says, is_optional=True) for each in DIMENSIONS},
    **{name: Field("text", f"{name} in time_zone", is_optional=True) for name in BUCKETS},
    f"^{TAG}": Field("text", "value of the tag", is_optional=True),
}


def token_usage(client: Client) -> list[Operation]:
    """Return the operations of the ledger itself."""

    def ask_entries(asked: Asked) -> Mapping[str, Any]:
        chosen = filters(asked.said, asked.departments)
        rows, following = entries(client, chosen, asked["limit"], asked["cursor"])
        return {"entries": [plain(row) for row in rows], "next_cursor": following}

    def ask_summary(asked: Asked) -> Mapping[str, Any]:
        chosen = filters(asked.said, asked.departments)
        groups = asked["group_by"]
        if "hour" in groups:
            check_length(chosen.start, chosen.end, MOST_DAYS_OF_HOURS, "a summary by hour")
        rows, following = summary_page(
            client,
            chosen,
            groups,
            asked["order"],
            asked["limit"],
            direction=asked["direction"],
            zone=asked["time_zone"],
            cursor=asked["cursor"],
        )
        return {
            "group_by": list(groups),
            "rows": [plain(row) for row in rows],
            "totals": plain(totals(client, chosen)),
            "truncated": following is not None,
            "next_cursor": following,
        }

    return [
        Operation(
            "/token_usage",
            "token_usage",
            "Calls, newest first, net of reversals and price changes.",
            ask_entries,
            {"entries": rows_of("the calls", CALL), "next_cursor": NEXT},
            (*FILTERS, whole_number("limit", "calls a page", ENTRIES_LIMIT, ENTRIES_MOST), CURSOR),
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
                "totals": Field("record", "over all groups, on this page or not", MEASURED),
                "truncated": Field("flag", "whether there are more groups than on this page"),
                "next_cursor": NEXT,
            },
            (
                *FILTERS,
                GROUP_BY,
                ORDER,
                DIRECTION,
                whole_number("limit", "rows a page", SUMMARY_LIMIT, MAX_ROWS),
                CURSOR,
            ),
            table="rows",
        ),
    ]
