"""The reader of booked calls, and the writer of the entries that change them."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.moments import microseconds, sql_moment, utc
from tallyspan_clickhouse.schema import SCHEMA
from tallyspan_clickhouse.schema_types import Net
from tallyspan_collector.booked.certain import insert_all

COSTS = ("cost_usd", "input_cost_usd", "output_cost_usd", "cache_saved_usd")
UNPRICED = ("unpriced_calls", "unpriced_tokens")
AMOUNTS = (*SCHEMA.netted(Net.SUM), *UNPRICED)
"""Columns that add up over the entries of a call."""
KEY = SCHEMA.netted(Net.KEY)
"""Columns that all entries of one call have in common."""
LAST = "last_entry_at"
"""When the call's latest entry was booked (UTC)."""
COUNT = "entry_count"
"""How many entries the call has."""
_OF_THE_ENTRY = {*KEY, *AMOUNTS, "entry_kind", "sign", "collector", "batch_id", "ingested_at"}
_COPIED = [each.name for each in SCHEMA.columns if each.name not in _OF_THE_ENTRY]
_IDENTITY = (*KEY, *AMOUNTS, "sign", "price_id")
_NO_AMOUNTS = {**dict.fromkeys(AMOUNTS), **dict.fromkeys(UNPRICED, 0)}
_MILLISECOND = timedelta(milliseconds=1)
Row = dict[str, Any]


class Change(NamedTuple):
    """A call as the ledger has it, and the entries that change it."""

    call: Row
    entries: Sequence[Row]


def calls(
    client: Client,
    where: str,
    having: str,
    parameters: Mapping[str, Any],
    more: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
) -> Iterator[Row]:
    """Yield calls, each with its columns, the sums of its `AMOUNTS`, `LAST` and `COUNT`.

    `where`, `having` and `more` (further columns, name -> SQL) are SQL in which `llm_calls` is
    `l`; they must not contain user input, which goes into `parameters`. `only`: the columns and
    amounts that are read beside `KEY`; None: all.
    """
    copied = [f"{latest(f'l.{each}')} AS {each}" for each in _COPIED if not only or each in only]
    sums = [f"sum(l.{name}) AS {name}" for name in AMOUNTS if not only or name in only]
    keys = [f"l.{name} AS {name}" for name in KEY]
    others = [f"{text} AS {name}" for name, text in (more or {}).items()]
    state = [f"max(l.ingested_at) AS {LAST}", f"count() AS {COUNT}"]
    query = (  # names come from the schema, user input is bound
        f"SELECT {', '.join([*keys, *copied, *sums, *state, *others])}"  # noqa: S608
        f" FROM llm_calls AS l WHERE {where}"
        f" GROUP BY {', '.join('l.' + name for name in KEY)}"
        f" HAVING {having} ORDER BY l.start_time, l.trace_id, l.span_id"
    )
    with client.query_row_block_stream(query, parameters=dict(parameters)) as blocks:
        names = blocks.source.column_names
        for block in blocks:
            for values in block:
                row = dict(zip(names, values, strict=True))
                for name in ("start_time", LAST):
                    row[name] = utc(row[name])
                yield row


def latest(text: str) -> str:
    """Return SQL of what the newest entry of a call `l` has that takes nothing back."""
    return f"argMaxIf({text}, l.ingested_at, l.sign >= 0)"


def calls_by_day(
    client: Client,
    start: datetime,
    end: datetime,
    where: Sequence[str],
    having: str,
    parameters: Mapping[str, Any],
    more: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
) -> Iterator[Row]:
    """Yield calls from `start` until before `end`, as `calls` does; all of `where` must hold.

    The store groups one day (UTC) at a time, because all groups of a query are in its memory.
    """
    span = f"l.start_time >= {sql_moment('start')} AND l.start_time < {sql_moment('end')}"
    condition = " AND ".join([span, *where])
    rows = client.query(
        "SELECT DISTINCT toDate32(l.start_time, 'UTC') AS day FROM llm_calls AS l"  # noqa: S608  bound
        f" WHERE {condition} ORDER BY day",
        parameters={**parameters, "start": microseconds(start), "end": microseconds(end)},
    ).result_rows
    for (day,) in rows:
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        bounds = {
            "start": microseconds(max(midnight, start)),
            "end": microseconds(min(midnight + timedelta(days=1), end)),
        }
        yield from calls(client, condition, having, {**parameters, **bounds}, more, only)


def models_like(client: Client, start: datetime, end: datetime, pattern: str) -> list[str]:
    """Return the models with entries from `start` until before `end` that a glob fits."""
    rows = client.query(
        "SELECT DISTINCT model_name FROM llm_calls"  # noqa: S608  what is formatted in is bound
        f" WHERE start_time >= {sql_moment('start')} AND start_time < {sql_moment('end')}",
        parameters={"start": microseconds(start), "end": microseconds(end)},
    ).result_rows
    low = pattern.lower()
    return [str(name) for (name,) in rows if fnmatchcase(str(name).lower(), low)]


def entry(call: Row, entry_kind: str, sign: int) -> Row:
    """Return an entry of the call with its amounts (`sign` 1), negated (-1), or without any (0).

    Columns that are to differ from the call's are set by the caller.
    """
    row = call.copy()
    del row[COUNT]
    # The latest entry says what a call is now, so this one must not be before those it follows.
    row["ingested_at"] = max(STORE_CLOCK.now(), row.pop(LAST) + _MILLISECOND)
    row["entry_kind"], row["sign"] = entry_kind, sign
    if sign == 0:
        row |= _NO_AMOUNTS
    if sign < 0:
        row |= {name: None if row[name] is None else -row[name] for name in AMOUNTS}
        row["meters"] = {name: -count for name, count in row["meters"].items()}
    return row


def entry_of_no_call(entry_kind: str, columns: Row) -> Row:
    """Return an entry that belongs to no call and counts none: `columns`, and nothing else."""
    return {
        **dict.fromkeys(KEY, ""),
        **_NO_AMOUNTS,
        "entry_kind": entry_kind,
        "sign": 0,
        "status": "ok",
        "ingested_at": STORE_CLOCK.now(),
        **columns,
    }


def book(client: Client, name: str, changes: Sequence[Change]) -> None:
    """Insert the entries of the changes as one batch; the same batch again adds nothing.

    The number of entries a call has is part of the batch's identity: a price that changes to and
    fro is booked each time. `name` is that of the kind of change.
    """
    content = [
        (change.call[COUNT], [[row[name] for name in _IDENTITY] for row in change.entries])
        for change in changes
    ]
    digest = hashlib.blake2b(repr(content).encode(), digest_size=16)
    batch_id = int.from_bytes(digest.digest()[:8])
    rows = [row for change in changes for row in change.entries]
    insert_all(client, batch_id, f"{name}:{digest.hexdigest()}", rows)
