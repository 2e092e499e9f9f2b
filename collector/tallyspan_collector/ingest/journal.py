"""What a data folder made of its requests: one SQLite file that its workers share.

A batch with the very bytes of its INSERT, the spans it has, what it changes in the index of recent
traces, and how far its worker's requests are worked off: all of it is one transaction, so that a
crash at any moment leaves every call in one place, and workers that touch the same trace wait for
each other.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tallyspan_collector.errors import SpoolError
from tallyspan_collector.ingest.seen import Seen
from tallyspan_collector.ingest.sqlite_file import BUSY_SECONDS, open_file
from tallyspan_collector.resolution.index import look_up, short_id
from tallyspan_collector.resolution.node import Node, Trace
from tallyspan_collector.resolution.resolver import Resolver

FILE_NAME = "journal.sqlite"
SEEN_SECONDS = 86_400
_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    batch_id TEXT PRIMARY KEY, spool INTEGER NOT NULL, rows INTEGER NOT NULL,
    columns TEXT NOT NULL, payload BLOB NOT NULL, refused_because TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS progress (spool INTEGER PRIMARY KEY, request INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows for the ledger: `payload` is ClickHouse Native in an LZ4 frame, never changed again."""

    batch_id: int
    rows: int
    columns: tuple[str, ...]
    payload: bytes


@dataclass(frozen=True, slots=True)
class RefusedBatch:
    """A batch that the store will never take, and why."""

    batch_id: int
    rows: int
    bytes: int
    reason: str


class Journal:
    """The journal of one data folder; used by one thread of each process. Raises `SpoolError`."""

    def __init__(self, path: Path, *, seen_seconds: int = SEEN_SECONDS) -> None:
        self._path = path
        self._file = _open(path)
        self.seen = Seen(self._file, seen_seconds)
        self.resolver = Resolver(self._file)

    @contextmanager
    def change(self) -> Iterator[None]:
        """Make what happens inside one transaction, on disk at its end; an error undoes it all."""
        try:
            self._file.execute("BEGIN IMMEDIATE")
            yield
            self._file.execute("COMMIT")
        except sqlite3.Error as error:
            raise SpoolError(f"the journal {self._path} cannot be written: {error}") from None
        finally:
            if self._file.in_transaction:  # SQLite itself ends it when the disk is full
                self._file.execute("ROLLBACK")

    def plan(self, spool: int, until: int | None, batch: Batch | None) -> None:
        """Note the batch of a spool's requests up to this one (None: of none of them).

        Without a batch there was no call in them.
        """
        if until is not None:
            self._file.execute("INSERT OR REPLACE INTO progress VALUES (?, ?)", (spool, until))
        if batch is not None:
            names = ",".join(batch.columns)
            self._file.execute(
                "INSERT INTO batches (batch_id, spool, rows, columns, payload)"
                " VALUES (?, ?, ?, ?, ?)",
                (str(batch.batch_id), spool, batch.rows, names, batch.payload),
            )

    def progress(self, spool: int) -> int:
        """Return the last request of the spool that was planned; 0: none was."""
        row = self._file.execute(
            "SELECT request FROM progress WHERE spool = ?", (spool,)
        ).fetchone()
        return int(row[0]) if row else 0

    def planned(self, spool: int) -> list[Batch]:
        """Return the spool's batches of which it is not known that the store has them."""
        rows = self._file.execute(
            "SELECT batch_id, rows, columns, payload FROM batches"
            " WHERE spool = ? AND refused_because = '' ORDER BY rowid",
            (spool,),
        )
        return [Batch(int(row[0]), row[1], tuple(row[2].split(",")), row[3]) for row in rows]

    def settle(self, confirmed: Sequence[Batch], refused: Sequence[tuple[Batch, str]]) -> None:
        """Forget batches that the store has; keep those it will never take, with the reason."""
        self._file.executemany(
            "DELETE FROM batches WHERE batch_id = ?", [(str(each.batch_id),) for each in confirmed]
        )
        self._file.executemany(
            "UPDATE batches SET refused_because = ? WHERE batch_id = ?",
            [(reason, str(each.batch_id)) for each, reason in refused],
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _open(path: Path) -> sqlite3.Connection:
    return open_file(
        path,
        _SCHEMA,
        "journal",
        "batches in it are not in the ledger, and spans that are sent again are charged again",
    )


def recall(path: Path, trace_id: str) -> Trace | None:
    """Return what the journal knows of a trace; None: nothing (any more), or there is no journal.

    The file is only read, and never made. Raises `SpoolError`.
    """
    if not path.is_file():
        return None
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as file:
            file.execute("BEGIN")  # one moment of it: workers write meanwhile
            trace = look_up(file, short_id(trace_id))
    except sqlite3.Error as error:
        raise SpoolError(f"the journal {path} cannot be read: {error}") from None
    # another trace may have the same short id
    return trace if trace and any(_is_of(trace_id, each) for each in trace.nodes.values()) else None


def _is_of(trace_id: str, node: Node) -> bool:
    return node.call.trace_id == trace_id


def refused_batches(path: Path) -> list[RefusedBatch]:
    """Return the batches that the store will never take. Raises `SpoolError`."""
    file = _open(path)
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
    file = _open(path)
    try:
        where = " WHERE batch_id = ? AND refused_because != ''"
        return file.execute(what + where, (str(batch_id),)).rowcount > 0
    finally:
        file.close()


def status(path: Path, spool: int) -> dict[str, int]:
    """Return how many batches of a spool wait, their rows and bytes. Raises `SpoolError`."""
    file = _open(path)
    try:
        row = file.execute(
            "SELECT count(), ifnull(sum(rows), 0), ifnull(sum(length(payload)), 0) FROM batches"
            " WHERE spool = ? AND refused_because = ''",
            (spool,),
        ).fetchone()
        return dict(zip(("batches", "batch_rows", "batch_bytes"), row, strict=True))
    finally:
        file.close()
