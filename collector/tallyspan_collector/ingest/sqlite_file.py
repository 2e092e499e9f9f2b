"""A SQLite file whose commits are on disk: WAL, one fsync a transaction; it knows its version."""

import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tallyspan_clickhouse.durable import make_folder
from tallyspan_collector.errors import SpoolError
from tallyspan_collector.ingest.damaged_log import rescue

PAGE_BYTES = 16_384
CACHE_KIB = 16_384
"""What a batch changes in the journal fits; at SQLite's 2 MB pages are written and read again."""
BUSY_SECONDS = 30
RUN_OTHER = (
    "run the collector that wrote it until `tallyspan spool status` shows that nothing waits"
)
"""What to do with a file of another version."""


VERSION = 1
"""Of the tables of both files, and of what is in them; a file of another version is refused.

Not for a new field of a kept call: fields are kept by name, and one that a file lacks is blank.
"""


def open_file(
    path: Path, schema: str, what: str, if_moved: str, added: Mapping[str, Sequence[str]]
) -> sqlite3.Connection:
    """Return a connection to the file, created if it is not there; it is for its owner only.

    `added` has columns by table that came later: a file of before gets them, blank. `what` names
    the file, `if_moved` is what moving it away costs. If its log is damaged, a copy of both is kept
    beside it (`damaged_log.py`). Raises `SpoolError` if the file
    cannot be used, or is of another version; it is then left as it is.
    """
    try:
        make_folder(path.parent)
        rescue(path)
        file = sqlite3.connect(
            path, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
        )
    except (sqlite3.Error, OSError) as error:
        raise refusal(path, what, if_moved, error) from None
    try:
        _check_version(file)
        path.chmod(0o600)  # what waits may hold prompts
        file.execute(f"PRAGMA page_size={PAGE_BYTES}")
        file.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        file.execute("PRAGMA journal_mode=WAL")
        file.execute("PRAGMA synchronous=FULL")
        file.execute("PRAGMA wal_autocheckpoint=1000")
        file.execute("PRAGMA secure_delete=OFF")
        file.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version={VERSION};")
        for table, columns in added.items():
            _add_columns(file, table, columns)
        file.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        file.close()
        raise refusal(path, what, if_moved, error) from None
    return file


def refusal(path: Path, what: str, if_moved: str, error: object) -> SpoolError:
    """Return the error for a file that cannot be used."""
    return SpoolError(
        f"the {what} {path} cannot be used: {error}. It is left as it is; moved away, {if_moved}"
    )


def _add_columns(file: sqlite3.Connection, table: str, columns: Sequence[str]) -> None:
    existing = {row[1] for row in file.execute(f"PRAGMA table_info({table})")}
    for column in columns:
        if column.split()[0] not in existing:
            file.execute(f"ALTER TABLE {table} ADD COLUMN {column}")


def checksum_of(*parts: bytes) -> int:
    """Return the CRC-32 of what is kept beside it: a bit that turns on the disk is noticed."""
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return checksum


def _check_version(file: sqlite3.Connection) -> None:
    version, tables = file.execute(
        "SELECT user_version, (SELECT count() FROM sqlite_schema) FROM pragma_user_version"
    ).fetchone()
    if tables and version != VERSION:
        raise sqlite3.DatabaseError(
            f"it is of version {version}, and this collector reads version {VERSION}; {RUN_OTHER}"
        )
