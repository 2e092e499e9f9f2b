"""What spans and places are known, as sorted runs of integers: the index of calls by columns.

A run is the rows of one batch, in the order of their keys. It is a row of the journal, written in
the transaction of its batch, and in memory, where runs are merged eight by eight; what is merged to
many rows lies in a mapped file without a name, so that the kernel may take its memory back. A
look-up is a binary search in each run, for all rows of a batch at once.

The key of a row is that of a trace or of a place where reports of a call meet (`meeting.py`). A
trace nobody heard of has no span that anybody has seen, so one index answers for both.

Runs are kept by slots of time and forgotten slot by slot. A slot ends when so much time has passed
for this process, or, of what an earlier process began, by the clock: a clock that jumps, and jumps
back, ends one slot at most.
"""

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallyspan_collector.columns.pieces import PIECE_ROWS
from tallyspan_collector.resolution.identity import NO_PARENT

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
KEY, SPAN, PARENT, EMITTER, ROW = range(5)
"""The lines of a run: 63-bit keys; of a place, SPAN is the key of the trace whose call is there."""
NO_ROW = -1
"""The row of a span that the tables of `index.py` have."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs
    (run INTEGER PRIMARY KEY AUTOINCREMENT, slot INTEGER NOT NULL, keys BLOB NOT NULL,
     sorts BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS pieces (piece INTEGER PRIMARY KEY, calls BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS slot
    (one INTEGER PRIMARY KEY, slot INTEGER NOT NULL, began_ms INTEGER NOT NULL);
"""
SLOTS = 6
"""Slots of a window; what is older than the window, and the slot it ends in, is forgotten."""
MERGED = 8
"""Runs of one size that become one."""
MAPPED_ROWS = 131_072
"""From so many rows a run lies in a file: 5 MB."""
RUN_BITS = 20
"""Bits of a row's number that are its place in its run; those above are the run."""
PIECE_BITS = 12


def first_row(run: int) -> int:
    """Return the number of a run's first row."""
    return run << RUN_BITS


def place_of(row: int) -> tuple[int, int]:
    """Return the piece of a row, and the place in it."""
    run, number = row >> RUN_BITS, row & ((1 << RUN_BITS) - 1)
    return run << PIECE_BITS | number // PIECE_ROWS, number % PIECE_ROWS


def runs_of(file: sqlite3.Connection, key: int) -> Iterator[tuple[int, int]]:
    """Yield run and row of every row of a file with this key, without changing the file."""
    if not file.execute("SELECT 1 FROM sqlite_schema WHERE name = 'runs'").fetchone():
        return
    for run, keys in file.execute("SELECT run, keys FROM runs ORDER BY run DESC"):
        rows = np.frombuffer(keys, np.int64).reshape(5, -1)
        first, last = (np.searchsorted(rows[KEY], key, side) for side in ("left", "right"))
        yield from ((run, row) for row in rows[ROW][first:last].tolist())


class Company(NamedTuple):
    """Of each row: whether its very span is known, and whether one is that it may be one with."""

    is_again: Booleans
    matters: Booleans


@dataclass(slots=True)
class NewRun:
    """What a batch adds: lines of rows, and the calls of those that are booked as rows, packed.

    `number` is the run's, `pieces` have `PIECE_ROWS` calls each, and `sorts` what they share.
    """

    number: int
    lines: list[Integers] = field(default_factory=list)
    sorts: bytes = b""
    pieces: list[bytes] = field(default_factory=list)

    def add(
        self,
        keys: Integers,
        spans: Integers,
        parents: Integers | int = NO_PARENT,
        emitters: Integers | int = 0,
        rows: Integers | int = NO_ROW,
    ) -> None:
        """Add rows, column by column; an integer is for all of them."""
        lines = np.empty((5, len(keys)), np.int64)
        for line, values in enumerate((keys, spans, parents, emitters, rows)):
            lines[line] = values
        self.lines.append(lines)


