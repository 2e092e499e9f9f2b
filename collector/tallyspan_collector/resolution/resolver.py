"""Readings of a batch -> entries to book, by what came before: a durable index of recent traces.

What is charged for a trace is a function of all its spans (`charge.py`). So each batch works out
the traces it touches anew, and books the difference to what stands in the ledger: reversals of
what no longer holds, and calls.

The file is shared by the workers of a data folder. A batch that comes again (its plan was lost in
a crash) finds the state it found the first time, and so makes the same entries.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tallyspan_collector.call import Call
from tallyspan_collector.dialects.reading import Reading
from tallyspan_collector.errors import SpoolError
from tallyspan_collector.resolution.charge import charges, may_wait
from tallyspan_collector.resolution.node import Booked, Cost, Node, Trace

QUIET_SECONDS = 60
WINDOW_SECONDS = 6 * 3600
"""Traces are remembered so long after their last span; what comes later is a call of its own."""
_FORGOTTEN_AT_ONCE = 20_000
SCHEMA = """
CREATE TABLE IF NOT EXISTS traces (
    trace_id TEXT PRIMARY KEY,
    touched_ms INTEGER NOT NULL,
    is_waiting INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    state TEXT NOT NULL,
    state_before TEXT
);
CREATE INDEX IF NOT EXISTS tracestouched ON traces (touched_ms);
CREATE INDEX IF NOT EXISTS traces_waiting ON traces (touched_ms) WHERE is_waiting;
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """What to book: a call, or with `reversed_cost` the reversal of one booked at that cost."""

    call: Call
    reversed_cost: Cost | None = None


@dataclass(slots=True)
class Resolution:
    """The entries of a batch; `duplicates` and `wrappers` count spans that add no call."""

    batch_id: int
    entries: list[Entry] = field(default_factory=list)
    duplicates: int = 0
    wrappers: int = 0
    touched: dict[str, tuple[Trace, str | None]] = field(default_factory=dict)


class Resolver:
    """The index of one data folder; used by one thread of each process. Raises `SpoolError`."""

    def __init__(
        self,
        path: Path,
        *,
        window_seconds: int = WINDOW_SECONDS,
        quiet_seconds: int = QUIET_SECONDS,
    ) -> None:
        self._path = path
        self._window_ms = window_seconds * 1000
        self._quiet_ms = quiet_seconds * 1000
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(
                path, isolation_level=None, timeout=30, check_same_thread=False
            )
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=FULL")
            self._file.executescript(SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise SpoolError(
                f"the index of recent traces {path} cannot be used: {error}. It is left as it is; "
                "moved away, spans that are sent again within the window are charged again"
            ) from None

    def resolve(
        self, readings: Iterable[Reading], batch_id: int, now_ms: int | None = None
    ) -> Resolution:
        """Return what the readings change in the ledger. `commit` or `give_up` must follow."""
        now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        by_trace: dict[str, list[Node]] = {}
        for reading in readings:
            node = Node.of(reading)
            if node is not None:
                by_trace.setdefault(node.call.trace_id, []).append(node)
        made = Resolution(batch_id)
        try:
            self._file.execute("BEGIN IMMEDIATE")
            before = self._states(by_trace, batch_id, now)
            for trace_id in (*by_trace, *(before.keys() - by_trace.keys())):
                self._settle(made, trace_id, by_trace.get(trace_id, ()), before.get(trace_id))
        except sqlite3.Error as error:
            self.give_up()
            raise SpoolError(
                f"the index of recent traces {self._path} cannot be read: {error}"
            ) from None
        except BaseException:
            self.give_up()
            raise
        return made

    def commit(self, made: Resolution, costs: Sequence[Cost], now_ms: int | None = None) -> None:
        """Remember the batch; `costs` are those of its entries, in their order."""
        now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        for entry, cost in zip(made.entries, costs, strict=True):
            if entry.reversed_cost is None:
                trace, _ = made.touched[entry.call.trace_id]
                trace.booked[entry.call.span_id] = Booked(entry.call, cost)
        try:
            self._file.executemany(
                "INSERT OR REPLACE INTO traces VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (trace_id, now, may_wait(trace.nodes, trace.booked),
                     _signed(made.batch_id), trace.dump(), before)
                    for trace_id, (trace, before) in made.touched.items()
                ],
            )  # fmt: skip
            self._file.execute(
                "DELETE FROM traces WHERE trace_id IN"
                " (SELECT trace_id FROM traces WHERE touched_ms < ? LIMIT ?)",
                (now - self._window_ms, _FORGOTTEN_AT_ONCE),
            )
            self._file.execute("COMMIT")
        except sqlite3.Error as error:
            self.give_up()
            raise SpoolError(
                f"the index of recent traces {self._path} cannot be written: {error}"
            ) from None

    def give_up(self) -> None:
        """Forget what `resolve` found: nothing of it was booked."""
        if self._file.in_transaction:
            self._file.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file."""
        self.give_up()
        self._file.close()

    def _states(self, trace_ids: Iterable[str], batch_id: int, now: int) -> dict[str, str | None]:
        """Return the state of traces before this batch: those asked for, and those now quiet."""
        mine = _signed(batch_id)
        rows = self._file.execute(
            "SELECT trace_id, CASE batch WHEN ? THEN state_before ELSE state END FROM traces"
            " WHERE trace_id IN (SELECT value FROM json_each(?))",
            (mine, json.dumps(list(trace_ids))),
        ).fetchall()
        rows += self._file.execute(
            "SELECT trace_id, CASE batch WHEN ? THEN state_before ELSE state END FROM traces"
            " WHERE is_waiting AND touched_ms < ?",
            (mine, now - self._quiet_ms),
        ).fetchall()
        return dict(rows)

    def _settle(
        self, made: Resolution, trace_id: str, arrived: Sequence[Node], before: str | None
    ) -> None:
        trace = Trace.load(before) if before else Trace({}, {})
        for node in arrived:
            known = trace.nodes.get(node.call.span_id)
            if known is None or _says_more(node, known):
                trace.nodes[node.call.span_id] = node
        # all that arrived in the batch was held against it: only an older trace can be quiet
        due = {
            call.span_id: call
            for call in charges(trace.nodes, is_quiet=not arrived or _is_charged(trace))
        }
        made.wrappers += sum(not node.is_call for node in arrived)
        booked_now = 0
        for span_id, booked in list(trace.booked.items()):
            if due.get(span_id) != booked.call:
                made.entries.append(Entry(booked.call, booked.cost))
                del trace.booked[span_id]
                booked_now -= 1
        for span_id, call in due.items():
            if span_id not in trace.booked:
                made.entries.append(Entry(call))
                booked_now += 1
        made.duplicates += max(0, sum(node.is_call for node in arrived) - max(0, booked_now))
        made.touched[trace_id] = (trace, before)


def _is_charged(trace: Trace) -> bool:
    """Whether an agent's own total stands in the ledger: then it must be asked again."""
    return any(
        (node := trace.nodes.get(span_id)) is not None and node.may_be_charged
        for span_id in trace.booked
    )


def _says_more(one: Node, other: Node) -> bool:
    """Whether of two versions of one span the first has more in it; any order gives the same."""
    return _weight(one) > _weight(other)


def _weight(node: Node) -> tuple[object, ...]:
    call = node.call
    stated = [call.usage.output_tokens is not None, call.usage.input_tokens is not None]
    return (node.is_call, *stated, call.end_time_ns, bool(call.user_id), repr(call))


def _signed(batch_id: int) -> int:
    return batch_id - (1 << 63)
