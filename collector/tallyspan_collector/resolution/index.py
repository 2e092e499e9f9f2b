"""Recent traces by id, in SQLite: the spans and charges of each, by the names of their fields.

Most traces have one call and no later span. Those are kept packed, `CHUNK` together, and the
youngest in memory too; a trace that gets a span later has a row of its own.

Two sets of tables take turns, so forgetting is one DELETE: a trace is remembered for at least the
window after its last span, and for at most two. A trace that waits for quiet is not forgotten.

A trace that has a call in common with another one (`meeting.py`) moves into it, and has the other's
number from then on.

Two traces of a window that share their number (`identity.py`) would be resolved as one, which
changes nothing unless their spans name each other.
"""

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from itertools import islice

import lz4.block
import numpy as np

from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read.call import Call, Columns
from tallyspan_collector.resolution import node
from tallyspan_collector.resolution.booked_rows import look_up_rows, traces_of
from tallyspan_collector.resolution.id_registry import IdRegistry, Turns, find_rows
from tallyspan_collector.resolution.node import LAYOUT, Trace, pack_lone, unpack_lone
from tallyspan_collector.resolution.runs import Runs

_SCHEMA = """
CREATE TABLE IF NOT EXISTS traces_{n}
    (id INTEGER PRIMARY KEY, touched_ms INTEGER NOT NULL, is_waiting INTEGER NOT NULL,
     state BLOB NOT NULL, layout INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS waiting_{n} ON traces_{n} (touched_ms) WHERE is_waiting;
CREATE TABLE IF NOT EXISTS chunks_{n} (chunk INTEGER PRIMARY KEY, calls BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS moved_{n} (id INTEGER PRIMARY KEY, trace INTEGER NOT NULL);
"""
_TABLES = ("traces", "chunks", "moved")
_LAYOUTS = (
    "CREATE TABLE IF NOT EXISTS layouts (number INTEGER PRIMARY KEY, names TEXT NOT NULL UNIQUE)"
)
CHUNK = 32
MAX_RECENT = 8_192
"""Lone calls kept in memory: the next span of an agent's trace mostly comes within seconds."""


