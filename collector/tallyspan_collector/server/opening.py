"""The store of a collector, opened at the start, or later if it is away then."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from tallyspan_clickhouse import retention
from tallyspan_clickhouse.answers import one_number
from tallyspan_clickhouse.confinement import NOT_CONFINED, missing
from tallyspan_clickhouse.engine import connect, database_name, one_line
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.late import late
from tallyspan_clickhouse.local import LocalStore
from tallyspan_clickhouse.migrate import migrate
from tallyspan_collector.access.keys import COPY
from tallyspan_collector.config import Config

READ_SECONDS = 30
"""A connection of which nothing comes for so long is taken for dead."""
_log = structlog.get_logger()


@contextmanager
def open_store(config: Config) -> Iterator[tuple[str, Client]]:
    """Yield the store's URL and a client of it, migrated.

    If a collector ran in the data folder before, there are copies of keys and directory: then a
    server that does not answer is tried again later, and requests are accepted meanwhile. Else it
    raises `StoreError`.
    """
    with ExitStack() as stack:
        url, local = config.store, None
        if url == "local":
            if reason := missing():
                _log.warning("store.not_confined", reason=reason, meaning=NOT_CONFINED)
            local = stack.enter_context(LocalStore(config.data_dir))
            url = local.url
        try:
            client = open_client(config, url)
        except StoreError as error:
            if not (error.retryable and (config.data_dir / COPY).is_file()):
                raise
            _log.warning("store.away", error=str(error))
            client = late(lambda: open_client(config, url))
        if local is not None:
            local.sync_folders()
        yield url, stack.enter_context(client)


def open_client(config: Config, url: str) -> Client:
    """Return a client of the store, with schema and retention brought up to date."""
    try:
        with connect(url) as client:  # a migration may take its time
            migrate(client, database_name(url))
            _retain(client, config)
    except ClickHouseError as error:
        raise StoreError(f"the store does not answer: {one_line(error)}", retryable=True) from None
    return connect(url, read_seconds=READ_SECONDS)


def _retain(client: Client, config: Config) -> None:
    """Apply the configured retention. On a cluster it only warns: a command changes all servers."""
    wanted = retention.changes(client, config.retention, config.retention_rollups)
    if wanted and one_number(client, "EXISTS TABLE llm_calls_all"):
        _log.warning("retention.differs", tables=wanted, run="tallyspan store retention --cluster")
        return
    for table, days in wanted.items():
        retention.keep(client, table, days)
        _log.info("retention.changed", table=table, days=days or "forever")
