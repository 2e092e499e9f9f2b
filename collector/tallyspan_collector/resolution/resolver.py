"""Readings of a batch -> what to book, by the recent traces that an index on disk remembers.

What is charged for a trace is a function of all its spans (`charge.py`); traces that have a call in
common are one (`meeting.py`). So each batch resolves the traces it touches anew, and books the
difference to what stands in the ledger: calls, and reversals of entries that no longer hold. A new
trace of one call, the common case, has nothing to resolve.

The file is shared by the workers of a data folder; it changes in one transaction with the batch
(`ingest/journal.py`), so no crash can leave one of the two.
"""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_collector.dialects.reading import Kind, Reading
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read.call import Call, Columns, columns_of
from tallyspan_collector.resolution.charge import charges, may_wait
from tallyspan_collector.resolution.identity import (
    NO_PARENT,
    Identities,
    Owner,
    owner_of,
    span_key,
)
from tallyspan_collector.resolution.index import TraceIndex
from tallyspan_collector.resolution.meeting import (
    MAX_AGENT_NODES,
    MAX_NODES,
    may_meet,
    meet_elsewhere,
)
from tallyspan_collector.resolution.node import LedgerEntry, Node, Trace
from tallyspan_collector.resolution.older import take_over
from tallyspan_collector.resolution.runs import NewRun, Runs

QUIET_SECONDS = 60
WINDOW_SECONDS = 6 * 3600
"""A trace is remembered so long after its last span; a later span is a call of its own."""
SEEN_SECONDS = 86_400
"""So long a span is known at least: sent again it is a duplicate."""


_ByTrace = dict[int, list[Reading]]


@dataclass(slots=True)
class Resolution:
    """What a batch books: calls, and the entries that it takes back.

    `duplicates` and `wrappers` count spans that add no call. `lone` has the keys of new traces of
    one call, whose calls are the first of `calls`; `traces` has the trace of each call after them.
    `moved` maps a trace to the one that it has a call in common with and moves into; `places` maps
    a place where calls may meet (`meeting.py`) to the first trace and emitter there.
    """

    calls: list[Call] = field(default_factory=list)
    reversals: list[LedgerEntry] = field(default_factory=list)
    duplicates: int = 0
    wrappers: int = 0
    lone: list[int] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    touched: dict[int, Trace] = field(default_factory=dict)
    moved: dict[int, int] = field(default_factory=dict)
    places: dict[int, tuple[int, int]] = field(default_factory=dict)


