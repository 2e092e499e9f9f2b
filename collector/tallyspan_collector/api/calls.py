"""One conversation with its calls; one call with its entries in the ledger."""

from collections.abc import Callable, Mapping
from typing import Any

from clickhouse_connect.driver.client import Client
from starlette.exceptions import HTTPException

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_clickhouse.moments import microseconds
from tallyspan_collector.api.conversations import LOG_ID
from tallyspan_collector.api.fields import Field, Fields, record_of, rows_of
from tallyspan_collector.api.names import PAGE_SIZE
from tallyspan_collector.api.operation import Operation, Query
from tallyspan_collector.api.parameters import in_path
from tallyspan_collector.api.token_usage import CALL, CURSOR, MEASURED, NEXT
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.explanation import explanation
from tallyspan_collector.pricing.match import Kind
from tallyspan_collector.pricing.steps import StepKind
from tallyspan_collector.summary import Filters, RequestError, entries, plain, totals
from tallyspan_collector.summary.calls import ENTRY_COLUMNS, booked, measured, one
from tallyspan_collector.summary.rows import Row

ENTRY: Fields = {name: Field(kind, text) for name, (_, kind, text) in ENTRY_COLUMNS.items()}


_ORIGIN: Fields = {
    "file": Field("text", "price file, or release of the price data"),
    "line": Field("count", "where it begins in the file; 0: it has no line"),
    "source": Field("text", "where the figure comes from; empty: the file does not say"),
    "checked": Field("text", "when that was checked"),
    "evidence": Field("text", "how sure it is: H, M or L"),
    "note": Field("text", "what else the line says"),
}
_EXPLANATION: Fields = {
    "log_id": Field("text", "identity of the call"),
    "meters": Field("amounts", "what was used: meter -> amount; what nobody stated is not there"),
    "conditions": Field("map", "what the price depends on beside model and tier"),
    "service_tier": Field("text", "served tier; empty: not stated"),
    "cost_usd": Field("usd?", "what it costs; null: not priced"),
    "cost_status": Field("text", "priced, reported, unpriced, not_billed or notional"),
    "unpriced_reason": Field("text", "why there is no cost"),
    "price_id": Field("text", "price that was used"),
    "price_source": Field("text", "where that comes from"),
    "steps": rows_of(
        "how the price is made, in order; empty where the prices of today differ",
        {
            "kind": Field("text", ", ".join(StepKind)),
            "text": Field("text", "the step in words"),
            "amount": Field("text", "its figure or name"),
            "meter": Field("text", "what a fee or an allowance is of"),
            "about": Field("map", "the conditions it is for"),
            "since": Field("text", "since when it holds; empty: always"),
            "origin": Field("record?", "the line it comes from; null: none", _ORIGIN),
        },
    ),
    "arithmetic": Field("texts", "the cost as a sum of amount times price"),
    "price_flags": Field("texts", "what is undecided about the price"),
    "other_cost_usd": Field("usd?", "the cost if that is decided the other way"),
    "quality_flags": Field("texts", "what is doubtful about the call"),
    "unread": Field("texts", "places in the usage that no rule reads"),
}


def calls(client: Client, book: Callable[[], PriceBook]) -> list[Operation]:
    """Return the operations of single conversations and calls.

    `book` is called for each explanation, since price files may change.
    """

    def conversation(query: Query) -> Mapping[str, Any]:
        name = query["conversation_id"]
        filters = Filters(conversation_id=name, access=query.access)
        rows, following = entries(client, filters, query["limit"], query["cursor"])
        if not rows and query["cursor"] is None:
            raise HTTPException(404, "no call of this conversation is in the ledger")
        return {
            "conversation_id": name,
            "totals": plain(totals(client, filters)),
            "calls": [plain(row) for row in rows],
            "next_cursor": following,
        }

    def call(query: Query) -> Mapping[str, Any]:
        trace_id, span_id = _ids(query)
        row = one(client, trace_id, span_id, query.access)
        if row is None:
            raise HTTPException(404, _NO_CALL)
        return {
            "call": plain(row),
            "entries": [plain(row) for row in booked(client, trace_id, span_id, row)],
        }

    def explained(query: Query) -> Mapping[str, Any]:
        row = measured(client, *_ids(query), query.access)
        if row is None:
            raise HTTPException(404, _NO_CALL)
        return _explained(row, book())

    return [
        Operation(
            "/conversations/{conversation_id:path}",
            "conversation",
            "One conversation: what it comes to, and its calls, newest first.",
            conversation,
            {
                "conversation_id": Field("text", "its id"),
                "totals": record_of("over all its calls", MEASURED),
                "calls": rows_of("a page of them", CALL),
                "next_cursor": NEXT,
            },
            (in_path("conversation_id", "as the calls say it"), PAGE_SIZE, CURSOR),
            table="calls",
        ),
        Operation(
            "/calls/{log_id}",
            "call",
            "One call, and the entries of the ledger that its figures are the sum of.",
            call,
            {
                "call": record_of("the call, net", CALL),
                "entries": rows_of("booking, reversals, price changes, in their order", ENTRY),
            },
            (in_path("log_id", "<trace id>-<span id>"),),
            table="entries",
        ),
        Operation(
            "/calls/{log_id}/explanation",
            "call_explanation",
            "Why a call costs what it costs: meters, conditions, how its price was made, doubts.",
            explained,
            _EXPLANATION,
            (in_path("log_id", "<trace id>-<span id>"),),
        ),
    ]


_NO_CALL = "no such call is in the ledger"


def _ids(query: Query) -> tuple[str, str]:
    """Return trace and span id of the request. Raises RequestError."""
    span = LOG_ID.fullmatch(query["log_id"])
    if span is None:
        raise RequestError("log_id must be <trace id>-<span id>, 32 and 16 hexadecimal digits")
    return span[1], span[2]


def _explained(row: Row, book: PriceBook) -> Mapping[str, Any]:
    usage = Usage(**{name: row[name] for name in TOKEN_FIELDS})
    counts = {name: row[name] for name in TOKEN_FIELDS if row[name] is not None}
    is_notional = row["cost_status"] == "notional"
    why = explanation(
        book,
        Kind(row["provider_name"], row["endpoint_id"], row["model_name"], row["service_tier"],
             tuple(row["conditions"].items())),
        microseconds(row["start_time"]) * 1000,
        (usage, row["meters"]),
        (row["cost_status"], row["price_id"],
         row["notional_cost_usd"] if is_notional else row["cost_usd"]),
    )  # fmt: skip
    shown = {name: row[name] for name in _EXPLANATION if name in row}
    return plain({**shown, "meters": {**counts, **row["meters"]}, **why})
