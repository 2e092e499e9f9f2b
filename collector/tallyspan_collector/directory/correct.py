"""Calls of the past to the department the directory has now: moved by entries, not written over.

A call that is moved is taken back from its old department and booked to the new one, both entries
of the kind `correction`. What was done already differs no more, so a run that was broken off is
simply run again.
"""

import hashlib
import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_clickhouse.ledger_lock import PATIENCE_SECONDS, ledger_lock
from tallyspan_collector.directory.lookup import Directory

BATCH_CALLS = 5_000
SETTLED = timedelta(hours=13)
"""Calls booked later may still be reversed by their collector, from the department they had.

A trace is remembered for up to two of the resolver's windows after its last span.
"""
SETTINGS = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
}
_AMOUNTS = (
    *TOKEN_FIELDS,
    "cost_usd",
    "input_cost_usd",
    "output_cost_usd",
    "reported_cost_usd",
    "claimed_cost_usd",
    "unpriced_tokens",
)
_KEY = (
    "start_time", "tenant", "service_name", "user_id", "department", "agent_id",
    "conversation_id", "provider_name", "endpoint_id", "operation_name", "model_name",
    "trace_id", "span_id",
)  # fmt: skip
"""What the entries of one call have in common."""
_OF_THE_ENTRY = {*_KEY, *_AMOUNTS, "entry_kind", "sign", "unpriced_calls", "batch_id",
                 "ingested_at"}  # fmt: skip
_SELECT = """
SELECT {keys}, {copied}, {sums}, sum(l.unpriced_calls) AS unpriced_calls,
    max(l.ingested_at) AS last_entry_at
FROM llm_calls AS l
WHERE l.start_time >= fromUnixTimestamp64Micro({{first:Int64}}, 'UTC')
    AND l.start_time < fromUnixTimestamp64Micro({{stop:Int64}}, 'UTC')
    AND l.user_id != '' AND (empty({{users:Array(String)}}) OR l.user_id IN {{users:Array(String)}})
GROUP BY {grouped}
HAVING sum(l.sign) > 0
ORDER BY l.start_time, l.trace_id, l.span_id"""
Row = dict[str, Any]


@dataclass(slots=True)
class Total:
    """Calls that move, and their cost in USD."""

    calls: int = 0
    cost_usd: Decimal = Decimal(0)


@dataclass(slots=True)
class Result:
    """What a run did, or would do, by user, old and new department; and what it left alone."""

    moved: defaultdict[tuple[str, str, str], Total] = field(
        default_factory=lambda: defaultdict(Total)
    )
    total: Total = field(default_factory=Total)
    named_by_span: int = 0
    not_settled: int = 0
    not_in_directory: int = 0


@dataclass(frozen=True, slots=True)
class Scope:
    """Which calls: of these users (none: of all), on these days (UTC), both included."""

    users: tuple[str, ...]
    first: date
    last: date
    with_named: bool = False
    """Whether departments that the spans themselves named are corrected too."""


