"""Single calls: pages of them, and one with every entry the ledger has of it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from clickhouse_connect.driver.client import Client

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_clickhouse.moments import EPOCH, microseconds, sql_moment
from tallyspan_clickhouse.query.access import EVERYTHING, Access
from tallyspan_clickhouse.query.filters import Filters, source
from tallyspan_clickhouse.schema import LEDGER, SCHEMA
from tallyspan_collector.summary.cursor import fingerprint, read_cursor, write_cursor
from tallyspan_collector.summary.newest import pieces
from tallyspan_collector.summary.rows import Row, rows

CALL_COLUMNS: Mapping[str, str] = {name: each.name for name, each in SCHEMA.call_fields.items()}
"""Field of a call in the API -> column of `calls`."""
ENTRY_COLUMNS: Mapping[str, tuple[str, str, str]] = {
    "entry_kind": ("toString(c.entry_kind)", "text", "call, reversal, price_change or correction"),
    "sign": ("c.sign", "integer", "calls it adds: 1, -1 or 0"),
    "cost_usd": ("c.cost_usd", "usd?", "what it adds to the cost in USD"),
    "cost_status": ("toString(c.cost_status)", "text", "the call's state with this entry"),
    "price_id": ("toString(c.price_id)", "text", "price that was used"),
    "input_tokens": ("c.input_tokens", "integer?", "prompt tokens it adds"),
    "output_tokens": ("c.output_tokens", "integer?", "generated tokens it adds"),
    "booked_at": ("c.ingested_at", "time", "when it was booked"),
}
"""Field of an entry in the API -> its SQL over `llm_calls AS c`, its kind, what it is."""
_TRACE_TEXTS = (
    "entry_kind", "trace_id", "span_id", "provider_name", "endpoint_id", "server_address",
    "operation_name", "request_model", "model_name", "service_tier", "user_id", "department",
    "conversation_id", "cost_status", "unpriced_reason", "price_id", "price_source", "scope_name",
    "source", "tenant",
)  # fmt: skip
_TRACE_VALUES = (
    "sign", *TOKEN_FIELDS, "meters", "conditions", "quality_flags", "cost_usd", "input_cost_usd",
    "output_cost_usd", "price_flags", "other_cost_usd", "is_notional", "batch_id", "start_time",
    "ingested_at", "unread",
)  # fmt: skip
_MEASURED = (
    "log_id", "start_time", "provider_name", "endpoint_id", "model_name", "service_tier",
    *TOKEN_FIELDS, "meters", "conditions", "cost_usd", "notional_cost_usd", "cost_status",
    "unpriced_reason", "price_id", "price_source", "price_flags", "other_cost_usd",
    "quality_flags", "unread",
)  # fmt: skip
_SELECTED = ", ".join(f"c.{column} AS {name}" for name, column in CALL_COLUMNS.items())


def entries(
    client: Client, filters: Filters, limit: int, cursor: str | None = None
) -> tuple[list[Row], str | None]:
    """Return calls, newest first, and the cursor of the next page; None: that was the last.

    Calls that arrive between two pages shift nothing: a page begins after the last call of the
    page before it, not at a number. Raises RequestError for a cursor that is not ours.
    """
    question = fingerprint(filters)
    behind: list[str] = []
    after: dict[str, int | str] = {}
    before = None
    if cursor is not None:
        after_us, after_log_id = read_cursor(cursor, question, (int, str))
        after = {"after_us": after_us, "after_log_id": after_log_id}
        # The first comparison is implied by the second; it alone can skip whole granules.
        behind = [
            f"c.start_time <= {sql_moment('after_us')}",
            f"(c.start_time, c.log_id) < ({sql_moment('after_us')}, {{after_log_id:String}})",
        ]
        before = _behind(int(after_us))
    page: list[Row] = []
    for piece, bounds in pieces(client, filters, before, limit + 1):
        text, parameters = source("calls", filters, "start_time", *behind, piece)
        page += rows(
            client,
            f"SELECT {_SELECTED} {text}"
            " ORDER BY c.start_time DESC, c.log_id DESC LIMIT {row_limit:UInt32}",
            {**parameters, **after, **bounds, "row_limit": limit + 1 - len(page)},
        )
        if len(page) > limit:
            break
    shown = [_in_utc(row, "timestamp") for row in page[:limit]]
    if len(page) <= limit:
        return shown, None
    last = shown[-1]
    return shown, write_cursor(question, [microseconds(last["timestamp"]), last["log_id"]])


def one(client: Client, trace_id: str, span_id: str, access: Access = EVERYTHING) -> Row | None:
    """Return a call, None if there is none that the reader may see."""
    row = _of_call(client, _SELECTED, trace_id, span_id, access)
    return None if row is None else _in_utc(row, "timestamp")


def measured(
    client: Client, trace_id: str, span_id: str, access: Access = EVERYTHING
) -> Row | None:
    """Return what decides and what doubts the cost of a call; None as in `one`."""
    columns = ", ".join(f"c.{name} AS {name}" for name in _MEASURED)
    row = _of_call(client, columns, trace_id, span_id, access)
    return None if row is None else _in_utc(row, "start_time")


def _of_call(
    client: Client, columns: str, trace_id: str, span_id: str, access: Access
) -> Row | None:
    """Return these columns, SQL over `c`, of a call that the reader may see."""
    text, parameters = source(
        "calls",
        Filters(access=access),
        None,
        "c.trace_id = {trace_id:String}",
        "c.span_id = {span_id:String}",
    )
    page = rows(
        client,
        f"SELECT {columns} {text}",
        parameters | {"trace_id": trace_id, "span_id": span_id},
    )
    return page[0] if page else None


def booked(client: Client, trace_id: str, span_id: str, call: Row) -> list[Row]:
    """Return every entry the ledger has of a call, in the order they were booked.

    The ledger knows no reader: `call` is what `one` returned, and only entries of its tenant and
    source are of this call. Whoever sends may use the ids of others.
    """
    selected = ", ".join(f"{text} AS {name}" for name, (text, _, _) in ENTRY_COLUMNS.items())
    page = rows(
        client,
        f"SELECT {selected} FROM {LEDGER} AS c"  # noqa: S608  closed tables only
        " WHERE toString(c.trace_id) = {trace_id:String} AND c.span_id = {span_id:String}"
        " AND c.tenant = {tenant:String} AND c.source = {source:String}"
        " ORDER BY c.ingested_at, c.entry_kind",
        {
            "trace_id": trace_id,
            "span_id": span_id,
            "tenant": call["tenant"],
            "source": call["source"],
        },
    )
    return [_in_utc(row, "booked_at") for row in page]


def entries_of_trace(client: Client, trace_id: str) -> list[Row]:
    """Return the entries of a trace (32 lower-case hex digits), in the order they were booked.

    Of a client that may read the ledger; within a batch what is taken back comes first.
    """
    selected = [f"toString(c.{name}) AS {name}" for name in _TRACE_TEXTS]
    selected += [f"c.{name} AS {name}" for name in _TRACE_VALUES]
    page = rows(
        client,
        f"SELECT {', '.join(selected)} FROM {LEDGER} AS c"  # noqa: S608  closed tables only
        " WHERE toString(c.trace_id) = {trace_id:String}"
        " ORDER BY c.ingested_at, c.batch_id, c.sign, c.start_time, c.span_id",
        {"trace_id": trace_id},
    )
    return [_in_utc(_in_utc(row, "start_time"), "ingested_at") for row in page]


def _behind(after_us: int) -> datetime | None:
    """Return the end of that microsecond; None for a time that no calendar has."""
    try:
        return EPOCH + timedelta(microseconds=after_us + 1)
    except OverflowError:
        return None


def _in_utc(row: Row, name: str) -> Row:
    moment: datetime = row[name]
    return row | {name: moment.replace(tzinfo=UTC)}
