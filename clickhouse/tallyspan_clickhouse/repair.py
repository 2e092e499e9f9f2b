"""Rollups follow the ledger by themselves; after a crash they are compared and put right.

A server that dies between the parts of one insert can leave the ledger and a rollup apart. The
difference is added to the rollup, whose figures are sums.
"""

import re
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple, cast

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse import removals
from tallyspan_clickhouse.answers import rows_of
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.retention import expired_until
from tallyspan_clickhouse.schema import CORRECTED, DOUBTFUL, FED_BY_LEDGER, FEEDS, TIMES

SETTLED_SECONDS = 2.0
"""An insert of someone else is for a moment in the ledger and not in the rollup: only differences
that are still the same after this time are repaired."""
MAX_TIMES = 2
"""How often an entry may be in a rollup after crashes."""
_COUNTS = dict.fromkeys(FED_BY_LEDGER, "calls") | {
    CORRECTED: "corrections",
    DOUBTFUL: "entries",
}
"""Tables that the ledger feeds -> their column that counts its entries."""
Row = tuple[object, ...]


class Repair(NamedTuple):
    """How many rows of rollups were wrong and are right; and the days (UTC) not compared.

    Of these days entries are gone from the ledger, by archive, by TTL, or by nobody knows what.
    """

    rows: int
    days_left_alone: Collection[date]


def repair(client: Client, batch_ids: Collection[int]) -> Repair:
    """Make the rollups of the days that batches touched equal to the ledger.

    All of a day is compared, however small a batch is: batches that are in doubt together are given
    together. Only against a ledger that has all of a day. A day is left alone if an archive or the
    TTL took entries of it (`removals`), or if a rollup has more on it than what was booked since
    the first batch was made could have added: then something else took them.
    """
    booked = _booked_since(client, batch_ids)
    removed = _not_whole(client, booked)
    days = sorted(booked.keys() - removed)
    questions = {table: _question(client, table, days) for table in FEEDS} if days else {}
    first = {table: _rows(client, question) for table, question in questions.items()}
    differing = [table for table, rows in first.items() if rows]
    if not differing:
        return Repair(0, removed)
    time.sleep(SETTLED_SECONDS)
    stable = {
        table: [row for row in _rows(client, questions[table]) if row in first[table]]
        for table in differing
    }
    # after the comparison: an archive that began meanwhile was noted before it took anything
    removed |= _not_whole(client, days)
    # What a rollup is fed by another one is compared with that, and follows what is added there.
    for table in stable.keys() & FED_BY_LEDGER:
        removed |= _short_days(table, questions[table][0], stable[table], booked)
    repaired = 0
    for table, rows in stable.items():
        columns = questions[table][0]
        sound = [row for row in rows if _day(table, columns, row) not in removed]
        repaired += len(sound)
        if sound:
            client.insert(
                table,
                sound,
                column_names=columns,
                settings={"async_insert": 0, "insert_deduplicate": 0},
            )
    return Repair(repaired, removed)


def _booked_since(client: Client, batch_ids: Collection[int]) -> dict[date, int]:
    """Return the days that the batches touched, and what was booked on each since the first.

    An hour before counts as well: other collectors' clocks differ, and their batches were in doubt
    as long.
    """
    of_batch = "FROM llm_calls WHERE batch_id IN {batches:Array(UInt64)}"
    rows = client.query(
        "SELECT toDate(start_time) AS day, count() FROM llm_calls"  # noqa: S608  own text
        f" WHERE day IN (SELECT DISTINCT toDate(start_time) {of_batch})"
        f" AND ingested_at >= (SELECT min(ingested_at) {of_batch}) - INTERVAL 1 HOUR GROUP BY day",
        parameters={"batches": sorted(batch_ids)},
    ).result_rows
    if not rows:
        named = ", ".join(map(str, sorted(batch_ids)))
        raise StoreError(
            f"the rows of batch {named} were counted in the ledger and are not there now",
            retryable=True,
        )
    return {day: int(entries) for day, entries in rows}