def run(
    client: Client,
    directory: Directory,
    scope: Scope,
    *,
    is_applied: bool,
    changed_by: str = "",
    reason: str = "",
    now: datetime | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Result:
    """Return what the directory would change; with `is_applied` it is booked and audited.

    One run at a time books, whichever machine it is on: two would both take a call back. Raises
    StoreError if another one still does after the patience, and what the store raises.
    """
    result = Result()
    audit = _Audit(client, scope, changed_by, reason)
    lock = ledger_lock(client, "directory correct", patience_seconds)
    with lock if is_applied else nullcontext() as held:
        for day in _days(client, scope):
            moves = _moves(client, directory, scope, day, now, result)
            while batch := list(islice(moves, BATCH_CALLS)):
                for row, department in batch:
                    key = (row["user_id"], row["department"], department)
                    for total in (result.moved[key], result.total):
                        total.calls += 1
                        total.cost_usd += row["cost_usd"] or 0
                if held is not None:
                    held.keep()
                    audit.begin()
                    _book(client, batch)
            if held is not None:
                held.keep()
        if held is not None and result.total.calls:
            audit.end(result)
    return result


def _days(client: Client, scope: Scope) -> Iterator[date]:
    rows = client.query(
        "SELECT DISTINCT toDate32(start_time) AS day FROM llm_calls"
        " WHERE day BETWEEN {first:Date32} AND {last:Date32} ORDER BY day",
        parameters={"first": scope.first, "last": scope.last},
    ).result_rows
    for (day,) in rows:
        yield day


def _moves(
    client: Client,
    directory: Directory,
    scope: Scope,
    day: date,
    now: datetime | None,
    result: Result,
) -> Iterator[tuple[Row, str]]:
    settled_before = (now or datetime.now(UTC)) - SETTLED
    for row in _calls(client, scope, day):
        at_ns = _microseconds(row["start_time"]) * 1_000
        department = directory.department(row["tenant"], row["user_id"], at_ns)
        if not department:
            result.not_in_directory += 1
        elif department == row["department"]:
            continue
        elif not scope.with_named and _is_named(row):
            result.named_by_span += 1
        elif row["last_entry_at"] > settled_before:
            result.not_settled += 1
        else:
            yield row, department


def _is_named(row: Mapping[str, Any]) -> bool:
    # Before the source was kept, a department can only have come by the span or its key.
    return row["department_source"] == "span" or bool(
        row["department"] and not row["department_source"]
    )


def _calls(client: Client, scope: Scope, day: date) -> Iterator[Row]:
    columns = client.query(
        "SELECT name FROM system.columns WHERE database = currentDatabase()"
        " AND table = 'llm_calls' ORDER BY position"
    ).result_rows
    copied = [str(name) for (name,) in columns if name not in _OF_THE_ENTRY]
    query = _SELECT.format(
        keys=", ".join(f"l.{name} AS {name}" for name in _KEY),
        copied=", ".join(
            f"argMaxIf(l.{name}, l.ingested_at, l.sign >= 0) AS {name}" for name in copied
        ),
        sums=", ".join(f"sum(l.{name}) AS {name}" for name in _AMOUNTS),
        grouped=", ".join(f"l.{name}" for name in _KEY),
    )
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    bounds = {
        "first": _microseconds(midnight),
        "stop": _microseconds(midnight + timedelta(days=1)),
        "users": list(scope.users),
    }
    with client.query_row_block_stream(query, parameters=bounds) as blocks:
        names = blocks.source.column_names
        for block in blocks:
            for values in block:
                yield dict(zip(names, values, strict=True))


def _book(client: Client, moves: Sequence[tuple[Row, str]]) -> None:
    said = [
        (row["trace_id"], row["span_id"], row["department"], department, row["last_entry_at"])
        for row, department in moves
    ]
    digest = hashlib.blake2b(repr(said).encode(), digest_size=16)
    shared = {
        "entry_kind": "correction",
        "batch_id": int.from_bytes(digest.digest()[:8]),
        "ingested_at": datetime.now(UTC),
    }
    entries: list[Row] = []
    for row, department in moves:
        call = {name: value for name, value in row.items() if name != "last_entry_at"} | shared
        moved = {"department": department, "department_source": "directory"}
        entries += [
            call | {name: _negated(call[name]) for name in (*_AMOUNTS, "unpriced_calls")}
            | {"sign": -1, "units": {name: -units for name, units in call["units"].items()}},
            call | {"sign": 1} | moved,
        ]  # fmt: skip
    names = list(entries[0])
    client.insert(
        "llm_calls",
        [[entry[name] for name in names] for entry in entries],
        column_names=names,
        settings={**SETTINGS, "insert_deduplication_token": f"correct:{digest.hexdigest()}"},
    )


def _negated(amount: Any) -> Any:
    return None if amount is None else -amount


class _Audit:
    """Writes of a run before its first entry that it began, and at the end what it did."""

    def __init__(self, client: Client, scope: Scope, changed_by: str, reason: str) -> None:
        self._client = client
        self._has_begun = False
        self._row: Row = {
            "run_id": secrets.token_hex(8),
            "started_at": datetime.now(UTC),
            "changed_by": changed_by,
            "reason": reason,
            "users": list(scope.users),
            "calls_from": scope.first,
            "calls_to": scope.last,
        }

    def begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._write("begun", Total())

    def end(self, result: Result) -> None:
        self._write("finished", result.total)

    def _write(self, state: str, total: Total) -> None:
        said = {
            "state": state,
            "written_at": datetime.now(UTC),
            "calls": total.calls,
            "cost_usd": total.cost_usd,
        }
        row = self._row | said
        self._client.insert(
            "directory_corrections",
            [list(row.values())],
            column_names=list(row),
            settings={"async_insert": 0},
        )


def _microseconds(at: datetime) -> int:
    return (at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
