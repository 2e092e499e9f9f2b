"""Requests that are acknowledged and not yet in the ledger: SQLite, one fsync a group of requests.

A request is a row of `requests` until the calls in it are booked as a batch (`journal.py`), and for
a moment after; one that cannot be read is a row of `dead`. Both hold the OTLP request as it came.

One thread writes. Senders wait for their group's commit.
"""

import asyncio
import os
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import lz4.block

from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_collector.errors import DecodeError, OverloadedError, SpoolError
from tallyspan_collector.ingest.sqlite_file import PAGE_BYTES, checksum_of, open_file, refusal

GROUP_REQUESTS = 256
MAX_MEMORY_BYTES = 32 << 20
"""Requests kept in memory for the loader; those above it are read from the file."""
TAKEN_AT_ONCE = 64
CHECKPOINT_BYTES = 8 << 20
"""Written between two checkpoints."""
MAX_KEPT_BYTES = 64 << 20
"""Of dead requests above which a file is only made smaller if half of it is empty."""
LOG_PAGES = 8_000
"""Pages of SQLite's log above which the writer itself makes a checkpoint."""
_LAST_ID = (1 << 63) - 1
TRACES, LOGS = "traces", "logs"
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value);
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, received_ms INTEGER NOT NULL, signal TEXT NOT NULL,
    source TEXT NOT NULL, blob BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS dead (
    id INTEGER PRIMARY KEY AUTOINCREMENT, died_ms INTEGER NOT NULL, signal TEXT NOT NULL,
    source TEXT NOT NULL, reason TEXT NOT NULL, blob BLOB NOT NULL);