class Resolver:
    """The traces in one file. Every method runs inside a transaction of the caller's."""

    def __init__(
        self,
        file: sqlite3.Connection,
        *,
        window_seconds: int = WINDOW_SECONDS,
        quiet_seconds: int = QUIET_SECONDS,
        folder: Path | None = None,
        seen_seconds: int = SEEN_SECONDS,
        trusted: Collection[str] = (),
    ) -> None:
        """`trusted` are the names of keys that correct each other's reports (`parties.py`).

        `folder` is where large parts of the index may lie while the process runs.
        """
        self._trusted = frozenset(trusted)
        self.identities = Identities.of(file)
        self.runs = Runs(file, folder, max(seen_seconds, window_seconds))
        """The spans and places that are known."""
        self._index = TraceIndex(file, window_seconds, self.runs)
        self._quiet_ms = quiet_seconds * 1000
        take_over(file, self.runs, STORE_CLOCK.now_ms())

    def traces(self, keys: Collection[int], now_ms: int) -> dict[int, Trace]:
        """Return those of the traces that are remembered: with what moved into them, if any did."""
        self.runs.refresh(now_ms)
        moved = self._index.moved(keys)
        kept = self._index.find({moved.get(key, key) for key in keys}, now_ms)
        return {key: kept[at] for key in keys if (at := moved.get(key, key)) in kept}

    def resolve(self, readings: Iterable[Reading], now_ms: int | None = None) -> Resolution:
        """Return what the readings change in the ledger; `commit` remembers it."""
        now = STORE_CLOCK.now_ms() if now_ms is None else now_ms
        self.runs.refresh(now)
        by_trace: _ByTrace = {}
        number = self.identities.trace
        for reading in readings:
            call = reading.call
            if call is not None and reading.kind is not Kind.NOTHING:
                key = number(owner_of(call).tenant, call.trace_id)
                by_trace.setdefault(key, []).append(reading)
        resolution = Resolution()
        by_trace = _gathered(by_trace, self._moved(by_trace, now))
        remembered = self._index.find(by_trace, now)
        self._meet(resolution, by_trace, remembered, now)
        by_trace = _gathered(by_trace, resolution.moved)
        involved: list[int] = []
        for key, arrived in by_trace.items():
            only = arrived[0]
            if len(arrived) == 1 and only.kind is Kind.CALL and key not in remembered and only.call:
                resolution.lone.append(key)
                resolution.calls.append(only.call)
            else:
                involved.append(key)
        for key in involved:
            nodes = [node for each in by_trace[key] if (node := Node.of(each)) is not None]
            self._settle(resolution, key, nodes, remembered.get(key))
        for key, before in self._index.quiet(now - self._quiet_ms, now).items():
            if key not in resolution.touched and key not in resolution.moved:
                self._settle(resolution, key, (), before)
        return resolution

    def _moved(self, by_trace: _ByTrace, now: int) -> dict[int, int]:
        """Return where traces are now that are remembered by another number than their own."""
        moved = self._index.moved(by_trace)
        if self.identities.may_be_older:
            older = {
                key: self.identities.trace("", call.trace_id)
                for key, arrived in by_trace.items()
                if (call := arrived[0].call) is not None and owner_of(call).tenant
            }
            moved_older = self._index.moved(set(older.values()))
            older = {key: moved_older.get(number, number) for key, number in older.items()}
            kept = self._index.find(set(older.values()), now)
            moved |= {
                key: number for key, number in older.items() if number in kept and key not in moved
            }
        return moved

    def _meet(
        self, resolution: Resolution, by_trace: _ByTrace, remembered: dict[int, Trace], now: int
    ) -> None:
        """Find traces that have a call in common, of different emitters; join those remembered."""
        here = [
            (meeting, key)
            for key, arrived in by_trace.items()
            if key in remembered or any(may_meet(reading.call) for reading in arrived)
            for meeting in meet_elsewhere(_calls(arrived, remembered.get(key)))
        ]
        if not here:
            return
        first = self._index.places({meeting.place for meeting, _ in here})
        if self.identities.may_be_older:
            older = self._index.places({meeting.older for meeting, _ in here})
            first |= {
                meeting.place: older[meeting.older]
                for meeting, _ in here
                if meeting.older in older and meeting.place not in first
            }
        remembered |= self._index.find(
            {trace for trace, _ in first.values()} - by_trace.keys(), now
        )
        into: dict[int, int] = {}
        sizes_of: dict[int, Counter[Owner]] = {}

        def spans_of(trace: int) -> Counter[Owner]:
            if trace not in sizes_of:
                sizes_of[trace] = _sizes(by_trace.get(trace, ()), remembered.get(trace))
            return sizes_of[trace]

        for (place, emitter, is_guess, owner, _), key in here:
            if place not in first:
                first[place] = resolution.places[place] = key, emitter
                continue
            theirs, mine = _end(into, first[place][0]), _end(into, key)
            if theirs == mine or (is_guess and first[place][1] == emitter):
                continue
            limit = MAX_NODES if is_guess else MAX_AGENT_NODES
            sizes = [spans_of(each) for each in (mine, theirs)]
            if any(each[owner] >= limit for each in sizes):
                continue
            if sizes[0].total() > sizes[1].total():  # the one with less moves, so that few do often
                mine, theirs = theirs, mine
            spans_of(theirs).update(spans_of(mine))
            into[mine] = theirs
        for key in into:
            end = resolution.moved[key] = _end(into, key)
            if key in remembered:
                moved, there = remembered.pop(key), remembered.get(end) or Trace({}, {})
                remembered[end] = Trace(there.nodes | moved.nodes, there.booked | moved.booked)

    def commit(
        self,
        resolution: Resolution,
        costs: Sequence[Cost],
        columns: Columns | None = None,
        now_ms: int | None = None,
        run: NewRun | None = None,
    ) -> None:
        """Remember the batch; `costs` are those of its calls, in their order.

        `columns` has the same calls field by field, if the caller has them so (others may follow).
        `run` has the spans that arrived; what must be known of other traces is added to it.
        """
        now = STORE_CLOCK.now_ms() if now_ms is None else now_ms
        self._remember(resolution, run or NewRun(self.runs.next_run()), now)
        if resolution.moved:
            self._index.move(resolution.moved, now)
        first = len(resolution.lone)
        for trace, call, cost in zip(
            resolution.traces, resolution.calls[first:], costs[first:], strict=True
        ):
            trace.booked[span_key(call)] = LedgerEntry(call, cost)
        if first:
            booked = list(zip(resolution.calls[:first], costs, strict=False))
            self._index.keep_lone(
                resolution.lone, booked, columns or columns_of(resolution.calls), now
            )
        self._index.keep(
            {
                key: (trace, may_wait(trace.nodes, trace.booked, self._trusted))
                for key, trace in resolution.touched.items()
            },
            now,
        )

    def _remember(self, resolution: Resolution, run: NewRun, now: int) -> None:
        """Write the run: with it every trace that the tables have is known, and every place."""
        elsewhere = {*resolution.touched, *resolution.moved, *resolution.moved.values()}
        if elsewhere:
            run.add(np.fromiter(elsewhere, np.int64, len(elsewhere)), _no_spans(len(elsewhere)))
        if resolution.places:
            rows = [(place, *by) for place, by in resolution.places.items()]
            places, traces, emitters = np.array(rows, np.int64).T
            run.add(places, traces, NO_PARENT, emitters)
        if run.lines:
            self.runs.keep(run, now)

    def _settle(
        self, resolution: Resolution, key: int, arrived: Sequence[Node], before: Trace | None
    ) -> None:
        trace = before or Trace({}, {})
        for node in arrived:
            span = span_key(node.call)
            older = trace.nodes.get(span)
            if older is None or node.weight > older.weight:
                trace.nodes[span] = node
        # a trace with spans in this batch is not quiet
        due = {
            span_key(call): call
            for call in charges(
                trace.nodes,
                is_quiet=not arrived or _is_charged(trace),
                trusted=self._trusted,
            )
        }
        resolution.wrappers += sum(not node.is_call for node in arrived)
        booked_now = 0
        for span, booked in list(trace.booked.items()):
            if due.get(span) != booked.call:
                resolution.reversals.append(booked)
                del trace.booked[span]
                booked_now -= 1
        for span, call in due.items():
            if span not in trace.booked:
                resolution.calls.append(call)
                resolution.traces.append(trace)
                booked_now += 1
        resolution.duplicates += max(0, sum(node.is_call for node in arrived) - max(0, booked_now))
        resolution.touched[key] = trace


