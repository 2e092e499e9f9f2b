"""One conversation with its calls; one call with its entries in the ledger."""

from collections.abc import Mapping
from typing import Any

from clickhouse_connect.driver.client import Client
from starlette.exceptions import HTTPException

from tallyspan_collector.api.conversations import LOG_ID
from tallyspan_collector.api.fields import Field, Fields, record_of, rows_of
from tallyspan_collector.api.names import PAGE_SIZE
from tallyspan_collector.api.operation import Operation, Query
from tallyspan_collector.api.parameters import in_path
from tallyspan_collector.api.token_usage import CALL, CURSOR, MEASURED, NEXT
from tallyspan_collector.summary import Filters, RequestError, entries, plain, totals
from tallyspan_collector.summary.calls import ENTRY_COLUMNS, booked, one

ENTRY: Fields = {name: Field(kind, text) for name, (_, kind, text) in ENTRY_COLUMNS.items()}


def calls(client: Client) -> list[Operation]:
    """Return the operations of single conversations and calls."""

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
        span = LOG_ID.fullmatch(query["log_id"])
        if span is None:
            raise RequestError("log_id must be <trace id>-<span id>, 32 and 16 hexadecimal digits")
        row = one(client, span[1], span[2], query.access)
        if row is None:
            raise HTTPException(404, "no such call is in the ledger")
        return {
            "call": plain(row),
            "entries": [plain(row) for row in booked(client, span[1], span[2])],
        }

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
    ]