"""
_ADDED = dict.fromkeys(("requests", "dead"), ("spans INTEGER", "checksum INTEGER"))
COPIED = "signal, source, blob, spans, checksum"
"""What a request takes along into another table."""


@dataclass(frozen=True, slots=True)
class SpooledRequest:
    """An OTLP request that was acknowledged.

    `signal` is traces or logs, `source` the id of the ingest key it came with, `packed` its body in
    LZ4, `spans` how many were counted in it. `checksum` is that of the file; None: it was not read
    from there.
    """

    id: int
    received_ms: int
    signal: str
    source: str
    packed: bytes
    spans: int = 1
    checksum: int | None = None

    def body(self) -> bytes:
        """Return the request as it came. Raises `DecodeError` if the bytes on disk are others."""
        if self.checksum not in {None, _checksum(self.signal, self.source, self.packed)}:
            raise DecodeError(
                "the spool has other bytes than were put there: their checksum says so"
            )
        try:
            body: bytes = lz4.block.decompress(self.packed)
        except (lz4.block.LZ4BlockError, ValueError) as error:
            raise DecodeError(f"the spool has other bytes than were put there: {error}") from None
        return body


@dataclass(frozen=True, slots=True)
class DeadRequest:
    """A request that could not be read or booked, and why; `signal` and `source` as it came."""

    id: int
    died_ms: int
    signal: str
    source: str
    reason: str
    bytes: int


@dataclass(slots=True)
class _Put:
    signal: str
    source: str
    blob: bytes
    spans: int
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[None]"


@dataclass(slots=True)
class _Burial:
    request: SpooledRequest
    reason: str
    done: "Future[None]"


class _Wake:
    """There is something to forget, or another process may have put dead requests back."""


class _Tidy(_Wake):
    """Nothing is under way: what was deleted can leave the disk."""


_WAKE, _TIDY = _Wake(), _Tidy()
_Command = _Put | _Burial | _Wake
_IF_MOVED = "an empty one is begun, and the requests in this one do not get into the ledger"


def open_spool(path: Path) -> sqlite3.Connection:
    """Return a connection to a spool file, made if it is not there. Raises `SpoolError`."""
    file = open_file(path, SCHEMA, "spool", _IF_MOVED, _ADDED)
    try:
        (state,) = file.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(state)
        file.execute(
            "INSERT OR IGNORE INTO meta VALUES ('id', ?)", (int.from_bytes(os.urandom(7)),)
        )
    except sqlite3.Error as error:
        raise refusal(path, "spool", _IF_MOVED, error) from None
    return file


class Spool:
    """The spool file of one process. Raises `SpoolError` if the file cannot be used."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self.last_error = ""
        self.planned_bytes = 0
        """Bytes of batches made of this spool's requests that the store does not have yet."""
        self._file = open_spool(path)
        self._file.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
        self._logged_bytes = 0
        self.id: int = self._file.execute("SELECT value FROM meta WHERE name = 'id'").fetchone()[0]
        self._commands: queue.SimpleQueue[_Command | None] = queue.SimpleQueue()
        self._bytes: int
        (self._bytes,) = self._file.execute(
            "SELECT ifnull(sum(length(blob)), 0) FROM requests"
        ).fetchone()
        (self._committed,) = self._file.execute(
            "SELECT ifnull(max(id), 0) FROM requests"
        ).fetchone()
        self._written = self._committed
        self._handing_on = threading.Condition()
        self._memory: deque[SpooledRequest] = deque()
        self._memory_bytes = 0
        self._cursor = 0
        self._forget_until = self._forgotten = 0
        self._requests: int
        (self._requests,) = self._file.execute("SELECT count() FROM requests").fetchone()
        self.dead: int
        """Requests that were put aside."""
        (self.dead,) = self._file.execute("SELECT count() FROM dead").fetchone()
        self._awaited_bytes = 0
        self._reading = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._writer = threading.Thread(target=self._write, name="spool", daemon=True)
        self._writer.start()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of requests, and of batches made of them, that are not in the ledger yet."""
        return self._bytes + self.planned_bytes

    @property
    def waiting(self) -> int:
        """Requests that are not booked as a batch yet."""
        return self._requests

    @property
    def is_awaited(self) -> bool:
        """Whether senders wait for their requests to be on disk."""
        return self._awaited_bytes > 0

    async def put(self, source: str, blob: bytes, signal: str = TRACES, spans: int = 1) -> None:
        """Return once the request with so many spans is on disk; `signal` is traces or logs.

        Raises `OverloadedError` above the limit, `SpoolError` if the disk does not take it.
        """
        if self.waiting_bytes >= self.limit_bytes:
            raise OverloadedError(
                f"{self.waiting_bytes} bytes wait for the store and the limit is {self.limit_bytes}"
            )
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._awaited_bytes += len(blob)
        try:
            self._commands.put(_Put(signal, source, blob, spans, loop, done))
            await done
        finally:
            self._awaited_bytes -= len(blob)

    def take(self, wait_seconds: float) -> list[SpooledRequest]:
        """Return the next requests in order; nothing if none comes in time. Raises `SpoolError`."""
        with self._handing_on:
            if self._cursor >= self._committed:
                self._handing_on.wait(wait_seconds)
            if self._cursor >= self._committed and self._has_grown():
                self._commands.put(_WAKE)
                self._handing_on.wait(wait_seconds)
            if self._cursor >= self._committed:
                return []
            if self._memory and self._memory[0].id == self._cursor + 1:
                taken = [
                    self._memory.popleft() for _ in range(min(TAKEN_AT_ONCE, len(self._memory)))
                ]
                self._memory_bytes -= sum(len(request.packed) for request in taken)
                self._cursor = taken[-1].id
                return taken
            until = self._memory[0].id if self._memory else self._committed + 1
        taken = self._from_file(until)
        with self._handing_on:
            self._cursor = taken[-1].id if taken else until - 1
        return taken

    def _from_file(self, until: int) -> list[SpooledRequest]:
        """Return the next requests before that one, as many as may be in memory."""
        taken: list[SpooledRequest] = []
        size = 0
        try:
            for row in self._reading.execute(
                "SELECT id, received_ms, signal, source, blob, ifnull(spans, 1), checksum"
                " FROM requests WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
                (self._cursor, until, TAKEN_AT_ONCE),
            ):
                taken.append(SpooledRequest(*row))
                size += len(taken[-1].packed)
                if size >= MAX_MEMORY_BYTES:
                    break
        except sqlite3.Error as error:
            raise SpoolError(f"the spool {self.path} cannot be read: {error}") from None
        return taken

    def _has_grown(self) -> bool:
        """Whether the file has requests that the writer has not handed on; counts the dead anew.

        `tallyspan spool replay` adds some; or the writer is about to hand them on. The writer knows
        which, and counts.
        """
        try:
            last, self.dead = self._reading.execute(
                "SELECT (SELECT ifnull(max(id), 0) FROM requests), count() FROM dead"
            ).fetchone()
        except sqlite3.Error as error:
            raise SpoolError(f"the spool {self.path} cannot be read: {error}") from None
        return bool(last > self._committed)

    def resume(self, until: int) -> None:
        """Begin after this request: an earlier process booked all up to it."""
        self._cursor = max(self._cursor, until)
        self.forget(until)

    def forget(self, until: int) -> None:
        """Delete the requests up to this one, with the next group: the journal has booked them.

        A crash before that is no harm, because the journal has the last request booked.
        """
        self._forget_until = until
        self._commands.put(_WAKE)

    def checkpoint(self) -> None:
        """Move SQLite's log into the file, if it is large, on the caller's thread.

        Otherwise the writer would, and senders would wait for two more fsyncs of many pages.
        """
        if self._logged_bytes >= CHECKPOINT_BYTES:
            self._logged_bytes = 0
            with suppress(sqlite3.Error):  # the log is as good; the writer reports a full disk
                self._reading.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def tidy(self) -> None:
        """Let the bytes of deleted requests leave the files, if nothing waits in them.

        Prompts may be among them, and a file does not get smaller by itself.
        """
        self._commands.put(_TIDY)

    def bury(self, request: SpooledRequest, reason: str) -> None:
        """Put a request that cannot be read or booked among the dead, with the reason."""
        burial = _Burial(request, reason, Future())
        self._commands.put(burial)
        burial.done.result()

    def close(self) -> None:
        """Write what was put so far, then close the file."""
        self._commands.put(None)
        self._writer.join()
        self._reading.close()
        self._file.close()

    def _write(self) -> None:
        is_last = False
        while not is_last:
            group = [self._commands.get()]
            while len(group) < GROUP_REQUESTS and group[-1] is not None:
                try:
                    group.append(self._commands.get_nowait())
                except queue.Empty:
                    break
            is_last = group[-1] is None
            self._commit([command for command in group if command is not None])
            if group[-1] is _TIDY and not self._requests:
                self._empty()

    def _commit(self, group: Sequence[_Command]) -> None:
        puts = [command for command in group if isinstance(command, _Put)]
        burials = [command for command in group if isinstance(command, _Burial)]
        now = STORE_CLOCK.now_ms()
        stored: list[SpooledRequest] = []
        replayed = (0, 0, self._written)
        file = self._file
        try:
            # compressed here, not in `put`: the thread that answers senders is the busiest
            for put in puts:
                put.blob = lz4.block.compress(put.blob)
            file.execute("BEGIN IMMEDIATE")
            for put in puts:
                checksum = _checksum(put.signal, put.source, put.blob)
                row = file.execute(
                    f"INSERT INTO requests (received_ms, {COPIED}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608  own text
                    (now, put.signal, put.source, put.blob, put.spans, checksum),
                )
                number = int(row.lastrowid or 0)
                stored.append(
                    SpooledRequest(number, now, put.signal, put.source, put.blob, put.spans)
                )
            is_woken = len(puts) + len(burials) < len(group)
            if is_woken or (stored and stored[0].id > self._written + 1):
                replayed = _between(file, self._written, stored[0].id if stored else _LAST_ID)
            gone = [_bury(file, each, now) for each in burials]
            if (until := self._forget_until) > self._forgotten:
                gone.append(_delete(file, "id <= ?", until))
            file.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  whatever it is: senders wait for an answer
            self._refuse(puts, burials, error)
            return
        self.last_error = ""
        self._logged_bytes += sum(len(put.blob) for put in puts)
        self._forgotten = until
        self._written = stored[-1].id if stored else replayed[2]
        self._hand_on(stored, gone, replayed)
        for burial in burials:
            burial.done.set_result(None)
        for loop, done in _by_loop(puts):
            _answer(loop, done, None)

    def _empty(self) -> None:
        """Write the file anew without its free pages, and cut SQLite's log to nothing."""
        (free,) = self._file.execute("PRAGMA freelist_count").fetchone()
        (pages,) = self._file.execute("PRAGMA page_count").fetchone()
        is_small = (pages - free) * PAGE_BYTES <= MAX_KEPT_BYTES
        with suppress(sqlite3.Error):  # a full disk, say: it is tried again
            if free and (is_small or 2 * free >= pages):
                self._file.execute("VACUUM")
            self._file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _refuse(self, puts: Sequence[_Put], burials: Sequence[_Burial], error: Exception) -> None:
        if self._file.in_transaction:
            with suppress(sqlite3.Error):  # then the next BEGIN fails, and is refused too
                self._file.execute("ROLLBACK")
        self.last_error = f"the spool {self.path} cannot be written: {error}"
        for burial in burials:
            burial.done.set_exception(SpoolError(self.last_error))
        for loop, done in _by_loop(puts):
            _answer(loop, done, SpoolError(self.last_error))

    def _hand_on(
        self,
        stored: Sequence[SpooledRequest],
        gone: Sequence[tuple[int, int]],
        replayed: tuple[int, int, int],
    ) -> None:
        with self._handing_on:
            self._requests += replayed[0] - sum(requests for requests, _ in gone)
            self._bytes += replayed[1] - sum(freed for _, freed in gone)
            self._committed = self._written
            tail = self._memory[-1].id if self._memory else self._cursor
            for request in stored:
                if request.id == tail + 1 and self._memory_bytes < MAX_MEMORY_BYTES:
                    self._memory.append(request)
                    self._memory_bytes += len(request.packed)
                    tail = request.id
                self._bytes += len(request.packed)
            self._requests += len(stored)
            if self._committed > self._cursor:
                self._handing_on.notify()


