"""Readings of a batch -> what to book, by what came before: a durable index of recent traces.

What is charged for a trace is a function of all its spans (`charge.py`); traces that have a call in
common are one (`meeting.py`). So each batch works out
the traces it touches anew, and books the difference to what stands in the ledger: reversals of
what no longer holds, and calls. A new trace of one call, the common case, has nothing to work out.

The file is shared by the workers of a data folder; it changes in one transaction with the plan of
the batch (`ingest/journal.py`), so no crash can leave one of the two.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tallyspan_collector.dialects.reading import Kind, Reading
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read.call import Call, Columns, columns_of
from tallyspan_collector.resolution.charge import charges, may_wait
from tallyspan_collector.resolution.index import TraceIndex, short_id
from tallyspan_collector.resolution.meeting import NODES_LIMIT, may_meet, meet_elsewhere
from tallyspan_collector.resolution.node import LedgerEntry, Node, Trace

QUIET_SECONDS = 60
WINDOW_SECONDS = 6 * 3600
"""Traces are remembered so long after their last span; what comes later is a call of its own."""


_ByTrace = dict[int, list[Reading]]


@dataclass(slots=True)
class Resolution:
    """What a batch books: calls, and what it takes back.

    `duplicates` and `wrappers` count spans that add no call. `lone` are the keys of new traces of
    one call, which are the first of `calls`; `of` has the trace of each call after them. `moved`
    are traces that turned out to have a call in common with another one, and that one; `places`
    where calls may be met (`meeting.py`): trace and emitter.
    """

    calls: list[Call] = field(default_factory=list)
    reversals: list[LedgerEntry] = field(default_factory=list)
    duplicates: int = 0
    wrappers: int = 0
    lone: list[int] = field(default_factory=list)
    of: list[Trace] = field(default_factory=list)
    touched: dict[int, Trace] = field(default_factory=dict)
    moved: dict[int, int] = field(default_factory=dict)
    places: dict[int, tuple[int, int]] = field(default_factory=dict)


class Resolver:
    """The traces in one file. Every call belongs to a transaction of the caller's."""

    def __init__(
        self,
        file: sqlite3.Connection,
        *,
        window_seconds: int = WINDOW_SECONDS,
        quiet_seconds: int = QUIET_SECONDS,
    ) -> None:
        self._index = TraceIndex(file, window_seconds)
        self._quiet_ms = quiet_seconds * 1000

    def resolve(self, readings: Iterable[Reading], now_ms: int | None = None) -> Resolution:
        """Return what the readings change in the ledger; `commit` makes it remembered."""
        now = _now_ms() if now_ms is None else now_ms
        by_trace: _ByTrace = {}
        for reading in readings:
            call = reading.call
            if call is not None and reading.kind is not Kind.NOTHING:
                key = short_id(call.trace_id)
                others = by_trace.get(key)
                if others is None:
                    by_trace[key] = [reading]
                else:
                    others.append(reading)
        made = Resolution()
        by_trace = _gathered(by_trace, self._index.moved(by_trace))
        known = self._index.find(by_trace, now)
        self._meet(made, by_trace, known, now)
        by_trace = _gathered(by_trace, made.moved)
        involved: list[int] = []
        for key, arrived in by_trace.items():
            only = arrived[0]
            if len(arrived) == 1 and only.kind is Kind.CALL and key not in known and only.call:
                made.lone.append(key)
                made.calls.append(only.call)
            else:
                involved.append(key)
        for key in involved:
            nodes = [node for each in by_trace[key] if (node := Node.of(each)) is not None]
            self._settle(made, key, nodes, known.get(key))
        for key, before in self._index.quiet(now - self._quiet_ms, now).items():
            if key not in made.touched and key not in made.moved:
                self._settle(made, key, (), before)
        return made

    def _meet(
        self, made: Resolution, by_trace: _ByTrace, known: dict[int, Trace], now: int
    ) -> None:
        """Find traces that have a call in common, told of by different emitters; join the known."""
        here = [
            (meeting, key)
            for key, arrived in by_trace.items()
            if key in known or any(may_meet(reading.call) for reading in arrived)
            for meeting in meet_elsewhere(_calls(arrived, known.get(key)))
        ]
        if not here:
            return
        first = self._index.places({meeting.place for meeting, _ in here}, now)
        known |= self._index.find({trace for trace, _ in first.values()} - by_trace.keys(), now)
        into: dict[int, int] = {}
        for (place, emitter, is_guess), key in here:
            if place not in first:
                first[place] = made.places[place] = key, emitter
                continue
            theirs, mine = _end(into, first[place][0]), _end(into, key)
            if theirs == mine or (is_guess and first[place][1] == emitter):
                continue
            sizes = [_size(by_trace, known, each) for each in (mine, theirs)]
            if is_guess and max(sizes) >= NODES_LIMIT:
                continue
            if sizes[0] > sizes[1]:  # the one with less in it moves, so that few move often
                mine, theirs = theirs, mine
            into[mine] = theirs
        for key in into:
            end = made.moved[key] = _end(into, key)
            if key in known:
                moved, there = known.pop(key), known.get(end) or Trace({}, {})
                known[end] = Trace(there.nodes | moved.nodes, there.booked | moved.booked)

    def commit(
        self,
        made: Resolution,
        costs: Sequence[Cost],
        said: Columns | None = None,
        now_ms: int | None = None,
    ) -> None:
        """Remember the batch; `costs` are those of its calls, in their order.

        `said` is what the calls say, field by field, if that is known (others may follow them).
        """
        now = _now_ms() if now_ms is None else now_ms
        if made.places:
            self._index.take_places(made.places, now)
        if made.moved:
            self._index.move(made.moved, now)
        first = len(made.lone)
        for trace, call, cost in zip(made.of, made.calls[first:], costs[first:], strict=True):
            trace.booked[call.span_id] = LedgerEntry(call, cost)
        if first:
            booked = list(zip(made.calls[:first], costs, strict=False))
            self._index.keep_lone(made.lone, booked, said or columns_of(made.calls), now)
        self._index.keep(
            {
                key: (trace, may_wait(trace.nodes, trace.booked))
                for key, trace in made.touched.items()
            },
            now,
        )

    def _settle(
        self, made: Resolution, key: int, arrived: Sequence[Node], before: Trace | None
    ) -> None:
        trace = before or Trace({}, {})
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
                made.reversals.append(booked)
                del trace.booked[span_id]
                booked_now -= 1
        for span_id, call in due.items():
            if span_id not in trace.booked:
                made.calls.append(call)
                made.of.append(trace)
                booked_now += 1
        made.duplicates += max(0, sum(node.is_call for node in arrived) - max(0, booked_now))
        made.touched[key] = trace


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


def _size(by_trace: _ByTrace, known: Mapping[int, Trace], key: int) -> int:
    return len(by_trace.get(key, ())) + (len(known[key].nodes) if key in known else 0)


def _calls(arrived: Iterable[Reading], before: Trace | None) -> Iterator[Call]:
    for reading in arrived:
        if reading.call is not None and reading.kind is Kind.CALL:
            yield reading.call
    for node in before.nodes.values() if before else ():
        if node.is_call:
            yield node.call


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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
