"""Spooled requests -> calls -> prices -> batches -> the ledger, after the acknowledgement."""

import gc
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import Future

import structlog
from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.engine import one_line
from tallyspan_collector.access.keys import Keys
from tallyspan_collector.columns import block
from tallyspan_collector.columns.pieces import pack
from tallyspan_collector.columns.priced import PricedRows, payers
from tallyspan_collector.columns.reader import PYTHON, SpanReader
from tallyspan_collector.columns.table import Table
from tallyspan_collector.dialects import Kind, Reading
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.errors import DecodeError, SpoolError
from tallyspan_collector.ingest.batch_reader import BatchReader
from tallyspan_collector.ingest.block import Encoder, payload
from tallyspan_collector.ingest.column_batch import column_batch
from tallyspan_collector.ingest.generation import match
from tallyspan_collector.ingest.inserter import MAX_PAUSE_SECONDS, TABLE, Inserter
from tallyspan_collector.ingest.journal import Batch, Entries, Journal
from tallyspan_collector.ingest.lives import Lives
from tallyspan_collector.ingest.pace import Pace
from tallyspan_collector.ingest.spool import Spool, SpooledRequest
from tallyspan_collector.ingest.tries import MAX_TRIES, Tries
from tallyspan_collector.ledger import entry
from tallyspan_collector.ledger.allowances import Allowances, Granted
from tallyspan_collector.ledger.covered import covered
from tallyspan_collector.metrics.counters import Dropped, Metrics
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.price_columns import PriceColumns
from tallyspan_collector.read.call import BLANK, Call, call_of, columns_of
from tallyspan_collector.resolution.node import LedgerEntry, Trace

BATCH_CALLS = 65_536
"""Calls in one insert, about; the more, the less each costs the store."""
BATCH_WAIT_SECONDS = 0.25
BUSY_CALLS, BUSY_WAIT_SECONDS = 4_096, 1.0
"""A batch that has so many calls by then waits for more: a part, a view cost the store the same."""
BATCHES_AHEAD = 2
RECOVERED_TOGETHER = 50
"""Batches of an earlier process that are settled together: the rollups are compared once."""
END_SECONDS = 0.5
"""How long a thread may take to end once nothing more is to be done."""
ANSWER_SECONDS = 30
"""How long another thread waits for what the journal has."""
GC_SECONDS, GC_ALL_SECONDS = 10, 600
"""How often cycles are looked for, between two batches (see `worker.run_loop`): among what is new,
and among all there is, which stops every thread for some 80 ms.
"""
QUIET_LOOK_SECONDS = 10
"""How often traces that wait for quiet are checked while nothing arrives."""

_log = structlog.get_logger()
_Read = tuple[SpooledRequest, list[Reading]]
_BLANK_CALL = call_of(BLANK | {"trace_id": "0" * 32, "span_id": "0" * 16})
_BLANK_READING = Reading(Kind.CALL, "", "", _BLANK_CALL)