def _checksum(signal: str, source: str, packed: bytes) -> int:
    return checksum_of(signal.encode(), source.encode(), packed)


def _between(file: sqlite3.Connection, after: int, before: int) -> tuple[int, int, int]:
    """Return how many requests there are between two ids, their bytes, and the last one's id."""
    requests, size, last = file.execute(
        "SELECT count(), ifnull(sum(length(blob)), 0), ifnull(max(id), ?) FROM requests"
        " WHERE id > ? AND id < ?",
        (after, after, before),
    ).fetchone()
    return int(requests), int(size), int(last)


def _delete(file: sqlite3.Connection, where: str, value: int) -> tuple[int, int]:
    """Delete requests; return how many, and the bytes that frees."""
    requests, freed = file.execute(
        f"SELECT count(), ifnull(sum(length(blob)), 0) FROM requests WHERE {where}",  # noqa: S608  own text
        (value,),
    ).fetchone()
    file.execute(f"DELETE FROM requests WHERE {where}", (value,))  # noqa: S608  own text
    return int(requests), int(freed)


def _bury(file: sqlite3.Connection, burial: _Burial, now_ms: int) -> tuple[int, int]:
    request = burial.request
    kept = (request.signal, request.source, request.packed)
    checksum = _checksum(*kept) if request.checksum is None else request.checksum
    file.execute(
        f"INSERT INTO dead (died_ms, reason, {COPIED}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  own text
        (
            now_ms,
            burial.reason,
            request.signal,
            request.source,
            request.packed,
            request.spans,
            checksum,
        ),
    )
    return _delete(file, "id = ?", request.id)


