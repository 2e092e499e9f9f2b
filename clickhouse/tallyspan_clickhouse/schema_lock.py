"""One writer of a schema at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.table_lock import table_lock

LOCK = "schema_lock"
STALE_SECONDS = 600
"""A holder that has it for longer died: no migration runs that long."""
PATIENCE_SECONDS = 120.0


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

    def refusal(_: str) -> str:
        return (
            f"another collector has been changing the schema of database {database} for"
            f" {patience_seconds:.0f} s: wait for it; if none runs, DROP TABLE {lock}"
        )

    about = "There while a collector changes the schema"
    with table_lock(client, lock, on_cluster, about, refusal, patience_seconds, stale_seconds):
        yield
