"""The store of a command: a running one, else one that is started for the command."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from tallyspan_clickhouse.data_directory import readable, set_readable
from tallyspan_clickhouse.engine import connect, one_line
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.local import LocalStore, running_url, start_again
from tallyspan_clickhouse.migrate import bundled, pending
from tallyspan_collector import config
from tallyspan_collector.errors import ConfigError


@contextmanager
def reading(options: argparse.Namespace) -> Iterator[Client]:
    """Yield a client that reads only. Raises `ConfigError`, `StoreError`."""
    with _store_errors(), _open(options, "tallyspan_reader") as client:
        yield client


@contextmanager
def writing(options: argparse.Namespace) -> Iterator[Client]:
    """Yield a client that may write. Raises `ConfigError`, `StoreError`."""
    with _store_errors(), _open(options, "tallyspan") as client:
        yield client


def let_read(options: argparse.Namespace, folders: list[Path]) -> None:
    """Let the engine of a local store read these folders and none that it was let read before.

    An engine that runs is started again for it. A server of your own has its own rules. Raises
    `ConfigError`, `StoreError`.
    """
    settings = config.read(options, options=config.READ_OPTIONS)
    data_dir: Path = settings["data_dir"]
    if settings["store"] != "local" or readable(data_dir) == folders:
        return
    if (data_dir / "data").is_dir():
        set_readable(data_dir, folders)
    if running_url(data_dir) is not None:
        with writing(options) as client:
            start_again(client)


@contextmanager
def _store_errors() -> Iterator[None]:
    """Turn errors of the store within the block into `StoreError` with one sentence."""
    try:
        yield
    except (ClickHouseError, HTTPError) as error:
        raise StoreError(f"the store: {one_line(error)}") from error


@contextmanager
def _open(
    options: argparse.Namespace, account: Literal["tallyspan", "tallyspan_reader"]
) -> Iterator[Client]:
    settings = config.read(options, options=config.READ_OPTIONS)
    if settings["store"] != "local":
        with connect(settings["store"]) as client:
            yield client
        return
    data_dir: Path = settings["data_dir"]
    url = running_url(data_dir, account)
    if url is not None:
        with connect(url) as client:
            yield client
        return
    if not (data_dir / "data").is_dir():
        raise ConfigError(
            f"--data-dir {data_dir}: no local store there; start one with 'tallyspan up', "
            "or name another folder or --store URL"
        )
    with LocalStore(data_dir) as store, connect(store.url) as client:
        pending(client, str(client.database), bundled())  # refuses the schema of another build
        yield client
