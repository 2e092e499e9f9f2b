"""One at a time who books changes to calls that are in the ledger, and who imports usage."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.table_lock import Held, cluster_of, plain, table_lock

LOCK = "ledger_lock"
IMPORTS_LOCK = "imports_lock"
RECONCILE_LOCK = "reconcile_lock"
STATEMENTS_LOCK = "statements_lock"
STALE_SECONDS = 600
"""Who holds it says so every half minute: one that was silent for so long died."""
PATIENCE_SECONDS = 120.0


@contextmanager
def ledger_lock(
    client: Client,
    what: str,
    patience_seconds: float = PATIENCE_SECONDS,
    stale_seconds: int = STALE_SECONDS,
) -> Iterator[Held]:
    """Hold the lock of the client's database; `what` is being done, for those who wait.

    New calls need no lock: they are booked all the time. Raises StoreError after `patience`.
    """
    with _held(
        client, LOCK, what, "booked calls are being changed", patience_seconds, stale_seconds
    ) as held:
        yield held


@contextmanager
def imports_lock(client: Client, what: str, patience_seconds: float) -> Iterator[Held]:
    """Hold the lock of those who import usage; raises StoreError after `patience_seconds`."""
    with _held(
        client, IMPORTS_LOCK, what, "usage is being imported", patience_seconds, STALE_SECONDS
    ) as held:
        yield held


@contextmanager
def reconcile_lock(client: Client, what: str, patience_seconds: float) -> Iterator[Held]:
    """Hold the lock of those who compare with bills; raises StoreError after `patience_seconds`."""
    with _held(
        client, RECONCILE_LOCK, what, "a bill is being compared", patience_seconds, STALE_SECONDS
    ) as held:
        yield held


@contextmanager
def statements_lock(client: Client, what: str, patience_seconds: float) -> Iterator[Held]:
    """Hold the lock of those who write statements; raises StoreError after `patience_seconds`."""
    with _held(
        client, STATEMENTS_LOCK, what, "statements are written", patience_seconds, STALE_SECONDS
    ) as held:
        yield held


@contextmanager
def _held(
    client: Client,
    name: str,
    what: str,
    is_done: str,
    patience_seconds: float,
    stale_seconds: int,
) -> Iterator[Held]:
    database = str(client.database)
    lock = f"{database}.{name}"
    about = plain(f"{what} by process {os.getpid()} on {socket.gethostname()} {uuid4().hex[:8]}")

    def refusal(holder: str) -> str:
        return (
            f"{is_done} ({holder or 'nobody says what'}) for more than"
            f" {patience_seconds:.0f} s: wait for it; if it does not run any more,"
            f" DROP TABLE {lock}"
        )

    on_cluster = cluster_of(client, database)
    with table_lock(
        client, lock, on_cluster, about, refusal, patience_seconds, stale_seconds
    ) as held:
        yield held
