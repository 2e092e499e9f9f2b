"""Changes to booked calls are in the ledger once and whole, and in the rollups too.

As with batches of new calls: a server that dies in an INSERT may keep part of it, or its token
without its rows, or its rows without those of a rollup.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog
from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import one_number, rows_of
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.repair import repair
from tallyspan_collector.ledger.exactly_once import EXACTLY_ONCE

MAX_REPAIRS = 5
BROKEN_OFF_DAYS = 7
"""So long rollups are compared again for a run that was broken off."""
_IDENTITY = ("trace_id", "span_id", "entry_kind", "sign", "department")
_log = structlog.get_logger()


def insert_all(client: Client, batch_id: int, token: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert the entries as one batch, count them, and add those that the store lost.

    The same batch again adds nothing. Raises StoreError if the store goes on losing them.
    """
    _insert(client, batch_id, token, rows)
    stored = _stored(client, batch_id)
    if stored == len(rows):
        return
    for attempt in range(1, MAX_REPAIRS + 1):
        missing = _missing(client, batch_id, rows)
        _log.warning("correction.repaired", batch_id=batch_id, lost=len(missing), attempt=attempt)
        if missing:
            _insert(client, batch_id, f"{token}:r{attempt}", missing)
        if (stored := _stored(client, batch_id)) == len(rows):
            repair(client, [batch_id])
            return
    raise StoreError(f"batch {batch_id} of corrections has {stored} entries instead of {len(rows)}")


def repair_broken_off(client: Client, audit_table: str) -> None:
    """Make the rollups right that a run left behind which began and did not finish.

    Its entries are completed by the next run; what a dying server left out of a rollup is not.
    """
    begun = rows_of(
        client,
        "SELECT groupArray(began) FROM (SELECT min(started_at) AS began"  # noqa: S608  own names
        f" FROM {audit_table} WHERE started_at > now() - INTERVAL {BROKEN_OFF_DAYS} DAY"
        " GROUP BY run_id HAVING countIf(state = 'finished') = 0)",
    )
    if not begun:
        return
    since: datetime = min(begun)
    batches = rows_of(
        client,
        "SELECT groupUniqArray(batch_id) FROM llm_calls"
        " WHERE entry_kind NOT IN ('call', 'reversal')"
        " AND ingested_at >= {since:DateTime64(3, 'UTC')} - INTERVAL 1 MINUTE",
        {"since": since},
    )
    if batches and (rows := repair(client, batches).rows):
        _log.warning("correction.rollups_repaired", batch_ids=batches, rows=rows)


def _insert(client: Client, batch_id: int, token: str, rows: Sequence[dict[str, Any]]) -> None:
    names = [*rows[0]]
    client.insert(
        "llm_calls",
        [[*(row[name] for name in names), batch_id] for row in rows],
        column_names=[*names, "batch_id"],
        settings={**EXACTLY_ONCE, "insert_deduplication_token": token},
    )


def _stored(client: Client, batch_id: int) -> int:
    return one_number(
        client,
        "SELECT count() FROM llm_calls WHERE batch_id = {batch:UInt64}"
        " SETTINGS select_sequential_consistency = 1",
        {"batch": batch_id},
    )


def _missing(client: Client, batch_id: int, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    existing = Counter(
        tuple(_plain(value) for value in row)
        for row in client.query(
            f"SELECT {', '.join(_IDENTITY)} FROM llm_calls"  # noqa: S608  own names
            " WHERE batch_id = {batch:UInt64}",
            parameters={"batch": batch_id},
        ).result_rows
    )
    missing = []
    for row in rows:
        identity = tuple(_plain(row.get(name, "")) for name in _IDENTITY)
        if existing[identity]:
            existing[identity] -= 1
        else:
            missing.append(row)
    return missing


def _plain(value: object) -> object:
    """Return the value as it compares: an id of fixed length is bytes in the ledger."""
    return value.decode().rstrip("\0") if isinstance(value, bytes) else value
