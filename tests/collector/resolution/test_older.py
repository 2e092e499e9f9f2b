"""A journal of a version before runs: what it knows goes on to count, wherever its taking over ends."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tallyspan_collector.resolution.older import older_spans, take_over
from tallyspan_collector.resolution.resolver import Resolver
from tallyspan_collector.resolution.runs import Runs

PARTS = ("0", "1", "young")
NOW_MS = 1_790_000_000_000
PLACES = {11: (101, 7), 12: (102, 8), 13: (103, 9)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that knows a place and a span in each of its three parts, and a trace in one."""
    path = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        Resolver(file)
        for part, (place, (trace, emitter)) in zip(PARTS, PLACES.items(), strict=True):
            file.execute(f"CREATE TABLE places_{part} (id INTEGER PRIMARY KEY, value, other)")
            file.execute(f"INSERT INTO places_{part} VALUES (?, ?, ?)", (place, trace, emitter))
            file.execute(f"CREATE TABLE seen_{part} (id INTEGER PRIMARY KEY)")
            file.execute(f"INSERT INTO seen_{part} VALUES (?)", (place + 500,))
    return path


@pytest.fixture
def file(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        yield file


def taken(file: sqlite3.Connection) -> dict[int, tuple[int, int]]:
    runs = Runs(file, None, 86_400)
    runs.refresh(NOW_MS)
    return runs.places(np.array([*PLACES], np.int64))


def test_places_are_taken_over_once_and_spans_are_known(file: sqlite3.Connection) -> None:
    for _ in range(2):
        take_over(file, Runs(file, None, 86_400), NOW_MS)

    assert taken(file) == PLACES
    assert file.execute("SELECT count() FROM runs").fetchone() == (1,)
    assert older_spans(file, [511, 512, 513, 514]) == {511, 512, 513}


@pytest.mark.parametrize("statement", range(1, 20))
def test_a_process_that_dies_on_the_way_leaves_the_file_as_it_was(
    path: Path, file: sqlite3.Connection, statement: int
) -> None:
    left = statement

    def die(_: str) -> None:
        nonlocal left
        left -= 1
        if not left:
            file.interrupt()

    runs = Runs(file, None, 86_400)
    before = [*file.iterdump()]
    file.set_trace_callback(die)
    try:
        take_over(file, runs, NOW_MS)
    except sqlite3.OperationalError:
        assert [*file.iterdump()] == before
    else:
        assert left > 0 or taken(file) == PLACES
    file.set_trace_callback(None)
    with closing(sqlite3.connect(path, isolation_level=None)) as again:
        Resolver(again)

        assert taken(again) == PLACES
