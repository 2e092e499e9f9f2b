"""Every entry the ledger has of a trace."""

from datetime import UTC

from clickhouse_connect.driver.client import Client

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.summary.asking import rows
from tallyspan_collector.summary.plain import Row

_TEXTS = (
    "entry_kind", "trace_id", "span_id", "provider_name", "endpoint_id", "server_address",
    "operation_name", "request_model", "model_name", "service_tier", "user_id", "department",
    "conversation_id", "cost_status", "unpriced_reason", "price_id", "price_source", "scope_name",
    "source",
)  # fmt: skip
_OTHERS = (
    "sign", *TOKEN_FIELDS, "units", "quality_flags", "cost_usd", "input_cost_usd",
    "output_cost_usd", "is_notional", "batch_id", "start_time", "ingested_at",
)  # fmt: skip


def entries_of_trace(client: Client, trace_id: str) -> list[Row]:
    """Return the entries of a trace (32 lower-case hex digits), in the order they were booked.

    Of a client that may read `llm_calls`; within a batch what is taken back comes first.
    """
    picked = [f"toString(c.{name}) AS {name}" for name in _TEXTS]
    picked += [f"c.{name} AS {name}" for name in _OTHERS]
    found = rows(
        client,
        f"SELECT {', '.join(picked)} FROM llm_calls AS c"  # noqa: S608  closed tables only
        " WHERE toString(c.trace_id) = {trace_id:String}"
        " ORDER BY c.ingested_at, c.batch_id, c.sign, c.start_time, c.span_id",
        {"trace_id": trace_id},
    )
    return [
        row | {name: row[name].replace(tzinfo=UTC) for name in ("start_time", "ingested_at")}
        for row in found
    ]
