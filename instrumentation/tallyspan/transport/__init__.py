"""Where calls leave the process: an adapter for each library, wrapped when it is imported.

httpx and httpx2 have one adapter; requests and botocore send through urllib3, which has the second;
aiohttp has the third, grpc the fourth. Sockets have adapters of their own. A call that passes two
of them (an httpx client over aiohttp) is recorded by the upper one: those below leave alone what an
adapter sends.
"""

import sys
from functools import partial
from types import ModuleType
from typing import Protocol

import wrapt

from tallyspan.guard import ours
from tallyspan.sampling import CallTracer
from tallyspan.transport import (
    aiohttp,
    grpc,
    httpx,
    httpx_sockets,
    redaction,
    urllib3,
    websocket_client,
    websockets,
)


class Adapter(Protocol):
    """Wraps one library's sending, and puts it back."""

    def wrap(self, module: ModuleType, tracer: CallTracer) -> None:
        """Wrap the sending of the imported module."""
        ...

    def unwrap(self, module: ModuleType) -> None:
        """Put back the library's own methods."""
        ...


ADAPTERS: dict[str, Adapter] = {
    "httpx": httpx,
    "httpx2": httpx,
    "urllib3": urllib3,
    "aiohttp": aiohttp,
    "grpc": grpc,
    "httpx_ws": httpx_sockets,
    "httpx2.websockets": httpx_sockets,
    "websocket": websocket_client,
    "websockets.sync.client": websockets,
    "websockets.asyncio.client": websockets,
    "websockets.trio.client": websockets,
}
# Library to wrap -> where its calls go; empty: switched off.
_tracers: dict[str, CallTracer] = {}
# Libraries with a hook for when they are imported; a hook cannot be removed.
_awaited: set[str] = set()


def instrument(tracer: CallTracer) -> None:
    """Wrap the libraries that are imported, and the others once they are."""
    redaction.instrument()
    for name in ADAPTERS:
        _tracers[name] = tracer
        if name in sys.modules:
            _wrap(name, sys.modules[name])
        elif name not in _awaited:
            _awaited.add(name)
            wrapt.register_post_import_hook(partial(_wrap, name), name)


def uninstrument() -> None:
    """Put the libraries' own methods back."""
    redaction.uninstrument()
    _tracers.clear()
    for name, adapter in ADAPTERS.items():
        module = sys.modules.get(name)
        if module is not None:
            adapter.unwrap(module)


def _wrap(name: str, module: ModuleType) -> None:
    tracer = _tracers.get(name)
    if tracer is not None:
        with ours("wrap a library"):
            ADAPTERS[name].wrap(module, tracer)
