"""The collector: its parts are created, started in order, stopped in reverse. A chat's tools."""

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry

from tallyspan_clickhouse.durable import make_folder
from tallyspan_clickhouse.engine import connect, one_line, shown
from tallyspan_clickhouse.late import late
from tallyspan_clickhouse.local import running_url
from tallyspan_collector.access.audit import AuditLog
from tallyspan_collector.access.gate import Doors
from tallyspan_collector.access.keys import COPY, PREFIXES, READ_SECONDS, Key, Keys, digest
from tallyspan_collector.access.oidc import Oidc
from tallyspan_collector.access.sessions import Sessions
from tallyspan_collector.api.app import create_app
from tallyspan_collector.api.chat.app import create_chat_app
from tallyspan_collector.api.chat.endpoint import PATH
from tallyspan_collector.api.store_settings import with_settings
from tallyspan_collector.columns.reader import choose
from tallyspan_collector.config import Config
from tallyspan_collector.errors import ConfigError, SpoolError
from tallyspan_collector.files.atomic import PRIVATE, whole_file
from tallyspan_collector.files.lock import held
from tallyspan_collector.imports.settings import of_section as imports_of
from tallyspan_collector.ingest.journal import FILE_NAME
from tallyspan_collector.ingest.lives import begin_life
from tallyspan_collector.metrics.log import MetricsLog
from tallyspan_collector.metrics.others import name_of
from tallyspan_collector.pricing.watch import PriceWatch
from tallyspan_collector.reconcile.settings import of_section as bills_of
from tallyspan_collector.server.listener import HttpServer
from tallyspan_collector.server.opening import open_store
from tallyspan_collector.server.worker import Worker, check_exposure, run_loop, tls
from tallyspan_collector.server.workers import Workers
from tallyspan_collector.statements.rate_card import of_section as rate_card_of
from tallyspan_collector.statements.settings import of_section as statements_of
from tallyspan_collector.units.threads import in_thread

