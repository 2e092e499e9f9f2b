"""A journal of a version before runs: what it knows counts for as long as it would have."""

import json
import sqlite3
from collections.abc import Collection

import numpy as np

from tallyspan_collector.resolution.runs import NewRun, Runs

_PARTS = ("0", "1", "young")


def take_over(file: sqlite3.Connection, runs: Runs, now_ms: int) -> None:
    """Make the traces and places of such a file known to its runs; a second time does nothing.

    In one transaction: a process that dies on the way leaves the file as it was.
    """
    if not _has(file, "places_0"):
        return
    file.execute("BEGIN IMMEDIATE")
    with file:
        if _has(file, "places_0"):  # else another worker did meanwhile
            _take_over(file, runs, now_ms)


def _take_over(file: sqlite3.Connection, runs: Runs, now_ms: int) -> None:
    new = NewRun(runs.next_run())
    tables = [f"lone_{part}" for part in _PARTS] + ["traces_0", "traces_1"]
    traces = [number for table in tables for (number,) in file.execute(f"SELECT id FROM {table}")]
    new.add(np.array(traces, np.int64), np.zeros(len(traces), np.int64))
    places = [row for part in _PARTS for row in file.execute(f"SELECT * FROM places_{part}")]
    if places:
        numbers, firsts, emitters = np.array(places, np.int64).T
        new.add(numbers, firsts, emitters=emitters)
    runs.keep(new, now_ms)
    for part in _PARTS:
        file.execute(f"DROP TABLE places_{part}")


def older_spans(file: sqlite3.Connection, numbers: Collection[int]) -> set[int]:
    """Return those of the spans' numbers that such a file knows."""
    if not _has(file, "seen_0"):
        return set()
    wanted = json.dumps(list(numbers))
    return {
        number
        for part in _PARTS
        for (number,) in file.execute(
            f"SELECT id FROM seen_{part} WHERE id IN (SELECT value FROM json_each(?))", (wanted,)
        )
    }


def _has(file: sqlite3.Connection, table: str) -> bool:
    row = file.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    return row is not None
