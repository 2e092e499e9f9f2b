"""Which spans are in the ledger already: an exporter sends a request again when an answer is lost.

A span is known by 63 bits made of its trace id and span id. That two spans of a day share them has
one chance in 10^7 at a million calls a day; the second would be taken for a duplicate.

Two tables take turns, so forgetting is one DELETE: what was claimed in the last window is known,
what is older than two is not.
"""

import json
import sqlite3
import time
from collections.abc import Collection

from tallyspan_collector.resolution.index import short_id

SCHEMA = """
CREATE TABLE IF NOT EXISTS seen_0 (id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS seen_1 (id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS seen_turn (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER);
"""


def identity(trace_id: str, span_id: str) -> int:
    """Return the 63 bits that a span is known by; both ids are hex."""
    return short_id(trace_id + span_id)


class Seen:
    """The claims in one file. Every call belongs to a transaction of the caller's."""

    def __init__(self, file: sqlite3.Connection, window_seconds: int) -> None:
        self._file = file
        self._window = window_seconds
        self._file.executescript(SCHEMA)

    def claim(self, identities: Collection[int], now: float | None = None) -> set[int]:
        """Return those that nobody claimed before; they are claimed from now on."""
        epoch = int((time.time() if now is None else now) // self._window)
        current, other = self._turn(epoch)
        asked = json.dumps(sorted(identities))
        fresh = {
            row[0]
            for row in self._file.execute(
                f"INSERT OR IGNORE INTO {current} SELECT value FROM json_each(?) RETURNING id",  # noqa: S608  own name
                (asked,),
            )
        }
        fresh.difference_update(
            row[0]
            for row in self._file.execute(
                f"SELECT id FROM {other} WHERE id IN (SELECT value FROM json_each(?))",  # noqa: S608  own name
                (asked,),
            )
        )
        return fresh

    def _turn(self, epoch: int) -> tuple[str, str]:
        """Return the table of this window and that of the one before, emptied where it is old."""
        row = self._file.execute("SELECT epoch FROM seen_turn").fetchone()
        last = row[0] if row else epoch
        current, other = f"seen_{epoch % 2}", f"seen_{(epoch + 1) % 2}"
        if epoch > last:
            self._file.execute(f"DELETE FROM {current}")  # noqa: S608  own name
            if epoch > last + 1:
                self._file.execute(f"DELETE FROM {other}")  # noqa: S608  own name
        if row is None or epoch != last:
            self._file.execute("INSERT OR REPLACE INTO seen_turn VALUES (1, ?)", (epoch,))
        return current, other
