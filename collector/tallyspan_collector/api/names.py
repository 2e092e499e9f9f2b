"""Users, departments, agents, models and the like, each with the sums of its calls."""

from collections.abc import Mapping
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.schema import SCHEMA
from tallyspan_clickhouse.schema_types import CallColumn, Column
from tallyspan_collector.api.fields import Field, Fields, rows_of
from tallyspan_collector.api.filters import OF_CALLS, PERIOD, about, filters
from tallyspan_collector.api.operation import Operation, Query
from tallyspan_collector.api.parameters import Parameter, text, whole_number
from tallyspan_collector.api.token_usage import CURSOR, DIRECTION, MEASURED, NEXT, ORDER
from tallyspan_collector.summary import plain, summary_page
from tallyspan_collector.summary.details import MAX_NAMES, of_conversations, of_groups

LISTED = ("user", "department", "agent", "model", "provider", "endpoint", "service")
CONVERSATION_DAYS = 30
CONTAINS = text("contains", "only those with this in their name, in any case")
_NAMES = f"{MAX_NAMES} at most"
_DETAILS: Fields = {
    "first_day": Field("day", "day of the first of its calls in the period (UTC)"),
    "last_day": Field("day", "day of the last of them (UTC)"),
    "departments": Field("texts", f"departments that pay, {_NAMES}"),
    "models": Field("count", "different models"),
    "users": Field("count?", "different users; null for agents"),
    "mean_duration_us": Field("count", "mean from request to last byte, in microseconds"),
}
_OF_CONVERSATION: Fields = {
    "first_call": Field("time", "when the first of its calls in the period began"),
    "last_call": Field("time", "when the last of them began"),
    "users": Field("texts", f"whom its calls were made for, {_NAMES}"),
    "departments": Field("texts", f"departments that pay, {_NAMES}"),
    "agents": Field("texts", f"agents that took part, {_NAMES}"),
    "models": Field("texts", f"models that were used, {_NAMES}"),
}
PAGE_SIZE = whole_number("limit", "rows a page", 100, 1_000)


def _only(*names: str) -> tuple[Parameter, ...]:
    return tuple(each for each in OF_CALLS if each.name in names)


def name_operations(client: Client) -> list[Operation]:
    """Return an operation for each of LISTED, and one for conversations."""
    columns = {each.group: column for each, column in SCHEMA.dimensions.items()}
    return [*(_list_of(client, name, columns[name]) for name in LISTED), _conversations(client)]


def _list_of(client: Client, group: str, column: Column | CallColumn) -> Operation:
    def ask(query: Query) -> Mapping[str, Any]:
        chosen = filters(query.values, query.access)
        rows, following = summary_page(
            client,
            chosen,
            [group],
            query["order"],
            query["limit"],
            direction=query["direction"],
            contains=query["contains"],
            cursor=query["cursor"],
        )
        details = of_groups(client, group, [row[group] for row in rows], chosen)
        listed = [plain({**row, **details[row[group]]}) for row in rows if row[group] in details]
        return {f"{group}s": listed, "next_cursor": following}

    return Operation(
        f"/{group}s",
        f"{group}s",
        f"Every {group} with calls in the period: what they come to, since when, with what.",
        ask,
        {
            f"{group}s": rows_of(
                f"a row a {group}", {group: Field("text", about(column)), **MEASURED, **_DETAILS}
            ),
            "next_cursor": NEXT,
        },
        (CONTAINS, *_only("department", "tenant"), *PERIOD, ORDER, DIRECTION, PAGE_SIZE, CURSOR),
        table=f"{group}s",
    )


def _conversations(client: Client) -> Operation:
    def ask(query: Query) -> Mapping[str, Any]:
        chosen = filters(query.values, query.access, days=CONVERSATION_DAYS)
        rows, following = summary_page(
            client,
            chosen,
            ["conversation"],
            query["order"],
            query["limit"],
            direction=query["direction"],
            contains=query["contains"],
            is_named=True,
            cursor=query["cursor"],
        )
        details = of_conversations(client, [row["conversation"] for row in rows], chosen)
        listed = [
            plain({**row, **details[row["conversation"]]})
            for row in rows
            if row["conversation"] in details
        ]
        return {"conversations": listed, "next_cursor": following}

    return Operation(
        "/conversations",
        "conversations",
        "Conversations with calls in the period, the dearest first."
        f" Without start_date: of the last {CONVERSATION_DAYS} days.",
        ask,
        {
            "conversations": rows_of(
                "a row a conversation",
                {"conversation": Field("text", "its id"), **MEASURED, **_OF_CONVERSATION},
            ),
            "next_cursor": NEXT,
        },
        (
            CONTAINS,
            *_only("user_id", "department", "agent_id", "model", "service", "tenant"),
            *PERIOD,
            ORDER,
            DIRECTION,
            PAGE_SIZE,
            CURSOR,
        ),
        table="conversations",
    )