def _by_loop(
    puts: Sequence[_Put],
) -> Iterator[tuple[asyncio.AbstractEventLoop, list["asyncio.Future[None]"]]]:
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for put in puts:
        waiting.setdefault(put.loop, []).append(put.done)
    yield from waiting.items()


def _answer(
    loop: asyncio.AbstractEventLoop,
    waiting: list["asyncio.Future[None]"],
    error: Exception | None,
) -> None:
    def answer_all() -> None:
        for done in waiting:
            if done.done():
                continue  # the sender went away; its request is kept all the same
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

    try:
        loop.call_soon_threadsafe(answer_all)
    except RuntimeError:
        return  # the loop is closed: nobody waits any more


def dead_letters(path: Path) -> list[DeadRequest]:
    """Return what a spool file's dead table holds, oldest first. Raises `SpoolError`."""
    file = open_spool(path)
    try:
        rows = file.execute(
            "SELECT id, died_ms, signal, source, reason, length(blob) FROM dead ORDER BY id"
        ).fetchall()
        return [DeadRequest(*row) for row in rows]
    finally:
        file.close()


def replay(path: Path, dead_id: int) -> bool:
    """Put a dead request back for the loader, running or not; False: there is none of that id."""
    file = open_spool(path)
    try:
        file.execute("BEGIN IMMEDIATE")
        is_there = file.execute(
            f"INSERT INTO requests (received_ms, {COPIED})"  # noqa: S608  own text
            f" SELECT ?, {COPIED} FROM dead WHERE id = ?",
            (STORE_CLOCK.now_ms(), dead_id),
        ).rowcount
        file.execute("DELETE FROM dead WHERE id = ?", (dead_id,))
        file.execute("COMMIT")
        return is_there > 0
    finally:
        file.close()


def drop(path: Path, dead_id: int) -> bool:
    """Forget a dead request; False: there is none of that id."""
    file = open_spool(path)
    try:
        return file.execute("DELETE FROM dead WHERE id = ?", (dead_id,)).rowcount > 0
    finally:
        file.close()


def status(path: Path) -> dict[str, int]:
    """Return how many requests a spool file holds, their bytes, how many are dead, and its `id`."""
    file = open_spool(path)
    try:
        names = ("id", "requests", "request_bytes", "dead")
        row = file.execute(
            "SELECT (SELECT value FROM meta WHERE name = 'id'), count(),"
            " ifnull(sum(length(blob)), 0), (SELECT count() FROM dead) FROM requests"
        ).fetchone()
        return dict(zip(names, row, strict=True))
    finally:
        file.close()
