"""Booked calls as `llm_calls` has them, and entries that change what they cost."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan.usage import TOKEN_FIELDS

COSTS = ("cost_usd", "input_cost_usd", "output_cost_usd")
SETTINGS = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
}
KEY = (
    "start_time",
    "tenant",
    "service_name",
    "user_id",
    "department",
    "agent_id",
    "conversation_id",
    "provider_name",
    "endpoint_id",
    "operation_name",
    "model_name",
    "trace_id",
    "span_id",
)
"""What the entries of one call have in common."""
LAST = "last_entry_at"
"""When the call's latest entry was booked."""
_OF_THE_ENTRY = frozenset(
    {
        *KEY,
        *COSTS,
        *TOKEN_FIELDS,
        "entry_kind",
        "sign",
        "reported_cost_usd",
        "claimed_cost_usd",
        "unpriced_calls",
        "unpriced_tokens",
        "batch_id",
        "ingested_at",
    }
)
Row = dict[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(parameter: str) -> str:
    """Return the SQL of a moment that is bound as `micros`.

    An integer, because a bound time is read in the zone of the server or of this machine.
    """
    return f"fromUnixTimestamp64Micro({{{parameter}:Int64}}, 'UTC')"


def micros(moment: datetime) -> int:
    """Return microseconds since 1970 of an aware time."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def utc(moment: datetime) -> datetime:
    """Return a time that was read from the store as aware UTC: the driver leaves the zone out."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def calls(
    client: Client,
    where: str,
    having: str,
    parameters: Mapping[str, Any],
    more: Mapping[str, str] | None = None,
) -> Iterator[Row]:
    """Yield calls, each with all its columns, net sums and `LAST`; `llm_calls` is `l`.

    `more` are further columns, name -> text. The texts must hold nothing a person typed.
    """
    picked = [
        f"argMaxIf(l.{name}, l.ingested_at, l.sign >= 0) AS {name}"
        for name in _columns(client)
        if name not in _OF_THE_ENTRY
    ]
    sums = [f"sum(l.{name}) AS {name}" for name in (*TOKEN_FIELDS, *COSTS)]
    keys = [f"l.{name} AS {name}" for name in KEY]
    others = [f"{text} AS {name}" for name, text in (more or {}).items()]
    selected = ", ".join([*keys, *picked, *sums, f"max(l.ingested_at) AS {LAST}", *others])
    query = (  # names come from the table itself, what a person typed is bound
        f"SELECT {selected} FROM llm_calls AS l WHERE {where}"  # noqa: S608
        f" GROUP BY {', '.join('l.' + name for name in KEY)}"
        f" HAVING {having} ORDER BY l.start_time, l.trace_id, l.span_id"
    )
    with client.query_row_block_stream(query, parameters=dict(parameters)) as blocks:
        names = blocks.source.column_names
        for block in blocks:
            for values in block:
                row = dict(zip(names, values, strict=True))
                yield row | {name: utc(row[name]) for name in ("start_time", LAST)}


def change_of(row: Row) -> Row:
    """Return an entry that adds nothing to the call; amounts and the price are to be set."""
    return (
        {name: value for name, value in row.items() if name != LAST}
        | dict.fromkeys(TOKEN_FIELDS)
        | {
            "entry_kind": "price_change",
            "sign": 0,
            "reported_cost_usd": None,
            "claimed_cost_usd": None,
        }
    )


def book(client: Client, rows: Sequence[Row], after: Sequence[datetime]) -> None:
    """Insert the entries as one batch; the same batch twice is once.

    `after` is when the entry was booked that each comes after: prices may go to and fro, and each
    time counts.
    """
    said = [
        (row["trace_id"], row["span_id"], row["price_id"], row["cost_usd"], last)
        for row, last in zip(rows, after, strict=True)
    ]
    digest = hashlib.blake2b(repr(said).encode(), digest_size=16)
    batch_id = int.from_bytes(digest.digest()[:8])
    names = [*rows[0].keys() - {"batch_id"}]
    client.insert(
        "llm_calls",
        [[*(row[name] for name in names), batch_id] for row in rows],
        column_names=[*names, "batch_id"],
        settings={**SETTINGS, "insert_deduplication_token": f"price:{digest.hexdigest()}"},
    )


def _columns(client: Client) -> list[str]:
    rows = client.query(
        "SELECT name FROM system.columns WHERE database = currentDatabase()"
        " AND table = 'llm_calls' ORDER BY position"
    ).result_rows
    return [str(name) for (name,) in rows]
