"""One writer of a schema at a time: a table that only one can create is the lock."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from tallyspan_clickhouse.engine import one_line
from tallyspan_clickhouse.errors import StoreError

LOCK = "schema_lock"
STALE_SECONDS = 600
"""A holder that has it for longer died: no migration runs that long."""
PATIENCE_SECONDS = 120.0
TAKEN = re.compile(r"^Code: (57|82)\.")


@contextmanager
def schema_lock(
    client: Client,
    database: str,
    on_cluster: str,
    patience_seconds: float = PATIENCE_SECONDS,
    stale_seconds: int = STALE_SECONDS,
) -> Iterator[None]:
    """Hold the lock of this schema; wait for another holder. Raises StoreError after `patience`."""
    lock = f"{database}.{LOCK}"
    create = (
        f"CREATE TABLE {lock} {on_cluster} (held UInt8 COMMENT 'Always empty') ENGINE = Memory"
        " COMMENT 'There while a collector changes the schema'"
    )
    deadline = time.monotonic() + patience_seconds
    while not _run(client, create, TAKEN):
        _break_if_stale(client, database, on_cluster, stale_seconds)
        if time.monotonic() > deadline:
            raise StoreError(
                f"another collector has been changing the schema of database {database} for"
                f" {patience_seconds:.0f} s: wait for it; if none runs, DROP TABLE {lock}",
                retryable=True,
            )
        time.sleep(0.05)
    try:
        yield
    finally:
        _run(client, f"DROP TABLE IF EXISTS {lock} {on_cluster} SYNC")


def _break_if_stale(client: Client, database: str, on_cluster: str, stale_seconds: int) -> None:
    age = client.query(
        "SELECT dateDiff('second', metadata_modification_time, now()) FROM system.tables"
        " WHERE database = {database:String} AND name = {lock:String}",
        parameters={"database": database, "lock": LOCK},
    ).result_rows
    if age and age[0][0] >= stale_seconds:
        # Of several that find it stale one can rename it; the others find it gone.
        grave = f"{database}.{LOCK}_{uuid4().hex}"
        moved = f"RENAME TABLE {database}.{LOCK} TO {grave} {on_cluster}"
        if _run(client, moved, re.compile(r"^Code: (60|57|81)\.")):
            _run(client, f"DROP TABLE IF EXISTS {grave} {on_cluster} SYNC")


def _run(client: Client, statement: str, expected: re.Pattern[str] | None = None) -> bool:
    """Return whether it ran; False if it failed the expected way."""
    run: Callable[..., object] = client.command
    try:
        run(statement, use_database=False)
    except ClickHouseError as error:
        text = one_line(error)
        if expected is not None and expected.match(text):
            return False
        raise StoreError(f"locking the schema: {text}") from error
    return True
