"""Whether a spool file is the one that the journal knows: an id is believed only with its file.

The journal keeps the id of the last request that it booked of a spool. A file that was restored
from a backup, or lost its log, gives ids a second time. So each start gives the file a new
generation, which the journal keeps too.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tallyspan_collector.errors import SpoolError
from tallyspan_collector.ingest.journal import Journal
from tallyspan_collector.ingest.spool import Spool
from tallyspan_collector.ingest.sqlite_file import BUSY_SECONDS


def match(spool: Spool, journal: Journal) -> str:
    """Let the spool go on where the journal is, and give its file a new generation.

    Returns a warning if the file is older than the journal. Then nothing in it is taken for booked
    because of its id: all its requests are read again, spans that are in the ledger are duplicates,
    and ids go on above those of the journal. On a full disk, the spool's `last_error` says so from
    the start. Raises `SpoolError`.
    """
    booked, generation = journal.progress(spool.id), journal.generation(spool.id)
    with _changed(spool.path) as file:
        generations, last = _generations(file), _last_id(file)
        is_older = booked > last or generation not in {None, *generations}
        if is_older:
            file.execute("DELETE FROM sqlite_sequence WHERE name = 'requests'")
            file.execute("INSERT INTO sqlite_sequence VALUES ('requests', ?)", (max(booked, last),))
    if not is_older:
        spool.resume(booked)
    try:
        journal.keep_generation(spool.id, begin_generation(spool.path))
    except SpoolError as error:  # the disk is full: the generation of the last start does as well
        spool.last_error = str(error)
    if not is_older:
        return ""
    return (
        f"the spool {spool.path} is older than the journal: it was restored, or its log (-wal) is"
        " gone. What is in it is read again; what was acknowledged later is not in it"
    )


def begin_generation(path: Path) -> int:
    """Give a spool file another generation and return it; it keeps the one before beside it.

    A start that is cut off before the journal has the new one leaves a file that is known.
    """
    number = int.from_bytes(os.urandom(7))
    with _changed(path) as file:
        file.execute(
            "INSERT OR REPLACE INTO meta"
            " SELECT 'generation before', value FROM meta WHERE name = 'generation'"
        )
        file.execute("INSERT OR REPLACE INTO meta VALUES ('generation', ?)", (number,))
    return number


def _generations(file: sqlite3.Connection) -> set[int]:
    rows = file.execute("SELECT value FROM meta WHERE name IN ('generation', 'generation before')")
    return {number for (number,) in rows}


def _last_id(file: sqlite3.Connection) -> int:
    """Return the last id that the file gave to a request."""
    (last,) = file.execute(
        "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'requests'"
    ).fetchone()
    return int(last)


@contextmanager
def _changed(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection in a transaction that is on disk when the block ends."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)) as file:
            file.execute("PRAGMA synchronous=FULL")
            file.execute("BEGIN IMMEDIATE")
            yield file
            file.execute("COMMIT")
    except sqlite3.Error as error:
        raise SpoolError(f"the spool {path} cannot be written: {error}") from None
