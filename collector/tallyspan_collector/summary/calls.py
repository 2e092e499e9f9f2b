"""Single calls: pages of them, and one with every entry the ledger has of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clickhouse_connect.driver.client import Client

from tallyspan_collector.summary.asking import rows
from tallyspan_collector.summary.conditions import at, conditions
from tallyspan_collector.summary.cursor import fingerprint, read_cursor, write_cursor
from tallyspan_collector.summary.newest import pieces
from tallyspan_collector.summary.plain import Row
from tallyspan_collector.summary.question import Filters
from tallyspan_collector.summary.times import EPOCH, microseconds


@dataclass(slots=True, frozen=True)
class Column:
    """A field of a call: where it comes from, what kind it is (see api/fields.py), what it says."""

    text: str
    kind: str
    says: str


_COLUMNS: Mapping[str, tuple[str, str, str]] = {
    "log_id": ("log_id", "text", "identity of the call: <trace id>-<span id>"),
    "user_id": ("user_id", "text", "whom the call was made for; empty: nobody said"),
    "department": ("department", "text", "department that pays"),
    "agent_id": ("agent_id", "text", "agent or assistant that made the call"),
    "conversation_id": ("conversation_id", "text", "conversation it belongs to"),
    "model_name": ("model_name", "text", "model used, as the provider names it"),
    "endpoint_id": ("endpoint_id", "text", "endpoint the call went to"),
    "prompt_tokens": ("input_tokens", "count?", "tokens of the prompt, cache included"),
    "completion_tokens": ("output_tokens", "count?", "generated tokens, reasoning included"),
    "total_tokens": ("total_tokens", "count?", "prompt_tokens + completion_tokens"),
    "estimated_cost_usd": ("cost_usd", "usd?", "billed cost in USD; null: not priced"),
    "timestamp": ("start_time", "time", "when the request left the application"),
    "provider": ("provider_name", "text", "provider: openai, anthropic, ..."),
    "service": ("service_name", "text", "service.name of the emitting service"),
    "source": ("source", "text", "name of the ingest key that delivered the call"),
    "tenant": ("tenant", "text", "organisation it belongs to"),
    "operation": ("operation_name", "text", "chat, embeddings, ..."),
    "request_model": ("request_model", "text", "model asked for"),
    "service_tier": ("service_tier", "text", "tier the provider served"),
    "is_stream": ("is_stream", "flag", "whether the answer was streamed"),
    "status": ("status", "text", "ok or error"),
    "error_type": ("error_type", "text", "HTTP status or exception; empty when ok"),
    "cache_read_tokens": ("cache_read_tokens", "count?", "part of the prompt read from a cache"),
    "cache_write_tokens": ("cache_write_tokens", "count?", "part written to a cache"),
    "reasoning_tokens": ("reasoning_tokens", "count?", "part of the answer spent on reasoning"),
    "usage_source": ("usage_source", "text", "provider, estimated, unknown or deferred"),
    "cost_status": ("cost_status", "text", "priced, reported, unpriced, not_billed or notional"),
    "unpriced_reason": ("unpriced_reason", "text", "why there is no cost"),
    "notional_cost_usd": ("notional_cost_usd", "usd?", "what a subscription's call had cost"),
    "price_id": ("price_id", "text", "price that was used"),
    "price_source": ("price_source", "text", "where that price comes from"),
    "duration_us": ("duration_us", "count", "request to last byte, in microseconds"),
    "tags": ("tags", "map", "free tags of the span"),
    "quality_flags": ("quality_flags", "texts", "what is doubtful about the call"),
    "response_id": ("response_id", "text", "id the provider gave its answer, kept for 45 days"),
}
CALL_COLUMNS: Mapping[str, Column] = {name: Column(*said) for name, said in _COLUMNS.items()}
ENTRY_COLUMNS: Mapping[str, Column] = {
    "entry_kind": Column("toString(entry_kind)", "text", "call, reversal or price_change"),
    "sign": Column("sign", "integer", "calls it adds: 1, -1 or 0"),
    "cost_usd": Column("cost_usd", "usd?", "what it adds to the cost in USD"),
    "cost_status": Column("toString(cost_status)", "text", "the call's state with this entry"),
    "price_id": Column("toString(price_id)", "text", "price that was used"),
    "input_tokens": Column("input_tokens", "integer?", "prompt tokens it adds"),
    "output_tokens": Column("output_tokens", "integer?", "generated tokens it adds"),
    "booked_at": Column("ingested_at", "time", "when it was booked"),
}


def entries(
    client: Client, filters: Filters, limit: int, cursor: str | None = None
) -> tuple[list[Row], str | None]:
    """Return calls, newest first, and the cursor of the next page; None: that was the last.

    Calls that arrive between two pages shift nothing: a page begins after the last call of the
    page before it, not at a number. Raises RequestError for a cursor that is not ours.
    """
    where, parameters = conditions(filters)
    question = fingerprint(filters)
    before = None
    if cursor is not None:
        after_us, after_log_id = read_cursor(cursor, question, (int, str))
        parameters |= {"after_us": after_us, "after_log_id": after_log_id}
        # The first comparison is implied by the second; it alone can skip whole granules.
        where += (
            f" AND c.start_time <= {at('after_us')} AND (c.start_time, c.log_id)"
            f" < ({at('after_us')}, {{after_log_id:String}})"
        )
        before = _behind(int(after_us))
    found: list[Row] = []
    for piece, bounds in pieces(client, filters, before, limit + 1):
        found += rows(
            client,
            f"SELECT {_selected(CALL_COLUMNS)} FROM calls AS c WHERE {where} AND {piece}"  # noqa: S608  closed tables only
            " ORDER BY c.start_time DESC, c.log_id DESC LIMIT {row_limit:UInt32}",
            {**parameters, **bounds, "row_limit": limit + 1 - len(found)},
        )
        if len(found) > limit:
            break
    page = [_in_utc(row, "timestamp") for row in found[:limit]]
    if len(found) <= limit:
        return page, None
    last = page[-1]
    return page, write_cursor(question, [microseconds(last["timestamp"]), last["log_id"]])


def one(
    client: Client, trace_id: str, span_id: str, departments: tuple[str, ...] = ()
) -> Row | None:
    """Return a call, None if there is none that the reader may see."""
    where, parameters = conditions(Filters(departments=departments))
    found = rows(
        client,
        f"SELECT {_selected(CALL_COLUMNS)} FROM calls AS c WHERE {where}"  # noqa: S608  closed tables only
        " AND c.trace_id = {trace_id:String} AND c.span_id = {span_id:String}",
        parameters | {"trace_id": trace_id, "span_id": span_id},
    )
    return _in_utc(found[0], "timestamp") if found else None


def booked(client: Client, trace_id: str, span_id: str) -> list[Row]:
    """Return every entry the ledger has of a call, in the order they were booked."""
    found = rows(
        client,
        f"SELECT {_selected(ENTRY_COLUMNS)} FROM llm_calls AS c"  # noqa: S608  closed tables only
        " WHERE toString(c.trace_id) = {trace_id:String} AND c.span_id = {span_id:String}"
        " ORDER BY c.ingested_at, c.entry_kind",
        {"trace_id": trace_id, "span_id": span_id},
    )
    return [_in_utc(row, "booked_at") for row in found]


def _behind(after_us: int) -> datetime | None:
    """Return the end of that microsecond; None for a time that no calendar has."""
    try:
        return EPOCH + timedelta(microseconds=after_us + 1)
    except OverflowError:
        return None


def _selected(columns: Mapping[str, Column]) -> str:
    return ", ".join(
        f"{each.text if '(' in each.text else f'c.{each.text}'} AS {name}"
        for name, each in columns.items()
    )


def _in_utc(row: Row, name: str) -> Row:
    moment: datetime = row[name]
    return row | {name: moment.replace(tzinfo=UTC)}
