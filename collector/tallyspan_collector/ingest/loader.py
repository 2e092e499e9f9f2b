"""Spooled requests -> calls -> prices -> batches -> the ledger, behind the acknowledgement."""

import hashlib
import queue
import re
import threading
import time
from collections.abc import Sequence
from typing import Any

import structlog
from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.engine import one_line
from tallyspan_collector import entry, otlp
from tallyspan_collector.dialects import Kind, Reader, Reading
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.errors import DecodeError, SpoolError
from tallyspan_collector.ingest.block import Encoder
from tallyspan_collector.ingest.inserter import LONGEST_PAUSE_SECONDS, TABLE, Inserter
from tallyspan_collector.ingest.seen import Seen, identity
from tallyspan_collector.ingest.spool import LOGS, Batch, Request, Spool
from tallyspan_collector.keys import Keys
from tallyspan_collector.metrics import Dropped, Metrics
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.resolution.resolver import Entry, Resolver

BATCH_CALLS = 20_000
BATCH_WAIT_SECONDS = 0.25
BATCHES_AHEAD = 2

_CALL_ID = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}")
_log = structlog.get_logger()
_Read = tuple[Request, list[Reading]]


class Loader:
    """Two threads: one makes batches of what the spool holds, one inserts them in order."""

    def __init__(
        self,
        client: Client,
        spool: Spool,
        seen: Seen,
        resolver: Resolver,
        book: PriceBook,
        keys: Keys,
        metrics: Metrics,
        directory: Directory,
    ) -> None:
        self._spool = spool
        self._seen = seen
        self._resolver = resolver
        self._book = book
        self._keys = keys
        self._metrics = metrics
        self._directory = directory
        self._reader = Reader()
        self._encoder = Encoder(client, TABLE)
        self._inserter = Inserter(client, spool, metrics)
        self._batches: queue.Queue[Batch | None] = queue.Queue(BATCHES_AHEAD)
        self._is_draining = threading.Event()
        self._is_stopped = threading.Event()
        self._making = threading.Thread(target=self._make, name="loader", daemon=True)
        self._inserting = threading.Thread(target=self._insert, name="inserter", daemon=True)
        self._last_error = ""

    @property
    def last_error(self) -> str:
        """Why calls do not get into the ledger at the moment; empty: they do."""
        return self._last_error or self._inserter.last_error

    def start(self) -> None:
        """Begin with what an earlier process left."""
        self._inserting.start()
        self._making.start()

    def stop(self, seconds: float) -> None:
        """Bring what the spool holds into the ledger, at most so long; the rest stays on disk."""
        self._is_draining.set()
        until = time.monotonic() + seconds
        self._making.join(max(0.0, until - time.monotonic()))
        self._inserting.join(max(0.0, until - time.monotonic()))
        self._is_stopped.set()
        self._inserter.stop()
        self._making.join()
        self._inserting.join()

    def _insert(self) -> None:
        self._inserter.recover()
        while (batch := self._batches.get()) is not None:
            self._inserter.insert(batch)

    def _make(self) -> None:
        held: list[_Read] = []
        calls, due = 0, 0.0
        while not self._is_stopped.is_set():
            wait = max(0.0, due - time.monotonic()) if held else BATCH_WAIT_SECONDS
            requests = self._spool.take(min(wait, BATCH_WAIT_SECONDS))
            if requests and not held:
                due = time.monotonic() + BATCH_WAIT_SECONDS
            for request in requests:
                read = self._read(request)
                if read is not None:
                    held.append((request, read))
                    calls += len(read)
            is_over = self._is_draining.is_set() and not requests
            if held and (calls >= BATCH_CALLS or time.monotonic() >= due or is_over):
                self._plan_until_done(held)
                held, calls = [], 0
            if is_over:
                break
        self._batches.put(None)

    def _read(self, request: Request) -> list[Reading] | None:
        """Return what the request's spans are; None: it cannot be read, and was buried."""
        try:
            is_logs = request.kind == LOGS
            spans = otlp.decode_logs(request.blob) if is_logs else otlp.decode(request.blob)
            read = self._reader.read_log if is_logs else self._reader.read
            readings = [read(span) for span in spans]
        except Exception as error:  # noqa: BLE001  one request must not stop the others
            self._bury(request, error)
            return None
        kept = [reading for reading in readings if reading.call is not None]
        calls = sum(reading.kind is Kind.CALL for reading in kept)
        self._metrics.dropped(Dropped.NOT_A_CALL, len(spans) - calls)
        for reading in kept:
            _join_trace(reading)
        source = self._keys.source(request.source)
        if source is not None:
            for reading in kept:
                call = reading.call
                if call is not None:
                    call.source = source.name
                    call.tenant = source.tenant
                    call.key_department = source.department
        return kept

    def _bury(self, request: Request, error: Exception) -> None:
        reason = str(error) if isinstance(error, DecodeError) else repr(error)
        _log.error("request.buried", request=request.id, error=reason)
        self._metrics.dropped(Dropped.BURIED)
        while not self._is_stopped.is_set():
            try:
                self._spool.bury(request, reason)
            except SpoolError as refused:
                self._last_error = str(refused)
                self._is_stopped.wait(1)
            else:
                return

    def _plan_until_done(self, held: list[_Read]) -> None:
        pause = 0.2
        while held and not self._is_stopped.is_set():
            try:
                self._plan(held)
            except _CannotBuildError as error:
                for request, readings in [*held]:
                    if not self._is_sound(readings):
                        self._bury(request, error)
                        held.remove((request, readings))
            except Exception as error:  # noqa: BLE001  the disk or the store: what is held stays
                self._last_error = f"batches cannot be made: {one_line(error)}"
                _log.warning("batch.failed", error=one_line(error))
                self._is_stopped.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            else:
                self._last_error = ""
                return

    def _plan(self, held: Sequence[_Read]) -> None:
        requests = [request for request, _ in held]
        # By the first request alone: after a crash the batch may get more requests, not another id.
        digest = hashlib.blake2b(f"{self._spool.id}:{requests[0].id}".encode(), digest_size=8)
        batch_id = int.from_bytes(digest.digest())
        arrived = [reading for _, readings in held for reading in readings]
        by_identity: dict[int, Reading] = {}
        for reading in arrived:
            if reading.call is not None:
                key = identity(reading.call.trace_id, reading.call.span_id)
                by_identity.setdefault(key, reading)
        fresh = self._seen.claim(list(by_identity), batch_id) if arrived else set()
        made = self._resolver.resolve(
            [reading for key, reading in by_identity.items() if key in fresh], batch_id
        )
        try:
            batch = None
            costs: list[dict[str, Any]] = []
            if made.entries:
                columns, costs = self._columns(made.entries, batch_id)
                payload = self._encoder.encode(columns)
                batch = Batch(batch_id, len(made.entries), tuple(columns), payload)
        except BaseException as error:
            self._resolver.give_up()
            if isinstance(error, _CannotBuildError):
                # A request goes, maybe the one that names the batch: its claims are not to stay.
                self._seen.release(batch_id)
            raise
        self._resolver.commit(made, costs)
        self._spool.plan(requests, batch)
        for cost in costs:
            self._metrics.stored(str(cost["cost_status"]))
        again = sum(reading.kind is Kind.CALL for reading in arrived) - sum(
            by_identity[key].kind is Kind.CALL for key in fresh
        )
        self._metrics.dropped(Dropped.DUPLICATE, again + made.duplicates)
        if batch is not None:
            self._hand_on(batch)

    def _columns(
        self, entries: Sequence[Entry], batch_id: int
    ) -> tuple[dict[str, list[object]], list[dict[str, Any]]]:
        try:
            costs = [
                entry.paid_by(each.call, self._directory)
                | (
                    entry.cost(each.call, self._book)
                    if each.reversed_cost is None
                    else entry.reversed_cost(each.reversed_cost)
                )
                for each in entries
            ]
            calls = [each.call for each in entries]
            signs = [1 if each.reversed_cost is None else -1 for each in entries]
            now = time.time_ns() // 1_000_000
            return entry.columns(calls, costs, batch_id, now, signs), costs
        except Exception as error:
            raise _CannotBuildError(repr(error)) from error

    def _is_sound(self, readings: Sequence[Reading]) -> bool:
        entries = [Entry(reading.call) for reading in readings if reading.call is not None]
        try:
            if entries:
                self._columns(entries, 0)
        except _CannotBuildError:
            return False
        return True

    def _hand_on(self, batch: Batch) -> None:
        """Give the batch to the inserter; one not taken before the end stays in the spool."""
        while not self._is_stopped.is_set():
            try:
                self._batches.put(batch, timeout=0.2)
            except queue.Full:
                continue
            else:
                return


def _join_trace(reading: Reading) -> None:
    """Put a report that names another span as its very call into that span's trace.

    A background answer is retrieved in a trace of its own; traces are resolved one by one.
    """
    call = reading.call
    if call is not None and _CALL_ID.fullmatch(call.same_call_id):
        call.trace_id = call.same_call_id[:32]


class _CannotBuildError(Exception):
    """A call among these cannot be priced or written."""
