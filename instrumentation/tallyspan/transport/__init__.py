"""Where calls leave the process: an adapter for each HTTP library, wrapped when it is imported.

httpx and httpx2 have one adapter; requests and botocore send through urllib3, which has the second;
aiohttp has the third. A call that passes two of them (an httpx client over aiohttp) is seen once:
what an adapter sends, the ones below leave alone.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Protocol

import wrapt

from tallyspan.guard import ours
from tallyspan.sampling import CallTracer
from tallyspan.transport import aiohttp, httpx, urllib3


class Adapter(Protocol):
    """Wraps one library's sending, and puts it back."""

    def wrap(self, module: ModuleType, tracer: CallTracer) -> None:
        """Wrap the sending of the imported module."""
        ...

    def unwrap(self, module: ModuleType) -> None:
        """Put back what was there."""
        ...


ADAPTERS: dict[str, Adapter] = {
    "httpx": httpx,
    "httpx2": httpx,
    "urllib3": urllib3,
    "aiohttp": aiohttp,
}
_wrapping: set[str] = set()


def instrument(tracer: CallTracer) -> None:
    """Wrap the libraries that are imported, and the others once they are."""
    for name in ADAPTERS:
        _wrapping.add(name)
        wrapt.register_post_import_hook(_hook(tracer, name), name)


def uninstrument() -> None:
    """Put the libraries' own methods back."""
    _wrapping.clear()
    for name, adapter in ADAPTERS.items():
        module = sys.modules.get(name)
        if module is not None:
            adapter.unwrap(module)


def _hook(tracer: CallTracer, name: str) -> Callable[[ModuleType], None]:
    def wrap(module: ModuleType) -> None:
        if name in _wrapping:  # else switched off before the library was imported
            with ours("wrap an HTTP library"):
                ADAPTERS[name].wrap(module, tracer)

    return wrap
