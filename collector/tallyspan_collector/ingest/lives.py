"""Whether the store knows more of a journal than that itself: then the spool folder was restored.

What waited in such a folder may be in the ledger already, and so may be what is sent again. The
journal counts the batches it makes, and each run of a collector on it, a life, has a name. The
store is told name and count every few seconds, in `collector_metrics`. A life that the journal does
not know, or a count that it never came to, is the sign.
"""

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import Connection, Error, connect

import structlog
from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_collector.errors import SpoolError
from tallyspan_collector.ingest.journal import open_journal
from tallyspan_collector.ingest.sqlite_file import BUSY_SECONDS

METRIC = "tallyspan_journal_batches"
TELL_SECONDS = 5.0
_COUNTS = """
SELECT toString(labels), max(value) FROM collector_metrics
WHERE collector = {name:String} AND name = {metric:String} GROUP BY labels
"""
_COLUMNS = ("at", "collector", "name", "labels", "kind", "value")
_log = structlog.get_logger()


def begin_life(journal: Path) -> None:
    """Let a new life of the journal begin; nobody uses it. Raises `SpoolError`.

    One that made no batch has told the store nothing, and is forgotten.
    """
    with _changed(journal) as file:
        (batches,) = file.execute("SELECT batches FROM batch_count").fetchone()
        file.execute("DELETE FROM lives WHERE ended IS NULL AND began = ?", (batches,))
        file.execute("UPDATE lives SET ended = ? WHERE ended IS NULL", (batches,))
        file.execute("INSERT INTO lives VALUES (?, ?, NULL)", (os.urandom(8).hex(), batches))


class Lives:
    """What the store and a journal know of its lives; used by the thread that inserts.

    `name` is the collector's in the store; a span may be sent again for `within_seconds`.
    """

    def __init__(self, client: Client, name: str, journal: Path, within_seconds: int) -> None:
        self._client = client
        self._name = name
        self._journal = journal
        self._within_ms = within_seconds * 1000
        self._restored_ms: int | None = None
        self._last_batches = -1
        self._last_at = float("-inf")

    @property
    def warning(self) -> str:
        """What is said while the journal may not know all that is in the ledger; empty: it does."""
        if not self._is_within():
            return ""
        return (
            f"the folder {self._journal.parent} was restored: it is older than what the store has"
            " of it. What is in the ledger already is not booked again (docs/operations.md, 'A"
            " spool folder that was restored')"
        )

    def may_be_booked(self) -> bool:
        """Return whether the ledger may have entries that the journal does not know.

        Raises what the store raises, and `SpoolError`.
        """
        if self._restored_ms is None:
            self._restored_ms = self._compare()
        return self._is_within()

    def tell(self, *, is_last: bool = False) -> None:
        """Tell the store how many batches there are, if that changed and some seconds went by."""
        if not is_last and time.monotonic() < self._last_at + TELL_SECONDS:
            return
        with _read(self._journal) as file:
            life, began, batches = file.execute(
                "SELECT life, began, batches FROM lives, batch_count WHERE ended IS NULL"
            ).fetchone()
        if batches not in {self._last_batches, began}:
            row = (STORE_CLOCK.now(), self._name, METRIC, f"life={life}", "gauge", float(batches))
            self._client.insert("collector_metrics", [row], column_names=_COLUMNS)
            self._last_batches = batches
        self._last_at = time.monotonic()

    def _is_within(self) -> bool:
        restored_ms = self._restored_ms
        return bool(restored_ms) and STORE_CLOCK.now_ms() < (restored_ms or 0) + self._within_ms

    def _compare(self) -> int:
        """Return when the journal was found restored, since 1970 in ms; 0: it never was."""
        parameters = {"name": self._name, "metric": METRIC}
        counts = self._client.query(_COUNTS, parameters=parameters).result_rows
        with _read(self._journal) as file:
            lives = {
                f"life={life}": ended
                for life, ended in file.execute("SELECT life, ended FROM lives")
            }
            (restored_ms,) = file.execute("SELECT restored_ms FROM batch_count").fetchone()
        # of this life, which has not ended, the store is told while it goes on
        later = [
            (life.removeprefix("life="), 0, int(batches))
            for life, batches in counts
            if life not in lives or ((ended := lives[life]) is not None and batches > ended)
        ]
        if not later:
            return int(restored_ms)
        now_ms = STORE_CLOCK.now_ms()
        with _changed(self._journal) as file:
            file.executemany("INSERT OR REPLACE INTO lives VALUES (?, ?, ?)", later)
            file.execute("UPDATE batch_count SET restored_ms = ?", (now_ms,))
        _log.warning("journal.restored", lives=[life for life, *_ in later])
        return now_ms


@contextmanager
def _read(path: Path) -> Iterator[Connection]:
    """Yield a connection that only reads the journal."""
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(connect(uri, uri=True, timeout=BUSY_SECONDS)) as file:
            yield file
    except Error as error:
        raise SpoolError(f"the journal {path} cannot be read: {error}") from None


@contextmanager
def _changed(path: Path) -> Iterator[Connection]:
    """Yield a connection to the journal in a transaction that is on disk when the block ends."""
    with closing(open_journal(path)) as file:
        try:
            file.execute("BEGIN IMMEDIATE")
            yield file
            file.execute("COMMIT")
        except Error as error:
            raise SpoolError(f"the journal {path} cannot be written: {error}") from None