def _not_whole(client: Client, days: Collection[date]) -> set[date]:
    spans = removals.spans(client)
    if last := expired_until(client):
        spans.append((date.min, last))
    return {day for day in days if any(begin <= day <= end for begin, end in spans)}


def _short_days(
    table: str, columns: Sequence[str], rows: Sequence[Row], booked: Mapping[date, int]
) -> set[date]:
    """Return the days on which the rollup has more than a crash explains: the ledger lost entries.

    A batch that was sent twice is in a rollup twice, and seldom more often.
    """
    count = columns.index(_COUNTS[table])
    surplus: Counter[date] = Counter()
    for row in rows:
        surplus[_day(table, columns, row)] -= min(0, cast("int", row[count]))
    return {day for day, calls in surplus.items() if calls > MAX_TIMES * booked.get(day, 0)}


def _day(table: str, columns: Sequence[str], row: Row) -> date:
    at = row[columns.index(TIMES[table])]
    return at.date() if isinstance(at, datetime) else cast("date", at)


def _question(client: Client, table: str, days: Sequence[date]) -> tuple[list[str], str]:
    """Return the rollup's columns, and SQL for rows of them: what the ledger has more."""
    described = client.query(
        "SELECT name, type, is_in_sorting_key FROM system.columns"
        " WHERE database = currentDatabase() AND table = {table:String} ORDER BY position",
        parameters={"table": table},
    ).result_rows
    keys = [name for name, _, is_key in described if is_key]
    measures = [name for name, _, is_key in described if not is_key]
    select = client.query(
        "SELECT as_select FROM system.tables WHERE database = currentDatabase()"
        " AND name = {feed:String}",
        parameters={"feed": FEEDS[table]},
    ).result_rows[0][0]
    # The feed's own types may be wider: cast, so that both halves agree.
    described = [(name, _plain(kind), is_key) for name, kind, is_key in described]
    named = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind, _ in described)
    negated = ", ".join(
        name if is_key else f"CAST({_negated(name, kind)} AS {kind}) AS {name}"
        for name, kind, is_key in described
    )
    summed = ", ".join(
        name if is_key else f"{'sumMap' if 'Map(' in kind else 'sum'}(u.{name}) AS {name}"
        for name, kind, is_key in described
    )
    kinds = {name: kind for name, kind, _ in described}
    differs = " OR ".join(
        f"arrayExists(n -> n != 0, mapValues({name}))" if "Map(" in kinds[name] else f"{name} != 0"
        for name in measures
    )
    listed = ", ".join(f"'{day}'" for day in days)
    sql = (
        f"SELECT {summed} FROM ("  # noqa: S608  names of our own tables, and dates
        f"SELECT {named} FROM ({select}) WHERE toDate({TIMES[table]}) IN ({listed})"
        f" UNION ALL SELECT {negated} FROM {table}"
        f" WHERE toDate({TIMES[table]}) IN ({listed})) AS u"
        f" GROUP BY {', '.join(keys)} HAVING {differs}"
    )
    return [name for name, _, _ in described], sql


def _plain(kind: str) -> str:
    """Return the type of the values of an aggregated column."""
    match = re.fullmatch(r"SimpleAggregateFunction\(\w+, (.*)\)", kind)
    return match[1] if match else kind


def _negated(name: str, kind: str) -> str:
    return f"mapApply((k, n) -> (k, -n), {name})" if "Map(" in kind else f"-{name}"


def _rows(client: Client, question: tuple[Sequence[str], str]) -> list[Row]:
    """Return the rows; none is an answer, and an empty answer, as of a full disk, is an error."""
    columns, sql = question
    names = ", ".join(columns)
    return [
        tuple(row)
        for row in rows_of(client, f"SELECT groupArray(tuple({names})) FROM ({sql})")  # noqa: S608  own names
    ]
