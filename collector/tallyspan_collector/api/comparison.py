"""What a period so far cost, against the same days of the one before."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_collector.api.fields import Field, Fields, record_of, rows_of
from tallyspan_collector.api.filters import OF_CALLS, filters
from tallyspan_collector.api.operation import Operation, Query
from tallyspan_collector.api.parameters import choice
from tallyspan_collector.api.token_usage import GROUP_BY, GROUPED
from tallyspan_collector.summary import plain
from tallyspan_collector.summary.comparison import PERIODS, compare, running

_CHANGES: Fields = {
    "calls": Field("count", "calls so far"),
    "cost_usd": Field("usd?", "their billed cost in USD; null: none is priced"),
    "unpriced_calls": Field("integer", "calls without a price: they lack in cost_usd"),
    "before_calls": Field("count", "calls of the same days before"),
    "before_cost_usd": Field("usd?", "their billed cost in USD; null: none is priced"),
    "before_unpriced_calls": Field("integer", "calls of those days without a price"),
    "change_usd": Field("usd", "cost_usd - before_cost_usd"),
    "change": Field("ratio?", "change_usd / before_cost_usd; null: nothing was spent before"),
}


def comparison(client: Client) -> list[Operation]:
    """Return the operation."""

    def ask(query: Query) -> Mapping[str, Any]:
        of = running(client, query["period"])
        groups = query["group_by"]
        unbounded = {"time_zone": "UTC", "start_date": None, "end_date": None}
        chosen = filters({**query.values, **unbounded}, query.access)
        rows, total = compare(client, of, chosen, groups)
        return plain(asdict(of)) | {
            "group_by": list(groups),
            "rows": [plain(row) for row in rows],
            "totals": plain(total),
        }

    return [
        Operation(
            "/token_usage/comparison",
            "token_usage_comparison",
            "The month, quarter or year so far against the same days of the one before.",
            ask,
            {
                "period": Field("text", ", ".join(PERIODS)),
                "time_zone": Field("text", "IANA name of the zone that its days are of"),
                "period_start": Field("day", "first day of the period"),
                "started": Field("time", "when it began"),
                "now": Field("time", "its end, excluded: this moment"),
                "before_start": Field("day", "first day of the period before it"),
                "before_last_day": Field("day", "last of the days compared with"),
                "before_started": Field("time", "when the period before it began"),
                "before_ended": Field(
                    "time",
                    "end, excluded, of what is compared with: the same day and time; the end of a"
                    " month that has no such day",
                ),
                "group_by": Field("texts", "the groups, as asked for"),
                "rows": rows_of(
                    "a row a group, those that cost most first", {**GROUPED, **_CHANGES}
                ),
                "totals": record_of("over all groups", _CHANGES),
            },
            (
                choice("period", "which period so far", PERIODS, "month"),
                *OF_CALLS,
                GROUP_BY,
            ),
            table="rows",
        )
    ]
