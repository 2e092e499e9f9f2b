"""What is doubtful about single calls, added up: unread usage, undecided prices, quality flags."""

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.query.filters import source
from tallyspan_collector.api.fields import Field, Fields, rows_of
from tallyspan_collector.api.filters import OF_CALLS, PERIOD, filters
from tallyspan_collector.api.operation import Operation, Query
from tallyspan_collector.api.parameters import whole_number
from tallyspan_collector.summary import plain
from tallyspan_collector.summary.rows import rows

DAYS = 30
"""How far back an answer goes without start_date."""
_PLACES = {
    "provider": ("c.provider_name", "provider of the calls"),
    "endpoint": ("c.endpoint_id", "endpoint they went to"),
    "model": ("c.model_name", "model of the calls"),
}
_FILTERS = {"department", "user_id", "agent_id", "tenant", "provider", "model", "endpoint_id"}
_SUMS: Mapping[str, tuple[str, Field]] = {
    "first_seen": ("min(c.start_time)", Field("time", "when the first of them began")),
    "last_seen": ("max(c.start_time)", Field("time", "when the last of them began")),
    "calls": ("toInt64(count())", Field("count", "calls it is about")),
    "tokens": ("sum(c.total_tokens)", Field("integer?", "their tokens; null: unknown")),
    "cost_usd": ("sum(c.cost_usd)", Field("usd?", "what they cost as booked; null: not priced")),
}
_OTHER_WAY = (
    "if(countIf(c.other_cost_usd IS NOT NULL) = 0, NULL, sum(ifNull(c.other_cost_usd, c.cost_usd)))"
)
_OTHER = {
    "other_cost_usd": (
        _OTHER_WAY,
        Field("usd?", "what they cost if it is decided the other way; null: nobody can tell"),
    ),
    "setting": (
        "any(c.setting)",
        Field("text", "line of models_pricing.yaml that decides it; capitals are to be filled in"),
    ),
}


def doubts(client: Client) -> list[Operation]:
    """Return the operations."""
    return [
        _operation(
            client, "unread", "unread", "path",
            "Usage that no rule reads, by its path, and the calls whose cost may lack it.",
            ("provider", "model"),
        ),
        _operation(
            client, "undecided", "price", "flag",
            "Prices that nobody has decided, with the money at stake both ways and what to set.",
            ("provider", "endpoint", "model"), _OTHER,
        ),
        _operation(
            client, "flags", "quality", "flag",
            "Quality flags of calls: what was inferred, repaired, or contradicts itself.",
            ("provider", "model"),
        ),
    ]  # fmt: skip


def _operation(
    client: Client,
    name: str,
    kind: str,
    doubt: str,
    says: str,
    places: tuple[str, ...],
    more: Mapping[str, tuple[str, Field]] | None = None,
) -> Operation:
    """Return the operation of one kind of doubt, by the doubt and `places`."""
    sums = {**_SUMS, **(more or {})}
    groups = {doubt: "c.doubt", **{each: _PLACES[each][0] for each in places}}
    selected = [f"toString({text}) AS {group}" for group, text in groups.items()]
    selected += [f"{text} AS {group}" for group, (text, _) in sums.items()]
    fields: Fields = {
        doubt: Field("text", "the place in the usage" if doubt == "path" else "name of the flag"),
        **{each: Field("text", _PLACES[each][1]) for each in places},
        **{each: field for each, (_, field) in sums.items()},
    }
    accepted = tuple(each for each in OF_CALLS if each.name in _FILTERS)

    def ask(query: Query) -> Mapping[str, Any]:
        chosen = filters({**query.values}, query.access, DAYS)
        text, parameters = source("call_doubts", chosen, "start_time", f"c.kind = '{kind}'")
        groups_of_calls = rows(
            client,
            f"SELECT {', '.join(selected)} {text} GROUP BY {', '.join(groups)}"
            f" ORDER BY cost_usd DESC NULLS LAST, calls DESC, {', '.join(groups)}"
            " LIMIT {row_limit:UInt32}",
            parameters | {"row_limit": query["limit"] + 1},
        )
        for row in groups_of_calls:
            row |= {at: row[at].replace(tzinfo=UTC) for at in ("first_seen", "last_seen")}
        return {
            "rows": [plain(row) for row in groups_of_calls[: query["limit"]]],
            "truncated": len(groups_of_calls) > query["limit"],
        }

    return Operation(
        f"/data_health/{name}",
        name,
        f"{says} Without start_date: of the last {DAYS} days.",
        ask,
        {
            "rows": rows_of("a row a group, the most money first", fields),
            "truncated": Field("flag", "whether there are more groups than limit"),
        },
        (*accepted, *PERIOD, whole_number("limit", "rows", 1_000, 10_000)),
        table="rows",
    )
