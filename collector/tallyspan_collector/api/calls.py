"""One conversation with its calls; one call with every entry the ledger has of it."""

from collections.abc import Mapping
from typing import Any

from clickhouse_connect.driver.client import Client
from starlette.exceptions import HTTPException

from tallyspan_collector.api.conversations import LOG_ID
from tallyspan_collector.api.fields import Field, Fields, record_of, rows_of
from tallyspan_collector.api.groups import LIMIT
from tallyspan_collector.api.operation import Asked, Operation
from tallyspan_collector.api.parameters import in_path
from tallyspan_collector.api.token_usage import CALL, CURSOR, MEASURED, NEXT
from tallyspan_collector.summary import Filters, RequestError, entries, plain, totals
from tallyspan_collector.summary.calls import ENTRY_COLUMNS, booked, one

ENTRY: Fields = {name: Field(kind, text) for name, (_, kind, text) in ENTRY_COLUMNS.items()}


def calls(client: Client) -> list[Operation]:
    """Return the operations that go down to single calls."""

    def conversation(asked: Asked) -> Mapping[str, Any]:
        name = asked["conversation_id"]
        chosen = Filters(conversation_id=name, access=asked.access)
        rows, following = entries(client, chosen, asked["limit"], asked["cursor"])
        if not rows and asked["cursor"] is None:
            raise HTTPException(404, "no call of this conversation is in the ledger")
        return {
            "conversation_id": name,
            "totals": plain(totals(client, chosen)),
            "calls": [plain(row) for row in rows],
            "next_cursor": following,
        }

    def call(asked: Asked) -> Mapping[str, Any]:
        span = LOG_ID.fullmatch(asked["log_id"])
        if span is None:
            raise RequestError("log_id must be <trace id>-<span id>, 32 and 16 hexadecimal digits")
        found = one(client, span[1], span[2], asked.access)
        if found is None:
            raise HTTPException(404, "no such call is in the ledger")
        return {
            "call": plain(found),
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
            (in_path("conversation_id", "as the calls say it"), LIMIT, CURSOR),
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
