"""The store a collector writes to: opened at the start, or as soon as it is there."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import structlog
from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse import retention
from tallyspan_clickhouse.engine import connect, database_name
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.late import late
from tallyspan_clickhouse.local import LocalStore
from tallyspan_clickhouse.migrate import migrate
from tallyspan_collector.access.keys import COPY
from tallyspan_collector.config import Config

_log = structlog.get_logger()


@contextmanager
def open_store(config: Config) -> Iterator[tuple[str, Client]]:
    """Yield the store's URL and a client of it, migrated.

    A server that does not answer is waited for behind the acknowledgements if a collector ran in
    the data folder before: then keys and directory are known. Raises `StoreError`.
    """
    with ExitStack() as stack:
        url = config.store
        if url == "local":
            url = stack.enter_context(LocalStore(config.data_dir)).url
        try:
            client = open_client(config, url)
        except StoreError as error:
            if not (error.retryable and (config.data_dir / COPY).is_file()):
                raise
            _log.warning("store.away", error=str(error))
            client = late(lambda: open_client(config, url))
        yield url, stack.enter_context(client)


def open_client(config: Config, url: str) -> Client:
    """Return a client of the store, migrated, its retention as it is set. Raises `StoreError`."""
    client = connect(url)
    migrate(client, database_name(url))
    _retain(client, config)
    return client


def _retain(client: Client, config: Config) -> None:
    """Make the retention what is set. A cluster's is changed by command, on all its servers."""
    wanted = retention.changes(client, config.retention, config.retention_rollups)
    if wanted and client.command("EXISTS TABLE llm_calls_all"):
        _log.warning("retention.differs", tables=wanted, run="tallyspan store retention --cluster")
        return
    for table, days in wanted.items():
        retention.keep(client, table, days)
        _log.info("retention.changed", table=table, days=days or "forever")
