"""A stream reader of aiohttp without the usage event, which the application did not ask for.

What the application reads is cut anew from what is left of the stream, so each of the reader's
methods is here: sizes and separators are the application's, chunks are the network's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import wrapt

from tallyspan.exchange import Exchange


def hiding(reader: Any, exchange: Exchange) -> Any:
    """Return a stand-in for the reader that gives what the exchange lets through."""
    return _Hiding(reader, exchange)


class _Hiding(wrapt.ObjectProxy[Any]):
    """Stands in for a reader, with each of its reading methods."""

    def __init__(self, reader: Any, exchange: Exchange) -> None:
        super().__init__(reader)
        self._self_exchange = exchange
        self._self_ready = b""
        self._self_is_over = False

    def set_exception(self, *error: Any) -> None:
        """Take that the response was closed or released: it makes further reading fail so."""
        self.__wrapped__.set_exception(*error)
        self._self_exchange.end()

    async def read(self, n: int = -1) -> bytes:
        if n == 0:
            return b""
        while (n < 0 or not self._self_ready) and await self._self_fill():
            pass
        return self._self_take(len(self._self_ready) if n < 0 else n)

    async def readany(self) -> bytes:
        while not self._self_ready and await self._self_fill():
            pass
        return self._self_take(len(self._self_ready))

    async def readchunk(self) -> tuple[bytes, bool]:
        data = await self.readany()
        return data, bool(data)

    async def readexactly(self, n: int) -> bytes:
        while len(self._self_ready) < n and await self._self_fill():
            pass
        if len(self._self_ready) < n:
            raise asyncio.IncompleteReadError(self._self_take(n), n)
        return self._self_take(n)

    async def readline(self, **_: Any) -> bytes:
        return await self.readuntil()

    async def readuntil(self, separator: bytes = b"\n", **_: Any) -> bytes:
        while separator not in self._self_ready and await self._self_fill():
            pass
        place = self._self_ready.find(separator)
        return self._self_take(len(self._self_ready) if place < 0 else place + len(separator))

    def read_nowait(self, n: int = -1) -> bytes:
        return self._self_take(len(self._self_ready) if n < 0 else n)

    def at_eof(self) -> bool:
        return self._self_is_over and not self._self_ready

    def __aiter__(self) -> Any:
        return _UntilEmpty(self.readline)

    def iter_any(self) -> Any:
        return _UntilEmpty(self.readany)

    def iter_chunked(self, n: int) -> Any:
        return _UntilEmpty(lambda: self.read(n))

    def iter_chunks(self) -> Any:
        return type(self.__wrapped__).iter_chunks(self)

    async def _self_fill(self) -> bool:
        """Read the next bytes of the stream; return whether it was not over."""
        if self._self_is_over:
            return False
        exchange = self._self_exchange
        try:
            data = await self.__wrapped__.readany()
        except BaseException as error:
            exchange.fail(error)
            raise
        if data:
            self._self_ready += exchange.body.feed(data)
        if self.__wrapped__.at_eof():
            self._self_is_over = True
            self._self_ready += exchange.end()
        return True

    def _self_take(self, size: int) -> bytes:
        result, self._self_ready = self._self_ready[:size], self._self_ready[size:]
        return result


class _UntilEmpty:
    """Iterates over what a reading method returns."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], Awaitable[bytes]]) -> None:
        self._read = read

    def __aiter__(self) -> "_UntilEmpty":
        return self

    async def __anext__(self) -> bytes:
        data = await self._read()
        if not data:
            raise StopAsyncIteration
        return data
