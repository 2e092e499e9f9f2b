"""The bookings of a data folder: one SQLite file that its workers share.

A batch with the very bytes of its INSERT, the spans in it, its changes to the index of recent
traces, and the last request of its worker that is booked: all of it is one transaction, so that a
crash at any moment leaves every call in one place, and workers that touch the same trace wait for
each other.

Kept calls have the names of their fields beside them: a file with a name that this version does not
have is refused when it is opened, and never misread.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_collector.columns.priced import PricedRows
from tallyspan_collector.dialects.reading import Kind, Reading
from tallyspan_collector.errors import SpoolError
from tallyspan_collector.ingest.column_batch import ColumnBatch
from tallyspan_collector.ingest.sqlite_file import (
    BUSY_SECONDS,
    RUN_OTHER,
    checksum_of,
    open_file,
    refusal,
)
from tallyspan_collector.ledger.allowances import Granted, Period
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read.call import Call, Columns
from tallyspan_collector.resolution.batches import Batches
from tallyspan_collector.resolution.company import WRAPPER
from tallyspan_collector.resolution.identity import NOBODY, Identities, owner_of
from tallyspan_collector.resolution.index import look_up, unknown_fields
from tallyspan_collector.resolution.node import LedgerEntry, Node, Trace
from tallyspan_collector.resolution.older import older_spans
from tallyspan_collector.resolution.resolver import SEEN_SECONDS, Resolver
from tallyspan_collector.resolution.runs import EMITTER, KEY, SPAN, NewRun

FILE_NAME = "journal.sqlite"
LAST_RUNS = 2_048
"""Batches of ten minutes at least: what came before a collector was killed and started again."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    batch_id TEXT PRIMARY KEY, spool INTEGER NOT NULL, rows INTEGER NOT NULL,
    columns TEXT NOT NULL, payload BLOB NOT NULL, refused_because TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS refused ON batches (batch_id) WHERE refused_because != '';
