"""aiohttp: `ClientSession._request`, and a stand-in for the stream that its answer is read from.

The private method is the one every request of a session goes through (get, post); sockets have
`aiohttp_sockets`.
"""

from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

import wrapt

from tallyspan.exchange import Exchange, begin
from tallyspan.guard import ours
from tallyspan.request import form
from tallyspan.sampling import CallTracer
from tallyspan.transport import aiohttp_sockets, wrapping
from tallyspan.transport.hiding import hiding


def wrap(module: ModuleType, tracer: CallTracer) -> None:
    """Wrap the session's sending, and its opening of sockets."""
    wrapping.wrap(module.ClientSession, "_request", _sender(tracer))
    aiohttp_sockets.wrap(module, tracer)


def unwrap(module: ModuleType) -> None:
    """Put the session's own methods back."""
    wrapping.unwrap(module.ClientSession, "_request")
    aiohttp_sockets.unwrap(module)


def _sender(tracer: CallTracer) -> Callable[..., Any]:
    async def send(wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        exchange = _begin(tracer, session, args, kwargs)
        if exchange is None:
            return await wrapped(*args, **kwargs)
        kwargs = _asking(exchange, kwargs)
        with exchange.sending():
            response = await wrapped(*args, **kwargs)
        with ours("follow an answer"):
            headers = {name.lower(): value for name, value in response.headers.items()}
            if session.auto_decompress:
                headers.pop("content-encoding", None)
            exchange.read_headers(response.status, headers)
            tap = hiding if exchange.body.hidden is not None else _Tap
            response.content = tap(response.content, exchange)
        return response

    return send


def _begin(tracer: CallTracer, session: Any, args: Any, kwargs: Any) -> Exchange | None:
    with ours("recognise a call"):
        method, url = (*args, *(kwargs[n] for n in ("method", "str_or_url") if n in kwargs))[:2]
        address = session._build_url(url)  # noqa: SLF001  resolves against the session's base URL
        return begin(
            tracer,
            str(method).upper(),
            (address.scheme, address.host or "", address.explicit_port, address.raw_path),
            _body(session, kwargs),
        )
    return None


def _body(session: Any, kwargs: Any) -> bytes | None:
    """Return the request's body; None if it is produced while it is sent."""
    body = kwargs.get("data")
    if kwargs.get("json") is not None:
        serialise = getattr(session, "_json_serialize_bytes", None) or session.json_serialize
        body = serialise(kwargs["json"])
    if isinstance(body, Mapping):
        return form(body.items())
    if hasattr(body, "add_field"):  # aiohttp's own FormData
        return form((options.get("name"), value) for options, _, value in body._fields)
    if isinstance(body, str):
        return body.encode()
    return body if isinstance(body, bytes) else None


def _asking(exchange: Exchange, kwargs: Any) -> Any:
    body = exchange.body_to_send
    if body is None:
        return kwargs
    with ours("ask for the usage of a stream"):
        headers = import_module("multidict").CIMultiDict(kwargs.get("headers") or ())
        headers["Accept-Encoding"] = "identity"  # what is packed cannot be taken off
        if kwargs.get("json") is not None:
            headers.setdefault("Content-Type", "application/json")
        # aiohttp sends text with another content type than bytes.
        data = body.decode() if isinstance(kwargs.get("data"), str) else body
        return {**kwargs, "json": None, "data": data, "headers": headers}
    return kwargs


class _Tap(wrapt.ObjectProxy[Any]):
    """A stream reader that shows the exchange what the application reads from it."""

    def __init__(self, reader: Any, exchange: Exchange) -> None:
        super().__init__(reader)
        self._self_exchange = exchange

    async def read(self, n: int = -1) -> bytes:
        return self._self_show(await self._self_followed(self.__wrapped__.read(n)))

    async def readany(self) -> bytes:
        return self._self_show(await self._self_followed(self.__wrapped__.readany()))

    async def readexactly(self, n: int) -> bytes:
        return self._self_show(await self._self_followed(self.__wrapped__.readexactly(n)))

    async def readline(self, **options: Any) -> bytes:
        return self._self_show(await self._self_followed(self.__wrapped__.readline(**options)))

    async def readuntil(self, *args: Any, **options: Any) -> bytes:
        reading = self.__wrapped__.readuntil(*args, **options)
        return self._self_show(await self._self_followed(reading))

    async def readchunk(self) -> tuple[bytes, bool]:
        data, is_end = await self._self_followed(self.__wrapped__.readchunk())
        return self._self_show(data), is_end

    def read_nowait(self, n: int = -1) -> bytes:
        return self._self_show(self.__wrapped__.read_nowait(n))

    def set_exception(self, *error: Any) -> None:
        """Take that the response was closed or released: it makes further reading fail so."""
        self.__wrapped__.set_exception(*error)
        self._self_exchange.end()

    def __aiter__(self) -> Any:
        return self._self_parts(aiter(self.__wrapped__))

    def iter_chunked(self, n: int) -> Any:
        return self._self_parts(self.__wrapped__.iter_chunked(n))

    def iter_any(self) -> Any:
        return self._self_parts(self.__wrapped__.iter_any())

    def iter_chunks(self) -> Any:
        return type(self.__wrapped__).iter_chunks(self)

    def _self_parts(self, parts: Any) -> "_Parts":
        return _Parts(parts, self.__wrapped__, self._self_exchange)

    async def _self_followed(self, reading: Awaitable[Any]) -> Any:
        try:
            return await reading
        except BaseException as error:
            self._self_exchange.fail(error)
            raise

    def _self_show(self, data: bytes) -> bytes:
        if data:
            self._self_exchange.body.feed(data)
        if self.__wrapped__.at_eof():
            self._self_exchange.end()
        return data


class _Parts:
    """Iterates over what a reader's own iterator returns, and shows each part to the exchange.

    It calls the reading method under that iterator itself: one coroutine fewer a part.
    """

    __slots__ = ("_at_eof", "_exchange", "_read")

    def __init__(self, parts: Any, reader: Any, exchange: Exchange) -> None:
        self._read = getattr(parts, "read_func", parts.__anext__)
        self._at_eof = reader.at_eof
        self._exchange = exchange

    def __aiter__(self) -> "_Parts":
        return self

    async def __anext__(self) -> bytes:
        try:
            data: bytes = await self._read()
        except StopAsyncIteration:
            self._exchange.end()
            raise
        except BaseException as error:
            self._exchange.fail(error)
            raise
        if data:
            self._exchange.body.feed(data)
        if self._at_eof():
            self._exchange.end()
        if not data:
            raise StopAsyncIteration
        return data
