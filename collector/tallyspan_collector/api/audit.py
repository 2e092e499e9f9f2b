"""The audit: who sent which request to this API."""

from collections.abc import Mapping
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.moments import milliseconds
from tallyspan_collector.access import audit
from tallyspan_collector.api.fields import Field, Fields, rows_of
from tallyspan_collector.api.filters import PERIOD, period
from tallyspan_collector.api.operation import Operation, Query
from tallyspan_collector.api.parameters import Parameter, text, whole_number
from tallyspan_collector.api.token_usage import CURSOR, NEXT
from tallyspan_collector.summary import plain
from tallyspan_collector.summary.cursor import fingerprint, read_cursor, write_cursor

_STATUS = whole_number("status", "only what was answered so", 1, 599)
_REQUEST: Fields = {
    "at": Field("time", "when the request came"),
    "key_id": Field("text", "public id of the key, or oidc:<subject>; empty: none that is valid"),
    "key_name": Field("text", "its name"),
    "role": Field("text", "admin or app; empty: refused"),
    "client": Field("text", "address it came from"),
    "method": Field("text", "HTTP method"),
    "path": Field("text", "path"),
    "query": Field("text", "query string as sent; what looks like a key is blacked out"),
    "status": Field("count", "HTTP status of the answer"),
    "rows": Field("count", "rows of the answer"),
    "duration_ms": Field("count", "how long it took, in milliseconds"),
}


def audits(client: Client) -> list[Operation]:
    """Return the operation that reads the audit."""

    def ask(query: Query) -> Mapping[str, Any]:
        start, end = period(query.values)
        chosen = {
            "start": start,
            "end": end,
            "key_name": query["key_name"],
            "status": query["status"],
        }
        question = fingerprint(chosen)
        before = None
        if query["cursor"] is not None:
            at, identity = read_cursor(query["cursor"], question, (int, int))
            before = (int(at), int(identity))
        page_size = query["limit"]
        rows = audit.read(client, **chosen, before=before, max_rows=page_size + 1)
        following = None
        if len(rows) > page_size:
            last = rows[page_size - 1]
            following = write_cursor(question, [milliseconds(last["at"]), last["id"]])
        shown = [plain({name: row[name] for name in _REQUEST}) for row in rows[:page_size]]
        return {"requests": shown, "next_cursor": following}

    return [
        Operation(
            "/audit",
            "audit",
            "Who asked this API for what, newest first; a request is here within two seconds.",
            ask,
            {"requests": rows_of("a row a request", _REQUEST), "next_cursor": NEXT},
            (
                text("key_name", "only requests with this key"),
                Parameter("status", _STATUS.says, _STATUS.schema, _STATUS.read),
                *PERIOD,
                whole_number("limit", "rows a page", 100, 1_000),
                CURSOR,
            ),
            table="requests",
            is_for_all=True,
        )
    ]
