"""A call of LibreChat's ledger as an entry of ours: priced like a span's, known by its `_id`."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tallyspan.usage import Usage
from tallyspan_clickhouse.moments import microseconds, of_nanoseconds
from tallyspan_clickhouse.schema import COLUMNS
from tallyspan_collector.booked import ledger
from tallyspan_collector.booked.imports import Booking
from tallyspan_collector.ledger.covered import covered
from tallyspan_collector.ledger.entry import columns, costs
from tallyspan_collector.librechat.join import message_tag
from tallyspan_collector.librechat.pairs import Pair
from tallyspan_collector.librechat.settings import LedgerImport
from tallyspan_collector.librechat.transactions import IMAGES
from tallyspan_collector.librechat.turns import Turn, origin_of
from tallyspan_collector.read.call import Call, columns_of

SERVICE = "librechat"
KIND = "correction"
"""Kind of the entries: like other bookings of calls that are no collector's."""
_NAMES = [each.name for each in COLUMNS if each.name not in {"collector", "batch_id"}]


def call_of(what: LedgerImport, pair: Pair, turn: Turn) -> Call:
    """Return the call that a pair is."""
    prompt, answer = pair.prompt, pair.answer
    origin = origin_of(pair, turn)
    at_ns = microseconds(pair.at) * 1_000
    tags = {"message_id": message_tag(pair) if prompt.message else "", "call_kind": pair.kind}
    return Call(
        trace_id=trace_of(pair).decode(),
        span_id=span_of(pair).decode(),
        parent_span_id="",
        start_time_ns=at_ns,
        end_time_ns=at_ns,
        provider_name=origin.provider,
        operation_name="generate_content" if pair.kind == IMAGES else "chat",
        request_model=prompt.model,
        endpoint_id=origin.endpoint,
        service_name=SERVICE,
        user_id=what.user_of(prompt),
        agent_id=turn.agent_id,
        agent_name=turn.agent_name,
        conversation_id=prompt.conversation,
        tenant=what.tenant_of(prompt),
        source=what.label,
        tags={name: text for name, text in tags.items() if text},
        usage=Usage(
            input_tokens=origin.input_tokens,
            output_tokens=answer.tokens,
            cache_read_tokens=prompt.cache_read_tokens,
            cache_write_tokens=prompt.cache_write_tokens,
            output_image_tokens=answer.tokens if pair.kind == IMAGES else None,
        ),
        usage_source=origin.usage_source,
        claimed_cost_picousd=pair.value_picousd,
    )


def entries_of(calls: Sequence[Call], booking: Booking, now: datetime) -> list[ledger.Row]:
    """Return the entries that book the calls, in their order."""
    if not calls:
        return []
    calls = covered(calls, booking.prices)
    prices = costs(calls, booking.prices, booking.directory)
    table = columns(columns_of(calls), prices, 0, 0)
    rows = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    return [_entry(call, row, now) for call, row in zip(calls, rows, strict=True)]


def _entry(call: Call, row: dict[str, Any], now: datetime) -> ledger.Row:
    is_unpriced = row["cost_status"] == "unpriced" and not call.is_notional
    tokens = (row["input_tokens"] or 0) + (row["output_tokens"] or 0)
    row |= {
        "start_time": of_nanoseconds(call.start_time_ns),
        "entry_kind": KIND,
        "sign": 1,
        "unpriced_calls": int(is_unpriced),
        "unpriced_tokens": tokens if is_unpriced else 0,
        "ingested_at": now,
    }
    return {name: row[name] for name in _NAMES}


def trace_of(pair: Pair) -> bytes:
    """Return the trace id of a call: that of its turn."""
    prompt = pair.prompt
    return _hex(16, prompt.tenant, prompt.conversation, prompt.message)


def span_of(pair: Pair) -> bytes:
    """Return the span id of a call, which its `_id` alone decides."""
    return _hex(8, pair.prompt.id)


def _hex(size: int, *texts: str) -> bytes:
    digest = hashlib.blake2b("\0".join((SERVICE, *texts)).encode(), digest_size=size)
    return digest.hexdigest().encode()
