"""An ASGI application that listens on an address."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette

from tallyspan_collector.errors import ConfigError
from tallyspan_collector.receiver.tls import Tls
from tallyspan_collector.server.descriptors import max_connections
from tallyspan_collector.server.http_protocol import MAX_CONNECTIONS, BoundedHttp

CHECK_SECONDS = 1.0


class _Uvicorn(uvicorn.Server):
    """Uvicorn without its signal handlers: the collector stops all its servers by itself."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """One ASGI application on one address.

    Of a client at an address in `trusted_proxies`, X-Forwarded-For and -Proto are believed.
    """

    def __init__(self, app: Starlette, tls: Tls | None = None, trusted_proxies: str = "") -> None:
        self._app = app
        self._options: dict[str, Any] = tls.for_uvicorn() if tls else {}
        self._options |= {
            "proxy_headers": bool(trusted_proxies),
            "forwarded_allow_ips": trusted_proxies,
        }
        self._server: _Uvicorn | None = None
        self._serving: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None

    async def start(self, flag: str, address: str, *, is_shared: bool = False) -> str:
        """Listen; return HOST:PORT, with the real port for port 0. Raises `ConfigError`."""
        host, _, port = address.rpartition(":")
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            listener.bind((host.strip("[]"), int(port)))
        except OSError as error:
            listener.close()
            raise ConfigError(
                f"{flag} {address}: cannot listen there: {error.strerror}. "
                "Choose another, or port 0 for a free one"
            ) from None
        self._server = _Uvicorn(
            uvicorn.Config(
                self._app,
                http=_protocol(),
                ws="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=10,
                **self._options,
            )
        )
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0.01)
        self._checking = asyncio.create_task(self._check_connections(self._server))
        return f"{host}:{listener.getsockname()[1]}"

    async def stop(self, grace_seconds: float = 10) -> None:
        """Accept no more requests; wait for those in flight, at most `grace_seconds`."""
        if self._serving is not None and self._server is not None:
            self._server.config.timeout_graceful_shutdown = int(grace_seconds)
            self._server.should_exit = True
            await self._serving
        if self._checking is not None:
            self._checking.cancel()

    @staticmethod
    async def _check_connections(server: _Uvicorn) -> None:
        """Close the connections of clients that take too long."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            for connection in list(server.server_state.connections):
                if isinstance(connection, BoundedHttp):
                    connection.check()


def _protocol() -> type[BoundedHttp]:
    class Protocol(BoundedHttp):
        max_connections = max_connections(MAX_CONNECTIONS)

    return Protocol
