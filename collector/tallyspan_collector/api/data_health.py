"""Data health: how far the figures can be trusted."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.query.filters import Filters, names_in, source
from tallyspan_collector.api.fields import Field, Fields, record_of, rows_of
from tallyspan_collector.api.filters import PERIOD, period
from tallyspan_collector.api.operation import Operation, Query
from tallyspan_collector.api.parameters import Parameter, whole_number
from tallyspan_collector.summary.rows import rows

GROUP_SQL = {
    "source": "toString(c.source)",
    "service": "toString(c.service_name)",
    "provider": "toString(c.provider_name)",
    "model": "toString(c.model_name)",
    "tenant": "toString(c.tenant)",
    "day": "toString(toDate(c.hour, {zone:String}))",
}
COUNTS: Fields = {
    "calls": Field("integer", "calls, net of duplicates"),
    "errors": Field("integer", "those of them that failed"),
    "estimated_calls": Field("integer", "calls whose tokens are an estimate"),
    "unknown_usage_calls": Field(
        "integer", "calls whose tokens nobody stated, without those that cost nothing"
    ),
    "unpriced_calls": Field("integer", "calls without a price"),
    "unpriced_tokens": Field("integer", "tokens of the calls without a price"),
    "flagged_calls": Field("integer", "calls with a quality flag"),
    "reversals": Field("integer", "duplicates that were taken back"),
    "price_changes": Field("integer", "entries that changed a price afterwards"),
}
_SUMS = ", ".join(f"toInt64(sum(c.{name})) AS {name}" for name in COUNTS)


def data_health(client: Client, health: Callable[[], Mapping[str, object]]) -> list[Operation]:
    """Return the operation; `health` returns `ready`, `reasons` and `warnings` of the collector."""

    def ask(query: Query) -> Mapping[str, Any]:
        start, end = period(query.values)
        filters = Filters(access=query.access, start=start, end=end)
        text, parameters = source("data_health", filters, "hour")
        parameters |= {"zone": query["time_zone"], "row_limit": query["limit"] + 1}
        names = ", ".join(f"{GROUP_SQL[name]} AS `{name}`" for name in query["group_by"])
        by = ", ".join(f"`{name}`" for name in query["group_by"])
        groups = rows(
            client,
            f"SELECT {names}, {_SUMS} {text} GROUP BY {by}"
            f" ORDER BY calls DESC, {by} LIMIT {{row_limit:UInt32}}",
            parameters,
        )
        total = f"SELECT {_SUMS} {text}"
        state = health()
        return {
            "rows": groups[: query["limit"]],
            "totals": rows(client, total, parameters)[0],
            "truncated": len(groups) > query["limit"],
            "collector": {
                "ready": state.get("ready") is True,
                "reasons": _sentences(state.get("reasons")),
                "warnings": _sentences(state.get("warnings")),
            },
        }

    return [
        Operation(
            "/data_health",
            "data_health",
            "How far the figures can be trusted, by whole hours; what the collector complains of.",
            ask,
            {
                "rows": rows_of(
                    "a row a group, the most calls first",
                    {
                        **{
                            name: Field("text", f"{name} of the calls", is_optional=True)
                            for name in GROUP_SQL
                        },
                        **COUNTS,
                    },
                ),
                "totals": record_of("over all groups", COUNTS),
                "truncated": Field("flag", "whether there are more groups than limit"),
                "collector": record_of(
                    "the collector that answers",
                    {
                        "ready": Field("flag", "whether it can do its work"),
                        "reasons": Field("texts", "why not"),
                        "warnings": Field("texts", "what else is wrong"),
                    },
                ),
            },
            (
                Parameter(
                    "group_by",
                    f"one or several, with commas: {', '.join(GROUP_SQL)}",
                    read=lambda name, text: names_in(text, tuple(GROUP_SQL), name),
                    default="source,service,model",
                ),
                *PERIOD,
                whole_number("limit", "rows", 1_000, 10_000),
            ),
            table="rows",
            is_for_all=True,
        )
    ]


def _sentences(texts: object) -> Sequence[str]:
    return [str(each) for each in texts] if isinstance(texts, list | tuple) else []
