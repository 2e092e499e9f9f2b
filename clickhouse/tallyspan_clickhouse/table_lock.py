"""One at a time, over all collectors: a table that only one can create is the lock."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from tallyspan_clickhouse import lock_holder
from tallyspan_clickhouse.answers import rows_of
from tallyspan_clickhouse.engine import one_line
from tallyspan_clickhouse.errors import StoreError

KEEP_SECONDS = 30.0
_PAUSES = (0.1, 0.5, 2.0)
"""Before the lock is tried to be given up again."""
TAKEN = re.compile(r"^Code: (57|82)\.")
_GONE = re.compile(r"^Code: (60|57|81)\.")
_CLUSTER = re.compile(r"Distributed\('([A-Za-z_][A-Za-z0-9_]*)'")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_.@ -]")


class Held:
    """A lock that is held; who holds it for long says so now and then with `keep`."""

    def __init__(self, client: Client, lock: str, on_cluster: str, about: str) -> None:
        self._client = client
        self._lock = lock
        self._on_cluster = on_cluster
        self._about = about
        self._kept = time.monotonic()

    def keep(self) -> None:
        """Say that the holder lives, at most every `KEEP_SECONDS`.

        Raises StoreError if the lock was taken for stale and is another's now.
        """
        if time.monotonic() - self._kept < KEEP_SECONDS:
            return
        if _comment(self._client, self._lock) != self._about:
            raise StoreError(
                f"the lock {self._lock} was lost while it was held: broken off; run it again",
                retryable=True,
            )
        # The same comment anew: what counts is when it was written.
        run(
            self._client,
            f"ALTER TABLE {self._lock} {self._on_cluster} MODIFY COMMENT '{self._about}'",
        )
        self._kept = time.monotonic()


@contextmanager
def table_lock(
    client: Client,
    lock: str,
    on_cluster: str,
    about: str,
    refusal: Callable[[str], str],
    patience_seconds: float,
    stale_seconds: int,
) -> Iterator[Held]:
    """Hold the lock `database.name`; wait for another holder.

    `about` is the comment of the table, with the holder's mark behind it. One that is seen to have
    died has lost it; one that is not seen, when it was silent for `stale_seconds`. After the
    patience raises StoreError with the sentence that `refusal` makes of the holder's `about`.
    """
    about = f"{about} {lock_holder.mark()}"
    create = (
        f"CREATE TABLE {lock} {on_cluster} (held UInt8 COMMENT 'Always empty') ENGINE = Memory"
        f" COMMENT '{about}'"
    )
    deadline = time.monotonic() + patience_seconds
    while not run(client, create, TAKEN):
        _break_if_stale(client, lock, on_cluster, stale_seconds)
        if time.monotonic() > deadline:
            raise StoreError(refusal(_comment(client, lock).rpartition(" ")[0]), retryable=True)
        time.sleep(0.05)
    try:
        yield Held(client, lock, on_cluster, about)
    finally:
        _release(client, lock, on_cluster, about)


def _release(client: Client, lock: str, on_cluster: str, about: str) -> None:
    """Give the lock up; a store that does not answer is asked again, for all wait for a lock."""
    for pause in (*_PAUSES, None):
        try:
            if _comment(client, lock) == about:  # else it was taken for stale, and is another's
                run(client, f"DROP TABLE IF EXISTS {lock} {on_cluster} SYNC")
            break
        except (StoreError, ClickHouseError):
            if pause is None:
                raise
            time.sleep(pause)


def cluster_of(client: Client, database: str) -> str:
    """Return `ON CLUSTER ...` as the schema has it; empty on a single server."""
    engines = rows_of(
        client,
        "SELECT groupArray(engine_full) FROM system.tables"
        " WHERE database = {database:String} AND name = 'llm_calls_all'",
        {"database": database},
    )
    match = _CLUSTER.search(engines[0]) if engines else None
    return f"ON CLUSTER '{match[1]}'" if match else ""


def plain(text: str) -> str:
    """Return the text without what could end a quoted one."""
    return _NOT_PLAIN.sub("_", text)


def run(client: Client, statement: str, expected: re.Pattern[str] | None = None) -> bool:
    """Return whether it ran; False if it failed the expected way."""
    command: Callable[..., object] = client.command
    try:
        command(statement, use_database=False)
    except ClickHouseError as error:
        text = one_line(error)
        if expected is not None and expected.match(text):
            return False
        raise StoreError(f"locking: {text}") from error
    return True


def _comment(client: Client, lock: str) -> str:
    database, _, name = lock.partition(".")
    comments = rows_of(
        client,
        "SELECT groupArray(comment) FROM system.tables"
        " WHERE database = {database:String} AND name = {name:String}",
        {"database": database, "name": name},
    )
    return str(comments[0]) if comments else ""


def _break_if_stale(client: Client, lock: str, on_cluster: str, stale_seconds: int) -> None:
    database, _, name = lock.partition(".")
    holders = rows_of(
        client,
        "SELECT groupArray((dateDiff('second', metadata_modification_time, now()), comment))"
        " FROM system.tables WHERE database = {database:String} AND name = {name:String}",
        {"database": database, "name": name},
    )
    if not holders:
        return
    silent_seconds, about = holders[0]
    if silent_seconds >= stale_seconds or lock_holder.is_gone(about.rpartition(" ")[2]):
        # Of several that find it stale one can rename it; the others find it gone.
        grave = f"{lock}_{uuid4().hex}"
        if run(client, f"RENAME TABLE {lock} TO {grave} {on_cluster}", _GONE):
            run(client, f"DROP TABLE IF EXISTS {grave} {on_cluster} SYNC")