class Runs:
    """The runs of one journal; every method runs inside a transaction of the caller's."""

    def __init__(self, file: sqlite3.Connection, folder: Path | None, window_seconds: int) -> None:
        self.file = file
        self._folder = folder
        self._slot_ms = window_seconds * 1000 // SLOTS
        self._levels: dict[int, list[list[Integers]]] = {}
        self._last = 0
        file.executescript(_SCHEMA)
        self._slot = -1
        self._slot_end = 0.0
        """By the monotonic clock; counts for the slot that this process has seen begin."""

    def refresh(self, now_ms: int) -> None:
        """Read what other workers added, and forget what is older than the window."""
        slot = self._current_slot(now_ms)
        for run, of_slot, keys in self.file.execute(
            "SELECT run, slot, keys FROM runs WHERE run > ? ORDER BY run", (self._last,)
        ):
            self._take(of_slot, np.frombuffer(keys, np.int64).reshape(5, -1))
            self._last = run
        for old in [each for each in self._levels if each < slot - SLOTS]:
            del self._levels[old]

    def company(
        self, traces: Integers, spans: Integers, parents: Integers, emitters: Integers
    ) -> Company:
        """Return which of the rows have company among what is known.

        Calls of one emitter are calls of their own, unless one is inside the other.
        """
        is_again, matters = np.zeros(len(traces), bool), np.zeros(len(traces), bool)
        for run, at, place in self._hits(traces):
            is_same = run[SPAN][place] == spans[at]
            is_again[at[is_same]] = True
            is_apart = (run[EMITTER][place] == emitters[at]) & (run[ROW][place] != NO_ROW)
            is_apart &= (run[SPAN][place] != parents[at]) & (run[PARENT][place] != spans[at])
            matters[at[~is_apart & ~is_same]] = True
        return Company(is_again, matters)

    def has_spans(self, traces: Integers, spans: Integers) -> Booleans:
        """Return which of the spans are known."""
        is_known = np.zeros(len(traces), bool)
        for run, at, place in self._hits(traces):
            is_known[at[run[SPAN][place] == spans[at]]] = True
        return is_known

    def places(self, numbers: Integers) -> dict[int, tuple[int, int]]:
        """Return those of the places that are taken: by which trace first, and which emitter."""
        first: dict[int, tuple[int, int, int]] = {}
        for run, at, place in self._hits(numbers):
            rows = zip(
                numbers[at].tolist(),
                run[ROW][place].tolist(),
                run[SPAN][place].tolist(),
                run[EMITTER][place].tolist(),
                strict=True,
            )
            for number, row, trace, emitter in rows:
                first[number] = min(first.get(number, (row, trace, emitter)), (row, trace, emitter))
        return {number: (trace, emitter) for number, (_, trace, emitter) in first.items()}

    def rows(self, keys: Integers) -> dict[int, list[int]]:
        """Return the rows of each trace all of whose spans are rows."""
        rows: dict[int, list[int]] = {}
        elsewhere: set[int] = set()
        for run, at, place in self._hits(keys):
            for key, row in zip(keys[at].tolist(), run[ROW][place].tolist(), strict=True):
                if row == NO_ROW:
                    elsewhere.add(key)
                else:
                    rows.setdefault(key, []).append(row)
        return {key: each for key, each in rows.items() if key not in elsewhere}

    def next_run(self) -> int:
        """Return the number that the next run will have."""
        row = self.file.execute("SELECT seq FROM sqlite_sequence WHERE name = 'runs'").fetchone()
        return int(row[0]) + 1 if row else 1

    def keep(self, new: NewRun, now_ms: int) -> None:
        """Write a run, and take it in. If the transaction fails in the end: `reload`."""
        slot = self._current_slot(now_ms)
        rows = np.concatenate(new.lines, axis=1)
        rows = np.ascontiguousarray(rows[:, np.argsort(rows[KEY], kind="stable")])
        self.file.execute(
            "INSERT INTO runs (run, slot, keys, sorts) VALUES (?, ?, ?, ?)",
            (new.number, slot, rows.tobytes(), new.sorts),
        )
        self.file.executemany(
            "INSERT INTO pieces VALUES (?, ?)",
            [(new.number << PIECE_BITS | number, each) for number, each in enumerate(new.pieces)],
        )
        self._take(slot, rows)
        self._last = new.number

    def reload(self) -> None:
        """Forget what is in memory: the file's runs are read anew. After a failed transaction."""
        self._levels, self._last, self._slot = {}, 0, -1

    def _current_slot(self, now_ms: int) -> int:
        row = self.file.execute("SELECT slot, began_ms FROM slot").fetchone()
        slot, began_ms = row or (0, now_ms)
        if self._slot == slot:
            is_over = time.monotonic() >= self._slot_end
        else:
            is_over = self._slot < 0 and now_ms - began_ms >= self._slot_ms
        if is_over:
            slot, began_ms = slot + 1, now_ms
            (first,) = self.file.execute(
                "SELECT ifnull(max(run), 0) FROM runs WHERE slot < ?", (slot - SLOTS,)
            ).fetchone()
            self.file.execute("DELETE FROM runs WHERE run <= ?", (first,))
            self.file.execute("DELETE FROM pieces WHERE piece < ?", ((first + 1) << PIECE_BITS,))
        if is_over or row is None:
            self.file.execute("INSERT OR REPLACE INTO slot VALUES (1, ?, ?)", (slot, began_ms))
        if slot != self._slot:
            self._slot, self._slot_end = slot, time.monotonic() + self._slot_ms / 1000
        return int(slot)

    def _take(self, slot: int, rows: Integers) -> None:
        levels = self._levels.setdefault(slot, [])
        at = 0
        while True:
            if at == len(levels):
                levels.append([])
            levels[at].append(rows)
            if len(levels[at]) < MERGED:
                return
            rows = np.concatenate(levels[at], axis=1)
            rows = rows[:, np.argsort(rows[KEY], kind="stable")]
            if rows.shape[1] >= MAPPED_ROWS:
                rows = self._mapped(rows)
            levels[at] = []
            at += 1

    def _mapped(self, rows: Integers) -> Integers:
        """Return the rows in a file that nobody else sees, and that ends with this process."""
        try:
            with tempfile.TemporaryFile(dir=self._folder) as file:
                rows.tofile(file)
                file.flush()
                return np.memmap(file, np.int64, "r", shape=rows.shape)
        except OSError:  # the disk is full: they stay in memory
            return rows

    def _hits(self, keys: Integers) -> Iterator[tuple[Integers, Integers, Integers]]:
        """Yield a run, places among `keys`, and places in the run that have the same key."""
        order = np.argsort(keys)
        ordered = keys[order]
        if not len(keys):
            return
        for levels in self._levels.values():
            for run in (each for level in levels for each in level):
                line = run[KEY]
                first = np.searchsorted(line, ordered)
                first[first == len(line)] = 0
                here = np.nonzero(line[first] == ordered)[0] if len(line) else first[:0]
                if len(here):
                    first = first[here]
                    many = np.searchsorted(line, ordered[here], "right") - first
                    before = np.repeat(np.cumsum(many) - many, many)
                    within = np.arange(len(before)) - before
                    yield run, np.repeat(order[here], many), within + np.repeat(first, many)