CREATE TABLE IF NOT EXISTS progress (spool INTEGER PRIMARY KEY, request INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS generations (spool INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS batch_count
    (one INTEGER PRIMARY KEY, batches INTEGER NOT NULL, restored_ms INTEGER NOT NULL);
INSERT OR IGNORE INTO batch_count VALUES (1, 0, 0);
CREATE TABLE IF NOT EXISTS lives (life TEXT PRIMARY KEY, began INTEGER NOT NULL, ended INTEGER);
"""
_ADDED = {"batches": ("checksum INTEGER", "planned_ms INTEGER")}
_IF_MOVED = "batches in it are not in the ledger, and spans that are sent again are charged again"


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows for the ledger: `payload` is ClickHouse Native in an LZ4 frame, never changed again."""

    batch_id: int
    rows: int
    columns: tuple[str, ...]
    payload: bytes


class Entries(NamedTuple):
    """What calls and reversals come to: their batch, the cost of each call, and their columns.

    `costs` and `columns` have the calls in their order; in `columns` the reversals follow.
    `granted`: what they were given of allowances; `packed`: the rows, to be remembered.
    """

    batch: Batch
    costs: Sequence[Cost]
    columns: Columns
    granted: Mapping[Period, float] = MappingProxyType({})
    packed: tuple[bytes, list[bytes]] | None = None


Build = Callable[[Sequence[Call], Sequence[LedgerEntry], PricedRows | None], Entries]
"""Prices calls, and reversals of entries that no longer hold, and makes a batch of them and rows.
"""


class Booking(NamedTuple):
    """What was booked: the batch (None: no entry changes), the cost of each call in it.

    `duplicates` counts calls that were read and add no entry: sent again, or another's report.
    `granted`: what the calls were given of allowances.
    `unread` has the provider of each call whose usage was not read whole. `rows` are the calls
    that were booked as rows.
    """

    batch: Batch | None
    costs: Sequence[Cost]
    duplicates: int
    granted: Mapping[Period, float] = MappingProxyType({})
    unread: Sequence[str] = ()
    rows: PricedRows | None = None


@dataclass(slots=True)
class _Spans:
    """The readings of a batch, each span once, by its number; `traces` has that of its trace."""

    identities: Identities
    readings: dict[int, Reading] = field(default_factory=dict)
    traces: dict[int, int] = field(default_factory=dict)
    calls: int = 0

    def add(self, reading: Reading) -> None:
        call = reading.call
        if call is None:
            return
        self.calls += reading.kind is Kind.CALL
        owner = owner_of(call)
        number = self.identities.span(owner, call.trace_id, call.span_id)
        older = self.readings.get(number)
        # of two versions in one batch the order does not matter: rows have none
        if older is None or _has_more(reading, older):
            self.readings[number] = reading
            self.traces[number] = self.identities.trace(owner.tenant, call.trace_id)


def _start(reading: Reading) -> int:
    return reading.call.start_time_ns if reading.call else 0


def _has_more(one: Reading, other: Reading) -> bool:
    node, older = Node.of(one), Node.of(other)
    return node is not None and older is not None and node.weight > older.weight


@dataclass(frozen=True, slots=True)
class RefusedBatch:
    """A batch that the store will never take, and why."""

    batch_id: int
    rows: int
    bytes: int
    reason: str


def _providers_unread(entries: Entries) -> Sequence[str]:
    columns = entries.columns
    if not columns:
        return ()
    of_calls = zip(columns["provider_name"], columns["unread"], entries.costs, strict=False)
    return [provider for provider, unread, _ in of_calls if unread]


class Journal:
    """The journal of one data folder; used by one thread of each process. Raises `SpoolError`."""

    def __init__(
        self,
        path: Path,
        *,
        seen_seconds: int = SEEN_SECONDS,
        trusted_keys: Collection[str] = (),
    ) -> None:
        self._path = path
        self._file = open_journal(path)
        if unknown := ", ".join(unknown_fields(self._file)):
            reason = f"it keeps fields that this version does not have ({unknown}); {RUN_OTHER}"
            raise refusal(path, "journal", _IF_MOVED, reason)
        self._resolver = Resolver(
            self._file, folder=path.parent, seen_seconds=seen_seconds, trusted=trusted_keys
        )
        self._batches = Batches(self._file, frozenset(trusted_keys))
        self.identities = self._resolver.identities

    def book(
        self,
        spool: int,
        until: int | None,
        readings: Iterable[Reading],
        build: Build,
        give_way: Callable[[], None] = lambda: None,
        rows: ColumnBatch | None = None,
    ) -> Booking:
        """Book the readings of a spool's requests, up to the request `until`; all or nothing.

        `rows` are their other calls. Without readings, and `until` None, it books what waited for
        its trace to be quiet. `build` is called if an entry changes; its error, and `SpoolError`,
        undo the whole booking. `give_way` is called between the steps.
        """
        spans = _Spans(self.identities)
        of_batches: list[Reading] = []
        for reading in readings:
            if reading.batch is None:
                spans.add(reading)
            else:
                of_batches.append(reading)
        entries: Entries | None = None
        now_ms = STORE_CLOCK.now_ms()
        with self._change():
            runs = self._resolver.runs
            runs.refresh(now_ms)
            if rows is not None:
                rows.leave_company(runs, may_be_older=self.identities.may_be_older)
                for reading in rows.leaving():
                    spans.add(reading)
            give_way()
            arrived = self._arrived(spans)
            resolution = self._resolver.resolve(arrived.values(), now_ms)
            give_way()
            of_batch = self._batches.resolve(of_batches, now_ms)
            give_way()
            kept = None if rows is None else rows.kept
            calls = [*resolution.calls, *of_batch.calls]
            reversals = [*resolution.reversals, *of_batch.reversals]
            if calls or reversals or kept:
                entries = build(calls, reversals, kept)
            costs: Sequence[Cost] = entries.costs if entries else ()
            batch = entries.batch if entries else None
            run = NewRun(runs.next_run())
            if arrived:
                numbers = np.fromiter(arrived, np.int64, len(arrived))
                traces = [spans.traces[number] for number in arrived]
                emitters = [
                    WRAPPER if reading.kind is Kind.WRAPPER else 0 for reading in arrived.values()
                ]
                run.add(np.array(traces, np.int64), numbers, emitters=np.array(emitters, np.int64))
            give_way()
            if rows is not None and kept and entries and entries.packed:
                rows.remember(run, *entries.packed)
            columns = (entries.columns or None) if entries else None
            alone = len(resolution.calls)
            self._resolver.commit(resolution, costs[:alone], columns, now_ms, run)
            self._batches.commit(of_batch, costs[alone:], now_ms)
            give_way()
            self._plan(spool, until, batch, now_ms)
        again = spans.calls - sum(reading.kind is Kind.CALL for reading in arrived.values())
        again += 0 if rows is None else rows.calls_again
        granted = entries.granted if entries else Granted()
        unread = _providers_unread(entries) if entries else ()
        again += resolution.duplicates + of_batch.duplicates
        return Booking(batch, costs, again, granted, unread, kept)

    def traces(self, numbers: Collection[int]) -> dict[int, Trace]:
        """Return those of the traces that are remembered, by their numbers. Raises `SpoolError`."""
        with self._change():
            return self._resolver.traces(numbers, STORE_CLOCK.now_ms())

    def resolve_and_undo(self, reading: Reading) -> None:
        """Resolve a reading and book nothing. Raises what resolving raises, and `SpoolError`."""
        spans = _Spans(self.identities)
        spans.add(reading)
        with suppress(_UndoError), self._change():
            self._resolver.resolve(spans.readings.values(), STORE_CLOCK.now_ms())
            raise _UndoError

    def _arrived(self, spans: "_Spans") -> dict[int, Reading]:
        """Return the readings of spans that no batch has, by number."""
        by_number = spans.readings
        if not by_number:
            return {}
        numbers = np.fromiter(by_number, np.int64, len(by_number))
        traces = np.array([spans.traces[number] for number in by_number], np.int64)
        is_again = self._resolver.runs.has_spans(traces, numbers)
        fresh = {
            number: reading
            for (number, reading), is_known in zip(
                by_number.items(), is_again.tolist(), strict=True
            )
            if not is_known
        }
        if self.identities.may_be_older:
            older = {
                number: self.identities.span(NOBODY, call.trace_id, call.span_id)
                for number, reading in fresh.items()
                if (call := reading.call) is not None
            }
            taken = older_spans(self._file, older.values())
            fresh = {number: each for number, each in fresh.items() if older[number] not in taken}
        # in an order of their own: how they came is not known of those that were rows
        return dict(sorted(fresh.items(), key=lambda each: (_start(each[1]), each[0])))

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Make what happens inside one transaction, on disk at its end; an error undoes it all."""
        try:
            self._file.execute("BEGIN IMMEDIATE")
            yield
            self._file.execute("COMMIT")
        except BaseException as error:
            if self._file.in_transaction:  # SQLite itself ends it when the disk is full
                self._file.execute("ROLLBACK")
            self._resolver.runs.reload()
            if isinstance(error, sqlite3.Error):
                reason = f"the journal {self._path} cannot be written: {error}"
                raise SpoolError(reason) from None
            raise

    def _plan(self, spool: int, until: int | None, batch: Batch | None, now_ms: int) -> None:
        if until is not None:
            self._file.execute("INSERT OR REPLACE INTO progress VALUES (?, ?)", (spool, until))
        if batch is not None:
            names = ",".join(batch.columns)
            self._file.execute("UPDATE batch_count SET batches = batches + 1")
            self._file.execute(
                "INSERT INTO batches"
                " (batch_id, spool, rows, columns, payload, checksum, planned_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(str(batch.batch_id), spool, batch.rows, names, batch.payload),
                    *(_checksum(batch), now_ms),
                ),
            )

    def progress(self, spool: int) -> int:
        """Return the last request of the spool that is booked; 0: none is."""
        row = self._file.execute(
            "SELECT request FROM progress WHERE spool = ?", (spool,)
        ).fetchone()
        return int(row[0]) if row else 0

    def generation(self, spool: int) -> int | None:
        """Return the generation of the spool's file at its last start; None: there was none."""
        row = self._file.execute(
            "SELECT generation FROM generations WHERE spool = ?", (spool,)
        ).fetchone()
        return int(row[0]) if row else None

    def keep_generation(self, spool: int, generation: int) -> None:
        """Keep the generation that the spool's file has from now on. Raises `SpoolError`."""
        with self._change():
            self._file.execute(
                "INSERT OR REPLACE INTO generations VALUES (?, ?)", (spool, generation)
            )

    def planned(self, spool: int) -> list[Batch]:
        """Return the spool's batches that the store is not known to have.

        One whose bytes on disk are others now is refused instead, with that as the reason.
        """
        rows = self._file.execute(
            "SELECT batch_id, rows, columns, payload, checksum FROM batches"
            " WHERE spool = ? AND refused_because = '' ORDER BY rowid",
            (spool,),
        ).fetchall()
        batches: list[Batch] = []
        damaged: list[tuple[Batch, str]] = []
        for number, size, names, payload, checksum in rows:
            batch = Batch(int(number), size, tuple(names.split(",")), payload)
            if checksum in {None, _checksum(batch)}:
                batches.append(batch)
            else:
                damaged.append(
                    (batch, f"the journal {self._path} has other bytes than it was given")
                )
        if damaged:
            self.settle([], damaged)
        return batches

    def refused(self) -> int:
        """Return how many batches of the data folder the store will never take."""
        (batches,) = self._file.execute(
            "SELECT count() FROM batches WHERE refused_because != ''"
        ).fetchone()
        return int(batches)

    def settle(self, confirmed: Sequence[Batch], refused: Sequence[tuple[Batch, str]]) -> None:
        """Forget batches that the store has; keep those it will never take, with the reason."""
        with self._change():
            self._file.executemany(
                "DELETE FROM batches WHERE batch_id = ?",
                [(str(each.batch_id),) for each in confirmed],
            )
            self._file.executemany(
                "UPDATE batches SET refused_because = ? WHERE batch_id = ?",
                [(reason, str(each.batch_id)) for each, reason in refused],
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _UndoError(Exception):
    """What was tried is not to be booked."""


def _checksum(batch: Batch) -> int:
    return checksum_of(f"{batch.batch_id} {batch.rows} {batch.columns}".encode(), batch.payload)


def open_journal(path: Path) -> sqlite3.Connection:
    """Return a connection to a journal, made if it is not there. Raises `SpoolError`."""
    return open_file(path, _SCHEMA, "journal", _IF_MOVED, _ADDED)


def recall(path: Path, trace_id: str, tenants: Collection[str] = ("",)) -> list[Trace]:
    """Return what the journal has of a trace, for each of the tenants that sent spans of it.

    Nothing: it is not there (any more), or there is no journal. The file is only read, and never
    created. Raises `SpoolError`.
    """
    if not path.is_file():
        return []
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as file:
            file.execute("BEGIN")  # one moment of it: workers write meanwhile
            identities = Identities.read(file)
            numbers = [identities.trace(tenant, trace_id) for tenant in tenants]
            if identities.may_be_older:
                numbers.append(identities.trace("", trace_id))
            traces = [look_up(file, number) for number in dict.fromkeys(numbers)]
    except (sqlite3.Error, TypeError) as error:  # TypeError: of another version, with other fields
        raise SpoolError(f"the journal {path} cannot be read: {error}") from None
    return [
        trace
        for trace in traces
        # another trace may have the same number
        if trace and any(node.call.trace_id == trace_id for node in trace.nodes.values())
    ]


def oldest_batch(path: Path) -> datetime | None:
    """Return when the oldest batch was made that the store is not known to have; None: none is.

    Those that it will never take do not count. Raises `SpoolError`.
    """
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as file:
            (oldest_ms,) = file.execute(
                "SELECT min(ifnull(planned_ms, 0)) FROM batches WHERE refused_because = ''"
            ).fetchone()
    except sqlite3.Error as error:
        raise SpoolError(f"the journal {path} cannot be read: {error}") from None
    return None if oldest_ms is None else datetime.fromtimestamp(oldest_ms / 1000, UTC)


class Touched(NamedTuple):
    """The last run that was looked at, and the numbers of the traces that came in those after it.

    `callless` are those of which only spans around calls came.
    """

    run: int
    traces: set[int]
    callless: set[int]


def touched(path: Path, after: int | None) -> Touched:
    """Return which traces got spans in the runs after one; None: in the last `LAST_RUNS`.

    Those too if there is no such run: the file is an older copy. Raises `SpoolError`.
    """
    traces: set[int] = set()
    around: set[int] = set()
    with_calls: set[int] = set()
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as file:
            (last,) = file.execute("SELECT ifnull(max(run), 0) FROM runs").fetchone()
            first = last - LAST_RUNS if after is None or after > last else after
            for run, keys in file.execute("SELECT run, keys FROM runs WHERE run > ?", (first,)):
                rows = np.frombuffer(keys, np.int64).reshape(5, -1)
                traces.update(rows[KEY].tolist())
                rows = rows[:, rows[SPAN] != 0]  # else only: the trace is known
                around.update(rows[KEY][rows[EMITTER] == WRAPPER].tolist())
                with_calls.update(rows[KEY][rows[EMITTER] != WRAPPER].tolist())
                last = max(last, run)
    except sqlite3.Error as error:
        raise SpoolError(f"the journal {path} cannot be read: {error}") from None
    return Touched(last, traces, around - with_calls)


def refused_batches(path: Path) -> list[RefusedBatch]:
    """Return the batches that the store will never take. Raises `SpoolError`."""
    file = open_journal(path)
    try:
        rows = file.execute(
            "SELECT batch_id, rows, length(payload), refused_because FROM batches"
            " WHERE refused_because != '' ORDER BY rowid"
        ).fetchall()
        return [RefusedBatch(int(row[0]), *row[1:]) for row in rows]
    finally:
        file.close()


def replay(path: Path, batch_id: int) -> bool:
    """Let a refused batch be tried again when its worker starts next; False: there is none."""
    return _change_refused(path, "UPDATE batches SET refused_because = ''", batch_id)


def drop(path: Path, batch_id: int) -> bool:
    """Forget a refused batch; False: there is none."""
    return _change_refused(path, "DELETE FROM batches", batch_id)


def _change_refused(path: Path, what: str, batch_id: int) -> bool:
    file = open_journal(path)
    try:
        where = " WHERE batch_id = ? AND refused_because != ''"
        return file.execute(what + where, (str(batch_id),)).rowcount > 0
    finally:
        file.close()


def hand_over(path: Path, of: int, to: int) -> int:
    """Make batches of the spool `of` those of the spool `to`; return the last request booked."""
    file = open_journal(path)
    try:
        file.execute("UPDATE batches SET spool = ? WHERE spool = ?", (to, of))
        row = file.execute("SELECT request FROM progress WHERE spool = ?", (of,)).fetchone()
        return int(row[0]) if row else 0
    finally:
        file.close()


def status(path: Path, spool: int) -> dict[str, int]:
    """Return how many batches of a spool wait, their rows and bytes. Raises `SpoolError`."""
    file = open_journal(path)
    try:
        row = file.execute(
            "SELECT count(), ifnull(sum(rows), 0), ifnull(sum(length(payload)), 0) FROM batches"
            " WHERE spool = ? AND refused_because = ''",
            (spool,),
        ).fetchone()
        return dict(zip(("batches", "batch_rows", "batch_bytes"), row, strict=True))
    finally:
        file.close()
