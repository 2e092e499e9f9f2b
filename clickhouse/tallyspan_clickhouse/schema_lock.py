"""One writer of a schema at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.table_lock import Held, table_lock

LOCK = "schema_lock"
STALE_SECONDS = 200
"""Who holds it says so between statements, and one on a cluster takes 180 s at most: one that was
silent for longer died."""
PATIENCE_SECONDS = 240.0
"""Longer than that, so that a start waits for the lock of one that was killed, and goes on."""


@contextmanager
def schema_lock(
    client: Client,
    database: str,
    on_cluster: str,
    patience_seconds: float = PATIENCE_SECONDS,
    stale_seconds: int = STALE_SECONDS,
) -> Iterator[Held]:
    """Hold the lock of this schema; wait for another holder. Raises StoreError after `patience`."""
    lock = f"{database}.{LOCK}"

    def refusal(_: str) -> str:
        return (
            f"another collector has been changing the schema of database {database} for"
            f" {patience_seconds:.0f} s: wait for it; if none runs, DROP TABLE {lock}"
        )

    about = f"There while a collector changes the schema ({uuid4().hex[:8]})"
    with table_lock(
        client, lock, on_cluster, about, refusal, patience_seconds, stale_seconds
    ) as held:
        yield held
