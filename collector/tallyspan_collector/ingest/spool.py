"""What is acknowledged and not yet in the ledger, on disk: SQLite, one fsync a group of requests.

A request is a row of `requests` until the calls in it are planned as a batch; then it is gone and
the batch, with the very bytes of its INSERT, is a row of `batches` until the store has them. Both
steps are one transaction each, so a crash at any moment leaves every call in one place.

One thread writes. Senders wait for their group's commit, the loader for its own changes.
"""

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lz4.block

from tallyspan_collector.errors import OverloadedError, SpoolError

GROUP_REQUESTS = 256
PAGE_BYTES = 16_384
MEMORY_BYTES = 32 << 20
"""Blobs handed to the loader without reading the file; above it the file is read."""
TAKEN_AT_ONCE = 64
TRACES, LOGS = "traces", "logs"
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value);
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, received_ms INTEGER NOT NULL, source TEXT NOT NULL,
    blob BLOB NOT NULL, kind TEXT NOT NULL DEFAULT 'traces');
CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY AUTOINCREMENT, batch_id TEXT NOT NULL UNIQUE, rows INTEGER NOT NULL,
    columns TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS dead (
    id INTEGER PRIMARY KEY AUTOINCREMENT, died_ms INTEGER NOT NULL, kind TEXT NOT NULL,
    reason TEXT NOT NULL, source TEXT NOT NULL, rows INTEGER NOT NULL, columns TEXT NOT NULL,
    blob BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Request:
    """An OTLP request that was acknowledged; `source` names the key it came with.

    `kind` is OTLP's signal: traces or logs.
    """

    id: int
    received_ms: int
    source: str
    blob: bytes
    kind: str = TRACES


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows for the ledger: `payload` is ClickHouse Native in an LZ4 frame, never changed again."""

    batch_id: int
    rows: int
    columns: tuple[str, ...]
    payload: bytes


@dataclass(frozen=True, slots=True)
class Dead:
    """What could not be worked on, and why; `kind` is request (of spans), logs or batch.

    `source` names a request's key, or is a batch's id.
    """

    id: int
    died_ms: int
    kind: str
    reason: str
    source: str
    bytes: int


@dataclass(slots=True)
class _Put:
    source: str
    blob: bytes
    kind: str
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[None]"


@dataclass(slots=True)
class _Change:
    make: Callable[[sqlite3.Connection], Any]
    done: "Future[Any]"


def open_file(path: Path) -> sqlite3.Connection:
    """Return a connection to a spool file, made if it is not there. Raises `SpoolError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = sqlite3.connect(path, isolation_level=None, timeout=10, check_same_thread=False)
        path.chmod(0o600)  # what waits may hold prompts
        file.execute(f"PRAGMA page_size={PAGE_BYTES}")
        file.execute("PRAGMA journal_mode=WAL")
        file.execute("PRAGMA synchronous=FULL")
        file.execute("PRAGMA wal_autocheckpoint=2000")
        file.execute("PRAGMA secure_delete=OFF")
        (state,) = file.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(state)
        file.executescript(SCHEMA)
        _upgrade(file)
        file.execute(
            "INSERT OR IGNORE INTO meta VALUES ('id', ?)", (int.from_bytes(os.urandom(7)),)
        )
    except (sqlite3.Error, OSError) as error:
        raise SpoolError(
            f"the spool {path} cannot be used: {error}. It is left as it is; move it away to start "
            "with an empty one (what it holds is then not in the ledger)"
        ) from None
    return file


def _upgrade(file: sqlite3.Connection) -> None:
    """Give an older file's requests their kind: until now all were traces."""
    file.execute("BEGIN IMMEDIATE")
    columns = {row[1] for row in file.execute("PRAGMA table_info(requests)")}
    if "kind" not in columns:
        file.execute(f"ALTER TABLE requests ADD COLUMN kind TEXT NOT NULL DEFAULT '{TRACES}'")
    file.execute("COMMIT")


class Spool:
    """The spool file of one process. Raises `SpoolError` if the file cannot be used."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self.last_error = ""
        self._file = open_file(path)
        self.id: int = self._file.execute("SELECT value FROM meta WHERE name = 'id'").fetchone()[0]
        self._commands: queue.SimpleQueue[_Put | _Change | None] = queue.SimpleQueue()
        self._bytes: int
        (self._bytes,) = self._file.execute(
            "SELECT (SELECT ifnull(sum(length(blob)), 0) FROM requests)"
            " + (SELECT ifnull(sum(length(payload)), 0) FROM batches)"
        ).fetchone()
        (self._committed,) = self._file.execute(
            "SELECT ifnull(max(id), 0) FROM requests"
        ).fetchone()
        self._handing_on = threading.Condition()
        self._memory: deque[Request] = deque()
        self._memory_bytes = 0
        self._cursor = 0
        self._requests = self._file.execute("SELECT count() FROM requests").fetchone()[0]
        self._batches = self._file.execute("SELECT count() FROM batches").fetchone()[0]
        self._reading = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._writer = threading.Thread(target=self._write, name="spool", daemon=True)
        self._writer.start()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of requests and batches that are not in the ledger yet."""
        return self._bytes

    @property
    def waiting(self) -> tuple[int, int]:
        """Requests and batches that are not in the ledger yet."""
        return self._requests, self._batches

    async def put(self, source: str, blob: bytes, kind: str = TRACES) -> None:
        """Return once the request is on disk; `kind` is traces or logs.

        Raises `OverloadedError` above the limit, `SpoolError` if the disk does not take it.
        """
        if self._bytes >= self.limit_bytes:
            raise OverloadedError(
                f"{self._bytes} bytes wait for the store and the limit is {self.limit_bytes}"
            )
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._commands.put(_Put(source, lz4.block.compress(blob), kind, loop, done))
        await done

    def take(self, wait_seconds: float) -> list[Request]:
        """Return the next requests in order, unpacked; nothing if none comes in time."""
        with self._handing_on:
            if self._cursor >= self._committed:
                self._handing_on.wait(wait_seconds)
            if self._cursor >= self._committed and not self._has_grown():
                return []
            if self._memory and self._memory[0].id == self._cursor + 1:
                taken = [
                    self._memory.popleft() for _ in range(min(TAKEN_AT_ONCE, len(self._memory)))
                ]
                self._memory_bytes -= sum(len(request.blob) for request in taken)
                self._cursor = taken[-1].id
                return [_unpacked(request) for request in taken]
            until = self._memory[0].id if self._memory else self._committed + 1
        rows = self._reading.execute(
            "SELECT id, received_ms, source, blob, kind FROM requests WHERE id > ? AND id < ?"
            " ORDER BY id LIMIT ?",
            (self._cursor, until, TAKEN_AT_ONCE),
        ).fetchall()
        with self._handing_on:
            self._cursor = rows[-1][0] if rows else until - 1
        return [_unpacked(Request(*row)) for row in rows]

    def _has_grown(self) -> bool:
        """Look for what another process gave back (`tallyspan spool replay`)."""
        (last,) = self._reading.execute("SELECT ifnull(max(id), 0) FROM requests").fetchone()
        if last <= self._committed:
            return False
        self._committed = last
        self._requests += 1
        return True

    def plan(self, requests: Sequence[Request], batch: Batch | None) -> None:
        """Put the batch in the place of the requests it was made of; None: there was no call."""

        def make(file: sqlite3.Connection) -> int:
            freed = _delete_requests(file, [request.id for request in requests])
            if batch is not None:
                file.execute(
                    "INSERT INTO batches (batch_id, rows, columns, payload) VALUES (?, ?, ?, ?)",
                    (str(batch.batch_id), batch.rows, ",".join(batch.columns), batch.payload),
                )
            return freed

        freed = self._change(make)
        self._count(
            -freed + (len(batch.payload) if batch else 0), -len(requests), 1 if batch else 0
        )

    def confirm(self, batch: Batch) -> None:
        """Forget a batch: the store has it."""
        self._change(
            lambda file: file.execute(
                "DELETE FROM batches WHERE batch_id = ?", (str(batch.batch_id),)
            )
        )
        self._count(-len(batch.payload), 0, -1)

    def planned(self) -> list[Batch]:
        """Return the batches of which it is not known that the store has them, oldest first."""
        rows = self._reading.execute(
            "SELECT batch_id, rows, columns, payload FROM batches ORDER BY id"
        )
        return [Batch(int(row[0]), row[1], tuple(row[2].split(",")), row[3]) for row in rows]

    def bury(self, dead: Request | Batch, reason: str) -> None:
        """Put what cannot be worked on among the dead, with the reason."""

        def make(file: sqlite3.Connection) -> int:
            insert = (
                "INSERT INTO dead (died_ms, kind, reason, source, rows, columns, blob)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)"
            )
            now = time.time_ns() // 1_000_000
            if isinstance(dead, Request):
                packed = lz4.block.compress(dead.blob)
                named = LOGS if dead.kind == LOGS else "request"
                file.execute(insert, (now, named, reason, dead.source, 0, "", packed))
                return _delete_requests(file, [dead.id])
            columns = ",".join(dead.columns)
            named = str(dead.batch_id)
            file.execute(insert, (now, "batch", reason, named, dead.rows, columns, dead.payload))
            file.execute("DELETE FROM batches WHERE batch_id = ?", (str(dead.batch_id),))
            return len(dead.payload)

        freed = self._change(make)
        is_request = isinstance(dead, Request)
        self._count(-freed, -1 if is_request else 0, 0 if is_request else -1)

    def close(self) -> None:
        """Write what was given so far, then close the file."""
        self._commands.put(None)
        self._writer.join()
        self._reading.close()
        self._file.close()

    def _change(self, make: Callable[[sqlite3.Connection], Any]) -> Any:
        done: Future[Any] = Future()
        self._commands.put(_Change(make, done))
        return done.result()

    def _count(self, bytes_: int, requests: int, batches: int) -> None:
        with self._handing_on:
            self._bytes += bytes_
            self._requests += requests
            self._batches += batches

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

    def _commit(self, group: Sequence[_Put | _Change]) -> None:
        puts = [command for command in group if isinstance(command, _Put)]
        changes = [command for command in group if isinstance(command, _Change)]
        now = time.time_ns() // 1_000_000
        results: list[Any] = []
        stored: list[Request] = []
        file = self._file
        try:
            file.execute("BEGIN IMMEDIATE")
            for put in puts:
                row = file.execute(
                    "INSERT INTO requests (received_ms, source, blob, kind) VALUES (?, ?, ?, ?)",
                    (now, put.source, put.blob, put.kind),
                )
                stored.append(Request(int(row.lastrowid or 0), now, put.source, put.blob, put.kind))
            results = [change.make(file) for change in changes]
            file.execute("COMMIT")
        except sqlite3.Error as error:
            self._refuse(puts, changes, error)
            return
        self.last_error = ""
        self._hand_on(stored)
        for change, result in zip(changes, results, strict=True):
            change.done.set_result(result)
        for loop, done in _by_loop(puts):
            _tell(loop, done, None)

    def _refuse(
        self, puts: Sequence[_Put], changes: Sequence[_Change], error: sqlite3.Error
    ) -> None:
        if self._file.in_transaction:
            self._file.execute("ROLLBACK")
        self.last_error = f"the spool {self.path} cannot be written: {error}"
        for change in changes:
            change.done.set_exception(SpoolError(self.last_error))
        for loop, done in _by_loop(puts):
            _tell(loop, done, SpoolError(self.last_error))

    def _hand_on(self, stored: Sequence[Request]) -> None:
        if not stored:
            return
        with self._handing_on:
            tail = self._memory[-1].id if self._memory else self._cursor
            for request in stored:
                if request.id == tail + 1 and self._memory_bytes < MEMORY_BYTES:
                    self._memory.append(request)
                    self._memory_bytes += len(request.blob)
                    tail = request.id
                self._bytes += len(request.blob)
            self._requests += len(stored)
            self._committed = stored[-1].id
            self._handing_on.notify()


def _unpacked(request: Request) -> Request:
    return replace(request, blob=lz4.block.decompress(request.blob))


def _delete_requests(file: sqlite3.Connection, ids: Sequence[int]) -> int:
    """Delete the requests; return the bytes that frees."""
    if not ids:
        return 0
    # All between the first and the last are of this batch, or gone: they are worked on in order.
    between = (ids[0], ids[-1])
    (freed,) = file.execute(
        "SELECT ifnull(sum(length(blob)), 0) FROM requests WHERE id BETWEEN ? AND ?", between
    ).fetchone()
    file.execute("DELETE FROM requests WHERE id BETWEEN ? AND ?", between)
    return int(freed)


def _by_loop(
    puts: Sequence[_Put],
) -> Iterator[tuple[asyncio.AbstractEventLoop, list["asyncio.Future[None]"]]]:
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for put in puts:
        waiting.setdefault(put.loop, []).append(put.done)
    yield from waiting.items()


def _tell(
    loop: asyncio.AbstractEventLoop,
    waiting: list["asyncio.Future[None]"],
    error: Exception | None,
) -> None:
    def tell() -> None:
        for done in waiting:
            if done.done():
                continue  # the sender went away; what it sent is kept all the same
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

    try:
        loop.call_soon_threadsafe(tell)
    except RuntimeError:
        return  # the loop is closed: nobody waits any more


def dead_letters(path: Path) -> list[Dead]:
    """Return what a spool file's dead table holds, oldest first. Raises `SpoolError`."""
    file = open_file(path)
    try:
        rows = file.execute(
            "SELECT id, died_ms, kind, reason, source, length(blob) FROM dead ORDER BY id"
        ).fetchall()
        return [Dead(*row) for row in rows]
    finally:
        file.close()


def replay(path: Path, dead_id: int) -> bool:
    """Give what is dead back to the loader; False: there is no such thing.

    A running collector takes a request at once, a batch when it starts next.
    """
    file = open_file(path)
    try:
        file.execute("BEGIN IMMEDIATE")
        found = file.execute(
            "SELECT kind, source, rows, columns, blob FROM dead WHERE id = ?", (dead_id,)
        ).fetchone()
        if found is not None:
            kind, source, rows, columns, blob = found
            if kind != "batch":
                file.execute(
                    "INSERT INTO requests (received_ms, source, blob, kind) VALUES (?, ?, ?, ?)",
                    (time.time_ns() // 1_000_000, source, blob, LOGS if kind == LOGS else TRACES),
                )
            else:
                file.execute(
                    "INSERT INTO batches (batch_id, rows, columns, payload) VALUES (?, ?, ?, ?)",
                    (source, rows, columns, blob),
                )
            file.execute("DELETE FROM dead WHERE id = ?", (dead_id,))
        file.execute("COMMIT")
        return found is not None
    finally:
        file.close()


def drop(path: Path, dead_id: int) -> bool:
    """Forget what is dead; False: there is no such thing."""
    file = open_file(path)
    try:
        return file.execute("DELETE FROM dead WHERE id = ?", (dead_id,)).rowcount > 0
    finally:
        file.close()


def status(path: Path) -> dict[str, int]:
    """Return how much of what a spool file holds."""
    file = open_file(path)
    try:
        names = ("requests", "request_bytes", "batches", "batch_rows", "batch_bytes", "dead")
        row = file.execute(
            "SELECT (SELECT count() FROM requests), (SELECT ifnull(sum(length(blob)), 0) FROM"
            " requests), (SELECT count() FROM batches), (SELECT ifnull(sum(rows), 0) FROM batches),"
            " (SELECT ifnull(sum(length(payload)), 0) FROM batches), (SELECT count() FROM dead)"
        ).fetchone()
        return dict(zip(names, row, strict=True))
    finally:
        file.close()
