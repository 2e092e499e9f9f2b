"""Rollups follow the ledger by themselves; after a crash they are compared and put right.

A server that dies between the parts of one insert can leave the ledger and a rollup apart. The
difference is added to the rollup, whose figures are sums.
"""

import re
import time

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.schema import FEEDS, TIMES

SETTLED_SECONDS = 2.0
"""An insert of someone else is for a moment in the ledger and not in the rollup: only differences
that are still the same after this time are repaired."""


def repair(client: Client, batch_id: int) -> int:
    """Make the rollups of the days that a batch touched equal to the ledger.

    Returns how many rows of rollups were wrong. The oldest day of the ledger is left alone: part of
    it may have expired, and the rollups keep what has.
    """
    days = [
        str(row[0])
        for row in client.query(
            "SELECT DISTINCT toDate(start_time) AS day FROM llm_calls"
            " WHERE batch_id = {batch:UInt64}"
            " AND (day > (SELECT toDate(min(start_time)) FROM llm_calls)"
            " OR (SELECT toDate(min(start_time)) FROM llm_calls) > today() - 30)",
            parameters={"batch": batch_id},
        ).result_rows
    ]
    return sum(_repair(client, table, days) for table in FEEDS) if days else 0


def _repair(client: Client, table: str, days: list[str]) -> int:
    columns, sql = _question(client, table, days)
    first = _rows(client, sql)
    if not first:
        return 0
    time.sleep(SETTLED_SECONDS)
    stable = [row for row in _rows(client, sql) if row in first]
    if stable:
        client.insert(
            table,
            stable,
            column_names=columns,
            settings={"async_insert": 0, "insert_deduplicate": 0},
        )
    return len(stable)


def _question(client: Client, table: str, days: list[str]) -> tuple[list[str], str]:
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


def _rows(client: Client, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in client.query(sql).result_rows]
