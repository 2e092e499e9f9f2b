"""The collector: makes its parts, starts them in order, stops them in reverse."""

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn
from clickhouse_connect.driver.client import Client
from starlette.applications import Starlette

from tallyspan_clickhouse.engine import connect, database_name
from tallyspan_clickhouse.local import LocalStore
from tallyspan_clickhouse.migrate import migrate
from tallyspan_collector.api.app import create_app
from tallyspan_collector.api.keys import AdminKeys
from tallyspan_collector.config import Config
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.loader import Loader
from tallyspan_collector.metrics import Metrics
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.receiver import http
from tallyspan_collector.receiver.grpc import GrpcReceiver

DRAIN_SECONDS = 10
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ready:
    """Where a running collector is reached."""

    otlp_grpc: str
    otlp_http: str
    admin: str
    store: str
    admin_key_file: str | None


@contextmanager
def open_store(config: Config) -> Iterator[tuple[str, Client]]:
    """Yield the store's URL and a client of it, migrated. Raises `StoreError`."""
    with ExitStack() as stack:
        url = config.store
        if url == "local":
            url = stack.enter_context(LocalStore(config.data_dir)).url
        database = database_name(url)
        client = stack.enter_context(connect(url))
        migrate(client, database)
        yield url, client


def admin_keys(config: Config) -> tuple[AdminKeys, Path | None]:
    """Return the keys of TALLYSPAN_ADMIN_KEY, else of a file made at the first start (mode 600)."""
    given = os.environ.get("TALLYSPAN_ADMIN_KEY", "")
    if given:
        return AdminKeys.of({"admin": given}), None
    if config.store != "local":
        return AdminKeys(), None
    path = config.data_dir / "admin.key"
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("tsa_" + secrets.token_urlsafe(32))
    return AdminKeys.of({"admin": path.read_text().strip()}), path


async def serve(config: Config, stop: asyncio.Event, announce: Callable[[Ready], None]) -> None:
    """Run until `stop` is set; then drain what was accepted. Raises `ConfigError`, `StoreError`."""
    book = PriceBook.load(config.prices)
    with open_store(config) as (_, client):
        metrics = Metrics()
        loader = Loader(client, book, metrics)
        keys, key_file = admin_keys(config)

        def health() -> dict[str, object]:
            reasons = [loader.last_error] if loader.last_error else []
            return {"ready": not reasons, "reasons": reasons}

        loading = asyncio.create_task(loader.run())
        grpc = GrpcReceiver(loader, metrics)
        otlp_http = _HttpServer(http.create_app(loader, metrics))
        admin = _HttpServer(create_app(client, keys, health, metrics.text))
        try:
            announce(
                Ready(
                    otlp_grpc=await grpc.start(config.otlp_grpc),
                    otlp_http=await otlp_http.start("--otlp-http", config.otlp_http),
                    admin="http://" + await admin.start("--admin", config.admin),
                    store=config.store.rpartition("@")[2],
                    admin_key_file=str(key_file) if key_file else None,
                )
            )
            await stop.wait()
            _log.info("collector.stopping")
        finally:
            await asyncio.gather(grpc.stop(DRAIN_SECONDS), otlp_http.stop())
            loader.stop()
            await loading
            await admin.stop()


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


async def run(config: Config) -> None:
    """Run the collector until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(config, stop, announce_on_stdout)


class _Uvicorn(uvicorn.Server):
    """Leaves the signals to the collector, which has more than one server to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _HttpServer:
    """One ASGI application on one address."""

    def __init__(self, app: Starlette) -> None:
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self, flag: str, address: str) -> str:
        """Listen; return HOST:PORT with the port really taken. Raises `ConfigError`."""
        host, _, port = address.rpartition(":")
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host.strip("[]"), int(port)))
        except OSError as error:
            listener.close()
            raise ConfigError(
                f"{flag} {address}: cannot listen there: {error.strerror}. "
                "Choose another, or port 0 for a free one"
            ) from None
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0.01)
        return f"{host}:{listener.getsockname()[1]}"

    async def stop(self) -> None:
        """Take no new requests; let the ones in flight end."""
        if self._serving is not None:
            self._server.should_exit = True
            await self._serving