PATIENCE_SECONDS = 0.5
"""For a collector that is about to end."""
END_SECONDS = 2.0
"""How long what the collector says of itself may take into the store at the end."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ready:
    """The addresses of a running collector."""

    otlp_grpc: str
    otlp_http: str
    admin: str
    store: str
    admin_key_file: str | None


def open_keys(config: Config, client: Client) -> tuple[Keys, Path | None]:
    """Return the keys of the environment and the store, and the file with the key of a local store.

    A local store without an admin key gets one at the first start, in a file of mode 600.
    """
    make_folder(config.data_dir)
    keys = Keys.of_environment(os.environ, config.data_dir / COPY)
    keys.read_or_remember(client)
    path = config.data_dir / "admin.key"
    if os.environ.get("TALLYSPAN_ADMIN_KEY") or config.store != "local":
        return keys, None
    if not path.exists() or not path.read_text().strip():  # an empty key would let anybody in
        with whole_file(path, PRIVATE) as file:
            file.write((PREFIXES["admin"] + secrets.token_urlsafe(32)).encode())
    keys.add(Key("file", "admin", "admin", digest(path.read_text().strip().encode())))
    return keys, path


async def serve(config: Config, stop: asyncio.Event, announce: Callable[[Ready], None]) -> None:
    """Run until `stop` is set, then drain the spool. Raises `ConfigError`, `StoreError`."""
    prices = PriceWatch(config.prices, config.data_dir)
    oidc = config.oidc()
    tls(config)
    imports_of(config.imports)
    bills_of(config.reconcile)
    statements_of(config.statements, prices.current)
    rate_card = rate_card_of(config.rate_card)
    reader = choose(config.reader)
    _log.info("reader.chosen", reader=reader.name, compiled=reader.refusal or "usable")
    with ExitStack() as stack:
        lock = config.data_dir / "collector.lock"
        stack.enter_context(held(lock, "a collector", PATIENCE_SECONDS))
        url, client = stack.enter_context(open_store(config))
        keys, key_file = open_keys(config, client)
        check_exposure(config, keys)
        with suppress(SpoolError):  # a worker says that its journal cannot be used
            begin_life(config.data_dir / "spool" / FILE_NAME)
        workers = Workers(config, url) if config.workers > 1 else Worker(config, client, keys)
        metrics = CollectorRegistry()
        metrics.register(workers)
        audit_log = AuditLog(client, metrics)
        readers = stack.enter_context(late(lambda: with_settings(connect(url))))
        admin = HttpServer(
            create_app(
                readers,
                keys,
                workers.health,
                metrics,
                prices.current,
                audit_log,
                Oidc(oidc) if oidc else None,
                rate_card,
            ),
            tls(config),
            config.trusted_proxies or "",
        )
        metrics_log = MetricsLog(client, name_of(config.data_dir), metrics.collect)
        try:
            listening = await workers.start()
            metrics_log.start()
            audit_log.start()
            scheme = "https" if config.tls_cert else "http"
            announce(
                Ready(
                    otlp_grpc=listening.otlp_grpc,
                    otlp_http=listening.otlp_http,
                    admin=f"{scheme}://" + await admin.start("--admin", config.admin),
                    store=shown(config.store),
                    admin_key_file=str(key_file) if key_file else None,
                )
            )
            await stop.wait()
            _log.info("collector.stopping")
        finally:
            await workers.stop()
            for part in (metrics_log, admin, audit_log):
                with suppress(TimeoutError):  # what a store that does not answer does not take
                    await asyncio.wait_for(part.stop(), END_SECONDS)


async def serve_chat(
    config: Config, address: str, stop: asyncio.Event, announce: Callable[[str], None]
) -> None:
    """Serve the tools of a chat alone until `stop` is set; `announce` gets their URL.

    The store is that of a collector: a local one must be running. Raises `ConfigError`,
    `StoreError`.
    """
    url = running_url(config.data_dir) if config.store == "local" else config.store
    if url is None:
        raise ConfigError(
            f"--data-dir {config.data_dir}: no collector runs there; start it with 'tallyspan up',"
            " or name its store with --store URL"
        )
    oidc = config.oidc()
    with ExitStack() as stack:
        client = stack.enter_context(connect(url))
        keys, _ = open_keys(config, client)
        audit_log = AuditLog(client, CollectorRegistry())
        doors = Doors(keys, Sessions(), Oidc(oidc) if oidc else None, audit_log.note)
        readers = with_settings(stack.enter_context(connect(url)))
        prices = PriceWatch(config.prices, config.data_dir).current
        app = create_chat_app(readers, doors, prices)
        server = HttpServer(app, tls(config), config.trusted_proxies or "")
        listening = await server.start("--listen", address)
        audit_log.start()
        reading = asyncio.create_task(_read_keys(keys, client))
        scheme = "https" if config.tls_cert else "http"
        announce(f"{scheme}://{listening}{PATH}")
        await stop.wait()
        reading.cancel()
        await server.stop(END_SECONDS)
        await audit_log.stop()


async def _read_keys(keys: Keys, client: Client) -> None:
    while True:
        await asyncio.sleep(READ_SECONDS)
        try:
            await in_thread(keys.read, client)
        except Exception as error:  # noqa: BLE001  the keys stay as they were read last
            _log.warning("keys.not_read", error=one_line(error))


def announce_on_stdout(ready: Ready) -> None:
    """Print the addresses as one line of JSON."""
    line = {
        "otlp_grpc": ready.otlp_grpc,
        "otlp_http": ready.otlp_http,
        "admin": ready.admin,
        "store": ready.store,
        "admin_key_file": ready.admin_key_file,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def run(config: Config) -> None:
    """Run the collector until SIGTERM or SIGINT. Raises `ConfigError`, `StoreError`."""

    async def main() -> None:
        await serve(config, _signals(), announce_on_stdout)

    run_loop(main())


def run_chat(config: Config, address: str) -> None:
    """Run the tools of a chat until SIGTERM or SIGINT. Raises `ConfigError`, `StoreError`."""

    def announce(url: str) -> None:
        sys.stdout.write(json.dumps({"mcp": url}) + "\n")
        sys.stdout.flush()

    async def main() -> None:
        await serve_chat(config, address, _signals(), announce)

    run_loop(main())


def _signals() -> asyncio.Event:
    """Return the event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
