"""Which spans are in the ledger already: an exporter sends a request again when an answer is lost.

A span is known by 64 bits of a hash of its trace id and span id, with the batch that has it. The
file is shared by the workers of a data folder. A batch that claims its spans again (its plan was
lost in a crash) gets them. Two spans of a window with the same hash: one in 10^11 at a million
calls a day; the second would be taken for a duplicate.

Two tables take turns, so forgetting is one DELETE: what was claimed in the last window is known,
what is older than two is not.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from tallyspan_collector.errors import SpoolError

SCHEMA = """
CREATE TABLE IF NOT EXISTS seen_0 (id INTEGER PRIMARY KEY, batch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS seen_1 (id INTEGER PRIMARY KEY, batch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS turn (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL);
"""


def identity(trace_id: str, span_id: str) -> int:
    """Return the 64 bits (signed, as SQLite has them) that a span is known by."""
    digest = hashlib.blake2b((trace_id + span_id).encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


class Seen:
    """The claims of one data folder; used by one thread of each process. Raises `SpoolError`."""

    def __init__(self, path: Path, window_seconds: int) -> None:
        self._path = path
        self._window = window_seconds
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
                f"the index of seen spans {path} cannot be used: {error}. It is left as it is; "
                "moved away, spans that are sent again within the window are charged again"
            ) from None

    def claim(self, identities: Sequence[int], batch_id: int, now: float | None = None) -> set[int]:
        """Return those that no other batch has; they are this batch's from now on."""
        epoch = int((time.time() if now is None else now) // self._window)
        mine = batch_id - (1 << 63)  # SQLite's integers are signed
        asked = json.dumps(list(identities))
        try:
            self._file.execute("BEGIN IMMEDIATE")
            current, other = self._turn(epoch)
            taken = {
                row[0]
                for row in self._file.execute(
                    f"SELECT id FROM {current} WHERE batch != ? AND id IN"  # noqa: S608  own names
                    " (SELECT value FROM json_each(?))"
                    f" UNION ALL SELECT id FROM {other} WHERE batch != ? AND id IN"
                    " (SELECT value FROM json_each(?))",
                    (mine, asked, mine, asked),
                )
            }
            fresh = set(identities) - taken
            self._file.executemany(
                f"INSERT OR IGNORE INTO {current} VALUES (?, ?)",  # noqa: S608  own name
                [(each, mine) for each in sorted(fresh)],
            )
            self._file.execute("COMMIT")
        except sqlite3.Error as error:
            if self._file.in_transaction:
                self._file.execute("ROLLBACK")
            raise SpoolError(
                f"the index of seen spans {self._path} cannot be written: {error}"
            ) from None
        return fresh

    def release(self, batch_id: int) -> None:
        """Give back what a batch claimed: it will not be made. Slow, and rare."""
        mine = batch_id - (1 << 63)
        try:
            for table in ("seen_0", "seen_1"):
                self._file.execute(f"DELETE FROM {table} WHERE batch = ?", (mine,))  # noqa: S608  own names
        except sqlite3.Error as error:
            raise SpoolError(
                f"the index of seen spans {self._path} cannot be written: {error}"
            ) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _turn(self, epoch: int) -> tuple[str, str]:
        """Return the table of this window and that of the one before, emptied where it is old."""
        row = self._file.execute("SELECT epoch FROM turn").fetchone()
        last = row[0] if row else epoch
        current, other = f"seen_{epoch % 2}", f"seen_{(epoch + 1) % 2}"
        if epoch > last:
            self._file.execute(f"DELETE FROM {current}")  # noqa: S608  own name
            if epoch > last + 1:
                self._file.execute(f"DELETE FROM {other}")  # noqa: S608  own name
        if row is None or epoch != last:
            self._file.execute("INSERT OR REPLACE INTO turn VALUES (1, ?)", (epoch,))
        return current, other