class Loader:
    """Two threads: one makes batches of what the spool holds, one inserts them in order."""

    def __init__(
        self,
        client: Client,
        spool: Spool,
        journal: Journal,
        book: PriceBook,
        keys: Keys,
        metrics: Metrics,
        directory: Directory,
        reader: SpanReader = PYTHON,
        lives: Lives | None = None,
        collector: str = "",
    ) -> None:
        """`collector` is the name of this one, of which every entry is."""
        self._spool = spool
        self._journal = journal
        self._book = book
        self._metrics = metrics
        self._directory = directory
        self._collector = collector
        self.allowances = Allowances(book)
        self._reader = BatchReader(keys, metrics, reader)
        self._prices = PriceColumns(book)
        self._rows: Table | None = None
        self._encoder = Encoder(client, TABLE)
        self._inserter = Inserter(client, metrics, lives)
        self._lives = lives
        self._batches: queue.Queue[Batch | None] = queue.Queue(BATCHES_AHEAD)
        self._recovered = journal.planned(spool.id)
        self._waiting = {batch.batch_id: batch for batch in self._recovered}
        self.refused = journal.refused()
        """Batches that the store will never take."""
        self._ended: queue.SimpleQueue[tuple[Batch, str]] = queue.SimpleQueue()
        self._questions: queue.SimpleQueue[tuple[Collection[int], Future[dict[int, Trace]]]] = (
            queue.SimpleQueue()
        )
        self.warning = match(spool, journal)
        """What is wrong with the files since the start; empty: nothing."""
        self._tries = Tries(spool.path.with_suffix(".tries"), spool.id, journal.progress(spool.id))
        spool.planned_bytes = sum(len(batch.payload) for batch in self._recovered)
        self._is_draining = threading.Event()
        self._is_stopped = threading.Event()
        self._making = threading.Thread(target=self._make, name="loader", daemon=True)
        self._inserting = threading.Thread(target=self._insert, name="inserter", daemon=True)
        self._last_error = ""
        self._pace = Pace(lambda: spool.is_awaited)
        self._all_due = time.monotonic() + GC_ALL_SECONDS

    @property
    def last_error(self) -> str:
        """Why calls do not get into the ledger at the moment; empty: they do."""
        return self._last_error or self._inserter.last_error or self._inserter.delay()

    @property
    def restored(self) -> str:
        """A warning while the ledger may have what the journal does not know; empty: it has not."""
        return self._lives.warning if self._lives else ""

    @property
    def waiting(self) -> int:
        """Batches that the store is not known to have."""
        return len(self._waiting)

    def traces(self, numbers: Collection[int]) -> dict[int, Trace]:
        """Return those of the traces that are remembered, by their numbers; for other threads.

        The thread that has the journal looks them up between two batches. Raises `SpoolError`, also
        if it does not come to it.
        """
        answer: Future[dict[int, Trace]] = Future()
        self._questions.put((numbers, answer))
        try:
            return answer.result(ANSWER_SECONDS)
        except TimeoutError:
            reason = self._last_error or "it waits for the disk or the store"
            raise SpoolError(
                f"the loader looked up no traces within {ANSWER_SECONDS} s: {reason}"
            ) from None

    def _answer(self) -> None:
        if self._questions.empty():
            return
        numbers, answer = self._questions.get()
        try:
            answer.set_result(self._journal.traces(numbers))
        except Exception as error:  # noqa: BLE001  who asked raises it
            answer.set_exception(error)
        self._pace.give_way()

    def start(self) -> None:
        """Start both threads; batches that an earlier process left go first."""
        self._inserting.start()
        self._making.start()

    def stop(self, seconds: float) -> bool:
        """Bring what the spool holds into the ledger, at most so long; the rest stays on disk.

        Returns whether both threads ended: one that waits for the store is left behind.
        """
        self._is_draining.set()
        until = time.monotonic() + seconds
        self._making.join(max(0.0, until - time.monotonic()))
        self._inserting.join(max(0.0, until - time.monotonic()))
        self._is_stopped.set()
        self._tries.close()  # what is cut short by a stop is no sign against a request
        self._inserter.stop()
        for thread in (self._making, self._inserting):
            thread.join(END_SECONDS)
        if self._making.is_alive():
            return False  # it has the journal
        self._settle()
        return not self._inserting.is_alive()

    def _insert(self) -> None:
        for start in range(0, len(self._recovered), RECOVERED_TOGETHER):
            group = self._recovered[start : start + RECOVERED_TOGETHER]
            for ended in self._inserter.recover(group):
                self._ended.put(ended)
        while not self._is_stopped.is_set():
            try:
                ready = self._batches.get(timeout=BATCH_WAIT_SECONDS)
            except queue.Empty:
                self._tell()
                continue
            if ready is None:
                self._tell(is_last=True)
                return
            refusal = self._inserter.insert(ready)
            if refusal is not None:
                self._ended.put((ready, refusal))
            self._tell()

    def _tell(self, *, is_last: bool = False) -> None:
        if self._lives is None:
            return
        try:
            self._lives.tell(is_last=is_last)
        except Exception as error:  # noqa: BLE001  the store is away, say: the next time
            _log.warning("journal.not_told", error=one_line(error))

    def _settle(self) -> None:
        """Take out of the journal what the store has; mark what it refused for ever."""
        ended: list[tuple[Batch, str]] = []
        while not self._ended.empty():
            ended.append(self._ended.get())
        if not ended:
            return
        try:
            self._journal.settle(
                [batch for batch, refusal in ended if not refusal],
                [(batch, refusal) for batch, refusal in ended if refusal],
            )
            self.refused = self._journal.refused()
            self._last_error = ""
        except SpoolError as error:  # the disk is full, say: after a restart they are verified
            self._last_error = str(error)
            for each in ended:
                self._ended.put(each)
            return
        for batch, _ in ended:
            self._waiting.pop(batch.batch_id, None)
        self._spool.planned_bytes = sum(len(each.payload) for each in self._waiting.values())

    def _make(self) -> None:
        held: list[_Read] = []
        calls, since, due, look, clean = 0, 0.0, 0.0, 0.0, 0.0
        while not self._is_stopped.is_set():
            self._settle()
            self._answer()
            wait = max(0.0, due - time.monotonic()) if held else BATCH_WAIT_SECONDS
            taken = self._take(min(wait, BATCH_WAIT_SECONDS))
            requests = self._without_suspects(taken)
            self._pace.begin()
            if requests and not held:
                since = time.monotonic()
                due = since + BATCH_WAIT_SECONDS
            if requests:
                self._tries.begin((held[0][0] if held else requests[0]).id, requests[-1].id)
            for request in requests:
                readings = self._read(request)
                self._pace.give_way()
                if readings is not None:
                    held.append((request, readings))
                    calls += len(readings)
            is_over = self._is_draining.is_set() and not taken
            in_batch = calls + self._reader.rows
            if in_batch >= BUSY_CALLS:
                due = since + BUSY_WAIT_SECONDS
            if held and (in_batch >= BATCH_CALLS or time.monotonic() >= due or is_over):
                self._plan_until_done(held)
                self._tries.end()
                self._pace.give_way()
                held, calls = [], 0
            elif not held and time.monotonic() >= look:
                look = time.monotonic() + QUIET_LOOK_SECONDS
                self._plan_quiet()
            self._spool.checkpoint()
            if not held and time.monotonic() >= clean:
                clean = time.monotonic() + GC_SECONDS
                self._spool.tidy()
                self._collect()
            if is_over:
                break
        self._hand_on(None)

    def _take(self, wait_seconds: float) -> list[SpooledRequest]:
        try:
            return self._spool.take(wait_seconds)
        except SpoolError as error:
            self._last_error = str(error)
            _log.warning("spool.unreadable", error=str(error))
            self._is_stopped.wait(1)
            return []

    def _collect(self) -> None:
        is_due = time.monotonic() >= self._all_due
        if is_due:
            self._all_due = time.monotonic() + GC_ALL_SECONDS
        gc.collect(2 if is_due else 1)

    def _without_suspects(self, requests: list[SpooledRequest]) -> list[SpooledRequest]:
        """Work on each request alone that was in work when a process died; return the others.

        Those are the oldest in the spool, so nothing is held yet.
        """
        suspects = dict(self._tries.suspects)
        for request in requests:
            if request.id not in suspects:
                continue
            if (tries := suspects[request.id]) >= MAX_TRIES:
                self._bury(request, f"{tries} processes died while this request was in work")
            else:
                self._tries.begin(request.id, request.id)
                self._work_alone(request)
            self._tries.forget(request.id)
            self._tries.end()
        return [request for request in requests if request.id not in suspects]

    def _work_alone(self, request: SpooledRequest) -> None:
        readings = self._read(request)
        if readings is not None:
            self._plan_until_done([(request, readings)])

    def _read(self, request: SpooledRequest, *, is_row_reader: bool = True) -> list[Reading] | None:
        """Return the request's spans that are no rows; None: it cannot be read, and was buried."""
        try:
            reader = self._reader
            return reader.read(request) if is_row_reader else reader.read_alone(request)
        except Exception as error:  # noqa: BLE001  one request must not stop the others
            self._bury(request, str(error) if isinstance(error, DecodeError) else repr(error))
            return None

    def _bury(self, request: SpooledRequest, reason: str) -> None:
        _log.error("request.buried", request=request.id, error=reason)
        while not self._is_stopped.is_set():
            try:
                self._spool.bury(request, reason)
            except SpoolError as refused:
                self._last_error = str(refused)
                self._is_stopped.wait(1)
            else:
                self._reader.not_calls([request.id])  # it counts as buried, whole
                self._metrics.dropped(Dropped.BURIED, request.spans)
                return

    def _plan_until_done(self, held: list[_Read]) -> None:
        """Book what is held, and the rows read with it, without what can never be booked."""
        self._rows = self._reader.take()
        self._pace.give_way()
        pause, failures = 0.2, 0
        while held and not self._is_stopped.is_set():
            try:
                self._plan(held)
            except Exception as error:  # noqa: BLE001  the disk or the store: what is held stays
                failures += 1
                if self._give_up_some(held, error, failures):
                    pause, failures = 0.2, 0
                    continue
                self._last_error = f"batches cannot be made: {one_line(error)}"
                _log.warning("batch.failed", error=one_line(error))
                self._tries.end()
                self._is_stopped.wait(pause)
                self._tries.begin(held[0][0].id, held[-1][0].id)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)
            else:
                self._last_error = ""
                break
        self._rows = None

    def _give_up_some(self, held: list[_Read], error: Exception, failures: int) -> bool:
        """Give up the rows, then the company, then the request; return whether to try again now.

        A batch that cannot be built is taken apart at once, others after `MAX_TRIES`. Nothing is
        given up where not even a blank call can be booked: then the table lacks a column, or the
        prices cannot be read, and what is held waits until that is mended.
        """
        can_be_built = not isinstance(error, _CannotBuildError)
        if isinstance(error, SpoolError) or (can_be_built and failures < MAX_TRIES):
            return False
        if not self._can_book_blank():
            return False
        if self._rows is not None and self._rows.rows:
            self._rows = None
            readings = [(each, self._read(each, is_row_reader=False)) for each, _ in held]
            held[:] = [(each, spans) for each, spans in readings if spans is not None]
            return True
        unsound = [each for each in held if not self._is_sound(each[1])]
        if not unsound and failures < MAX_TRIES:
            return False
        if not unsound and len(held) > 1:
            for request, _ in held:
                self._work_alone(request)
            held.clear()
            return True
        for each in unsound or held[:]:
            self._bury(each[0], repr(error))
            held.remove(each)
        return True

    def _plan(self, held: Sequence[_Read]) -> None:
        until = held[-1][0].id if held else None
        readings = [reading for _, of_request in held for reading in of_request]
        rows = None
        if self._rows is not None and self._rows.rows:
            rows = column_batch(
                self._rows,
                self._prices,
                self._journal.identities,
                self._reader.remainders,
                readings,
                self._pace.give_way,
            )
            self._pace.give_way()
        booking = self._journal.book(
            self._spool.id, until, readings, self._build, self._pace.give_way, rows
        )
        if until is not None:
            self._spool.forget(until)
        for status, calls in Counter(cost.cost_status for cost in booking.costs).items():
            self._metrics.stored(status, calls)
        if booking.rows is not None:
            unpriced = int((booking.rows.of(booking.rows.costs.reason) > 0).sum())
            self._metrics.stored("priced", len(booking.rows.rows) - unpriced)
            self._metrics.stored("unpriced", unpriced)
        for provider, calls in Counter(booking.unread).items():
            self._metrics.unread_usage(provider, calls)
        self._metrics.dropped(Dropped.DUPLICATE, booking.duplicates)
        self._metrics.dropped(
            Dropped.NOT_A_CALL, self._reader.not_calls(each.id for each, _ in held)
        )
        self.allowances.take(booking.granted)
        if booking.batch is not None:
            self._waiting[booking.batch.batch_id] = booking.batch
            self._spool.planned_bytes += len(booking.batch.payload)
            self._hand_on(booking.batch)

    def _plan_quiet(self) -> None:
        """Book what waited for its trace to be quiet, while nothing arrives."""
        try:
            self._plan([])
            self._last_error = ""
        except Exception as error:  # noqa: BLE001  the disk or a call: it is looked at again
            self._last_error = f"batches cannot be made: {one_line(error)}"
            _log.warning("batch.failed", error=one_line(error))

    def _build(
        self,
        calls: Sequence[Call],
        reversals: Sequence[LedgerEntry],
        rows: PricedRows | None = None,
    ) -> Entries:
        batch_id, now_ms = int.from_bytes(os.urandom(8)), STORE_CLOCK.now_ms()
        self._encoder.open()
        try:
            blocks, costs, columns, granted = b"", [], {}, Granted()
            if calls or reversals:
                calls, granted = self.allowances.grant(covered(calls, self._book))
                costs = entry.costs(calls, self._book, self._directory)
                self._pace.give_way()
                columns = columns_of([*calls, *(each.call for each in reversals)])
                values = entry.columns(
                    columns,
                    [*costs, *(each.cost.reversed() for each in reversals)],
                    batch_id,
                    now_ms,
                    len(reversals),
                    self._collector,
                )
                self._pace.give_way()
                blocks = self._encoder.blocks(values)
                self._pace.give_way()
            packed = None
            if rows is not None:
                payer = payers(rows, self._directory)
                blocks += block.encode(
                    rows,
                    payer,
                    self._encoder.types,
                    batch_id,
                    now_ms,
                    self._pace.give_way,
                    self._collector,
                )
                self._pace.give_way()
                packed = pack(rows, payer, self._pace.give_way)
                self._pace.give_way()
            body = payload(blocks)
        except Exception as error:
            raise _CannotBuildError(repr(error)) from error
        size = len(calls) + len(reversals) + (0 if rows is None else len(rows.rows))
        return Entries(Batch(batch_id, size, block.NAMES, body), costs, columns, granted, packed)

    def _can_book_blank(self) -> bool:
        try:
            self._journal.resolve_and_undo(_BLANK_READING)
            return self._can_build([_BLANK_CALL])
        except Exception:  # noqa: BLE001  the store is away, say
            return False

    def _is_sound(self, readings: Sequence[Reading]) -> bool:
        calls = [reading.call for reading in readings if reading.call is not None]
        return not calls or self._can_build(calls)

    def _can_build(self, calls: Sequence[Call]) -> bool:
        try:
            self._build(calls, ())
        except _CannotBuildError:
            return False
        return True

    def _hand_on(self, batch: Batch | None) -> None:
        """Pass the batch to the inserter, None: it was the last.

        One that is not taken before the end stays in the journal.
        """
        while True:
            try:
                self._batches.put(batch, timeout=0.2)
            except queue.Full:
                if not self._is_stopped.is_set():
                    self._settle()
                    self._answer()
                    continue
            return


class _CannotBuildError(Exception):
    """One of the calls cannot be priced or written."""