def _no_spans(rows: int) -> NDArray[np.int64]:
    return np.zeros(rows, np.int64)


def _end(into: Mapping[int, int], key: int) -> int:
    while key in into:
        key = into[key]
    return key


def _gathered(by_trace: _ByTrace, moved: Mapping[int, int]) -> _ByTrace:
    if not moved:
        return by_trace
    gathered: _ByTrace = {}
    for key, arrived in by_trace.items():
        gathered.setdefault(moved.get(key, key), []).extend(arrived)
    return gathered


def _sizes(arrived: Iterable[Reading], kept: Trace | None) -> Counter[Owner]:
    """Return how many spans of a trace each owner has."""
    sizes = Counter(owner_of(each.call) for each in arrived if each.call is not None)
    sizes.update(owner for owner, *_ in (kept.nodes if kept else ()))
    return sizes


def _calls(arrived: Iterable[Reading], before: Trace | None) -> Iterator[Call]:
    for reading in arrived:
        if reading.call is not None and reading.kind is Kind.CALL:
            yield reading.call
    for node in before.nodes.values() if before else ():
        if node.is_call:
            yield node.call


def _is_charged(trace: Trace) -> bool:
    """Whether an agent's own total stands in the ledger: then it must be resolved again."""
    return any(
        (node := trace.nodes.get(span)) is not None and node.may_be_charged for span in trace.booked
    )