def look_up(file: sqlite3.Connection, key: int) -> Trace | None:
    """Return one trace of a file, without changing the file; None: the file does not have it."""
    (epoch,) = file.execute("SELECT ifnull(max(epoch), 0) FROM trace_turn").fetchone()
    turns = (epoch % 2, 1 - epoch % 2)  # the current one has the last word
    key = whereabouts(file, [key]).get(key, key)
    for turn in turns:
        for trace in _load(file, turn, "id = ?", key).values():
            return trace
    for turn, (_, place) in reversed(find_rows(file, "lone", [key], turns[0])):
        return Trace.of_one(*_lone(file, turn, place // CHUNK, [place % CHUNK])[0])
    return look_up_rows(file, key)


def whereabouts(file: sqlite3.Connection, keys: Collection[int]) -> dict[int, int]:
    """Return those traces that moved into others, and where they are now."""
    (is_any,) = file.execute(
        "SELECT EXISTS (SELECT 1 FROM moved_0) OR EXISTS (SELECT 1 FROM moved_1)"
    ).fetchone()
    at: dict[int, int] = {}
    met: set[int] = set()
    wanted: Collection[int] = keys if is_any else ()
    while wanted:  # where a trace moved to may have moved on
        step: dict[int, int] = {}
        for turn in (0, 1):
            step |= file.execute(
                f"SELECT id, trace FROM moved_{turn} WHERE id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(wanted)),),
            )
        at = {key: step.get(trace, trace) for key, trace in at.items()}
        at |= {key: trace for key, trace in step.items() if key in keys}
        met.update(wanted)
        wanted = set(step.values()) - met
    return at


class TraceIndex:
    """The traces of one file; every method runs inside a transaction of the caller's."""

    def __init__(self, file: sqlite3.Connection, window_seconds: int, runs: Runs) -> None:
        self._file = file
        self._runs = runs
        self._window_ms = window_seconds * 1000
        self._recent: dict[int, tuple[Call, Cost]] = {}
        file.executescript(_SCHEMA.format(n=0) + _SCHEMA.format(n=1))
        file.execute(_LAYOUTS)
        file.execute("INSERT OR IGNORE INTO layouts (names) VALUES (?)", (LAYOUT,))
        (self._layout,) = file.execute(
            "SELECT number FROM layouts WHERE names = ?", (LAYOUT,)
        ).fetchone()
        self._turn = Turns(file, "trace")
        self._lone = IdRegistry(file, "lone", ("place",))

    def find(self, keys: Collection[int], now_ms: int) -> dict[int, Trace]:
        """Return those of the traces that are remembered."""
        ids = json.dumps(list(keys))
        turns = self._turns(now_ms)
        traces: dict[int, Trace] = {}
        for turn in reversed(turns):  # the current one has the last word
            traces |= _load(self._file, turn, "id IN (SELECT value FROM json_each(?))", ids)
        lone = {key: (turn, place) for turn, (key, place) in self._lone.find(keys, turns[0])}
        traces |= self._unpack({key: at for key, at in lone.items() if key not in traces})
        return traces | traces_of(self._runs, [key for key in keys if key not in traces])

    def moved(self, keys: Collection[int]) -> dict[int, int]:
        """Return those traces that moved into others, and where they are now."""
        return whereabouts(self._file, keys)

    def places(self, numbers: Collection[int]) -> dict[int, tuple[int, int]]:
        """Return place -> the trace whose call was the first there, and the call's emitter."""
        first = self._runs.places(np.fromiter(numbers, np.int64, len(numbers)))
        moved = self.moved({trace for trace, _ in first.values()})
        return {
            place: (moved.get(trace, trace), emitter) for place, (trace, emitter) in first.items()
        }

    def move(self, moved: Mapping[int, int], now_ms: int) -> None:
        """Remember that traces moved into others, which have all of them from now on."""
        current, _ = self._turns(now_ms)
        self._file.executemany(
            f"INSERT OR REPLACE INTO moved_{current} VALUES (?, ?)", moved.items()
        )
        for turn in (0, 1):
            self._file.executemany(
                f"DELETE FROM traces_{turn} WHERE id = ?", [(key,) for key in moved]
            )
        self._lone.delete(moved)

    def quiet(self, since_ms: int, now_ms: int) -> dict[int, Trace]:
        """Return the traces that wait and were not touched since then."""
        traces: dict[int, Trace] = {}
        for turn in self._turns(now_ms):
            traces |= _load(self._file, turn, "is_waiting AND touched_ms < ?", since_ms)
        return traces

    def keep(self, touched: Mapping[int, tuple[Trace, bool]], now_ms: int) -> None:
        """Remember traces as they are now; the flag: the trace waits for quiet."""
        current, other = self._turns(now_ms)
        self._file.executemany(
            f"INSERT OR REPLACE INTO traces_{current} VALUES (?, ?, ?, ?, ?)",
            [
                (key, now_ms, waits, trace.dump(), self._layout)
                for key, (trace, waits) in touched.items()
            ],
        )
        self._file.executemany(
            f"DELETE FROM traces_{other} WHERE id = ?",
            [(key,) for key in touched],
        )

    def keep_lone(
        self,
        keys: Sequence[int],
        calls: Sequence[tuple[Call, Cost]],
        columns: Columns,
        now_ms: int,
    ) -> None:
        """Remember new traces of one call each, booked at that cost.

        `columns` has the same calls field by field; it may go on with others.
        """
        turn, _ = self._turns(now_ms)
        (first,) = self._file.execute(
            f"SELECT ifnull(max(chunk), -1) + 1 FROM chunks_{turn}"
        ).fetchone()
        packed = pack_lone(columns, [cost for _, cost in calls], CHUNK)
        self._file.executemany(
            f"INSERT INTO chunks_{turn} VALUES (?, ?)", enumerate(map(_packed, packed), first)
        )
        self._lone.add_counted(keys, first * CHUNK, turn)
        recent = self._recent
        recent |= zip(keys[-MAX_RECENT:], calls[-MAX_RECENT:], strict=True)
        for key in list(islice(recent, max(0, len(recent) - MAX_RECENT))):
            del recent[key]

    def _unpack(self, places: Mapping[int, tuple[int, int]]) -> dict[int, Trace]:
        traces: dict[int, Trace] = {}
        in_chunks: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for key, (turn, place) in places.items():
            if key in self._recent:
                traces[key] = Trace.of_one(*self._recent[key])
            else:
                chunk, offset = divmod(place, CHUNK)
                in_chunks.setdefault((turn, chunk), []).append((key, offset))
        for (turn, chunk), wanted in in_chunks.items():
            calls = _lone(self._file, turn, chunk, [offset for _, offset in wanted])
            traces |= {
                key: Trace.of_one(*call) for (key, _), call in zip(wanted, calls, strict=True)
            }
        return traces

    def _turns(self, now_ms: int) -> tuple[int, int]:
        """Return the tables' number of this window and of the one before, emptied if old."""
        current, old = self._turn.at(now_ms // self._window_ms)
        if old:
            waiting = [
                row
                for turn in old
                for row in self._file.execute(f"SELECT * FROM traces_{turn} WHERE is_waiting")
            ]
            for turn in old:
                for table in _TABLES:
                    self._file.execute(f"DELETE FROM {table}_{turn}")
            self._lone.begin(current, old)
            self._file.executemany(f"INSERT INTO traces_{current} VALUES (?, ?, ?, ?, ?)", waiting)
        return current, 1 - current


def unknown_fields(file: sqlite3.Connection) -> list[str]:
    """Return the fields in a file's traces that do not exist (any more)."""
    file.execute(_LAYOUTS)
    layouts = file.execute("SELECT names FROM layouts").fetchall()
    return sorted({field for (names,) in layouts for field in node.unknown_fields(names)})


def _load(file: sqlite3.Connection, turn: int, where: str, value: object) -> dict[int, Trace]:
    rows = file.execute(
        f"SELECT id, state, names FROM traces_{turn} JOIN layouts ON layout = number WHERE {where}",
        (value,),
    )
    return {key: Trace.load(state, names) for key, state, names in rows}


def _lone(
    file: sqlite3.Connection, turn: int, chunk: int, offsets: Sequence[int]
) -> list[tuple[Call, Cost]]:
    (blob,) = file.execute(f"SELECT calls FROM chunks_{turn} WHERE chunk = ?", (chunk,)).fetchone()
    return unpack_lone(lz4.block.decompress(blob), offsets)


def _packed(chunk: bytes) -> bytes:
    packed: bytes = lz4.block.compress(chunk)
    return packed
