"""A SQLite file whose commits are on disk: WAL, one fsync a transaction."""

import sqlite3
from pathlib import Path

from tallyspan_collector.errors import SpoolError

PAGE_BYTES = 16_384
CACHE_KIB = 16_384
"""What a batch changes in the journal fits; at SQLite's 2 MB pages are written and read again."""
BUSY_SECONDS = 30


def open_file(path: Path, schema: str, what: str, if_moved: str) -> sqlite3.Connection:
    """Return a connection to the file, made if it is not there; it is for its owner only.

    `what` names it, `if_moved` says what moving it away costs. Raises `SpoolError` if the file
    cannot be used; it is then left as it is.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(
            path, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
        )
        path.chmod(0o600)  # what waits may hold prompts
        file.execute(f"PRAGMA page_size={PAGE_BYTES}")
        file.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        file.execute("PRAGMA journal_mode=WAL")
        file.execute("PRAGMA synchronous=FULL")
        file.execute("PRAGMA wal_autocheckpoint=1000")
        file.execute("PRAGMA secure_delete=OFF")
        file.executescript(schema)
    except (sqlite3.Error, OSError) as error:
        raise refusal(path, what, if_moved, error) from None
    return file


def refusal(path: Path, what: str, if_moved: str, error: Exception) -> SpoolError:
    """Return what is said of a file that cannot be used."""
    return SpoolError(
        f"the {what} {path} cannot be used: {error}. It is left as it is; moved away, {if_moved}"
    )
