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


class _Uvicorn(uvicorn.Server):
    """Uvicorn without its signal handlers: the collector stops all its servers by itself."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """One ASGI application on one address."""

    def __init__(self, app: Starlette, tls: Tls | None = None) -> None:
        self._app = app
        self._options: dict[str, Any] = tls.for_uvicorn() if tls else {}
        self._server: _Uvicorn | None = None
        self._serving: asyncio.Task[None] | None = None

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
        return f"{host}:{listener.getsockname()[1]}"

    async def stop(self, grace_seconds: float = 10) -> None:
        """Accept no more requests; wait for those in flight, at most `grace_seconds`."""
        if self._serving is not None and self._server is not None:
            self._server.config.timeout_graceful_shutdown = int(grace_seconds)
            self._server.should_exit = True
            await self._serving
