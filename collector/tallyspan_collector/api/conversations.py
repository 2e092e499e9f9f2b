"""The cost of one conversation or message, for the application that shows it."""

import re
from collections.abc import Mapping
from typing import Any

from clickhouse_connect.driver.client import Client
from starlette.exceptions import HTTPException

from tallyspan_clickhouse.query.access import Access
from tallyspan_clickhouse.query.filters import Filters, source
from tallyspan_collector.api.fields import Field, Fields
from tallyspan_collector.api.operation import Operation, Query
from tallyspan_collector.api.parameters import in_path
from tallyspan_collector.summary import plain
from tallyspan_collector.summary.call_sums import SUMS
from tallyspan_collector.summary.rows import rows

_OF: Mapping[str, str] = {
    "conversation": "c.conversation_id = {id:String}",
    "span": "c.trace_id = {trace_id:String} AND c.span_id = {span_id:String}",
    # A response id is kept for 40 days; only those parts are read.
    "message": "c.response_id = {id:String} AND c.start_time >= now() - INTERVAL 46 DAY",
}
LOG_ID = re.compile(r"([0-9a-f]{32})-([0-9a-f]{16})", re.ASCII)
ANSWERED: Fields = {
    "first_call": Field("time", "when its first call began"),
    "last_call": Field("time", "when its last call began"),
    "calls": Field("count", "calls, net of duplicates"),
    "errors": Field("count", "those of them that failed"),
    "input_tokens": Field("integer?", "prompt tokens, cache included; null: unknown"),
    "output_tokens": Field("integer?", "generated tokens, reasoning included; null: unknown"),
    "total_tokens": Field("integer?", "both; null: unknown"),
    "cost_usd": Field("usd?", "billed cost in USD of the priced calls; null: none is priced"),
    "unpriced_calls": Field("count", "calls without a price: they lack in cost_usd"),
    "notional_cost_usd": Field("usd?", "what calls on a subscription would have cost"),
}
_CONVERSATION = Field("text", "conversation it belongs to")


def conversations(client: Client) -> list[Operation]:
    """Return the operations for applications: a cost by its id, without any list."""

    def of_conversation(query: Query) -> Mapping[str, Any]:
        return _cost(client, "conversation", {"id": query["conversation_id"]}, query.access)

    def of_message(query: Query) -> Mapping[str, Any]:
        name = query["id"]
        span = LOG_ID.fullmatch(name)
        cost = (
            _cost(client, "span", {"trace_id": span[1], "span_id": span[2]}, query.access)
            if span
            else _cost(client, "message", {"id": name}, query.access)
        )
        return {"id": name, **cost}

    return [
        Operation(
            "/conversations/{conversation_id:path}",
            "conversation_cost",
            "What one conversation cost; 404 if the ledger has no call of it.",
            of_conversation,
            {"conversation_id": _CONVERSATION, **ANSWERED},
            (in_path("conversation_id", "as the calls say it; a slash in it may stay one"),),
        ),
        Operation(
            "/messages/{id:path}",
            "message_cost",
            "What one message cost, by the id the provider gave its answer (kept for 40 days) or by"
            " log_id; 404 if the ledger has no call of it.",
            of_message,
            {"id": Field("text", "the id"), "conversation_id": _CONVERSATION, **ANSWERED},
            (in_path("id", "response id of the provider, such as chatcmpl-..., or log_id"),),
        ),
    ]


def _cost(client: Client, what: str, parameters: dict[str, Any], access: Access) -> dict[str, Any]:
    # All of it or nothing: a part of a conversation's cost would be taken for the whole.
    own = access.condition("calls", "c")
    text, _ = source("calls", Filters(), None, _OF[what])
    selected = f"any(c.conversation_id) AS conversation_id, {SUMS}"
    query = f"SELECT {selected}, countIf(NOT ({own})) AS of_others {text}"
    row = rows(client, query, {**parameters, **access.parameters()})[0]
    if row.pop("of_others") or not row["calls"]:
        noun = "conversation" if what == "conversation" else "message"
        raise HTTPException(404, f"no call of this {noun} is in the ledger")
    return plain(row)
