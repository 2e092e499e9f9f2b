"""httpx and httpx2, sync and async: a call in, its bytes passed on as they come.

Wrapped is `Client._send_single_request`: once per attempt, below redirects and retries of the SDK,
above whichever transport the client was given (custom and aiohttp-backed ones too). It is private
but the same in httpx 0.28 and httpx2 2.x; a test guards it.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

from tallyspan.body import CHUNK_BYTES
from tallyspan.exchange import Exchange, begin
from tallyspan.guard import note, ours
from tallyspan.not_understood import Passing, is_of_a_provider
from tallyspan.request import form
from tallyspan.sampling import CallTracer
from tallyspan.transport import wrapping

_METHOD = "_send_single_request"
_NOTHING = nullcontext()
_Tap = Callable[[Any, Exchange], Any]


def wrap(module: ModuleType, tracer: CallTracer) -> None:
    """Wrap the module's two clients; httpx2.alias_httpx() makes both names one: never twice."""
    sync_tap, async_tap = _taps(module)
    wrapping.wrap(module.Client, _METHOD, _sync_sender(module, tracer, sync_tap))
    wrapping.wrap(module.AsyncClient, _METHOD, _async_sender(module, tracer, async_tap))


def unwrap(module: ModuleType) -> None:
    """Put the clients' own methods back."""
    wrapping.unwrap(module.Client, _METHOD)
    wrapping.unwrap(module.AsyncClient, _METHOD)


def _sync_sender(module: ModuleType, tracer: CallTracer, tap: _Tap) -> Callable[..., Any]:
    def send(wrapped: Any, _client: Any, args: Any, kwargs: Any) -> Any:
        request = args[0] if args else kwargs["request"]
        exchange = _begin(module, tracer, request)
        if exchange is None:
            with _passing(request):
                return wrapped(*args, **kwargs)
        with exchange.sending():
            response = wrapped(*args, **kwargs)
        _follow(response, exchange, tap)
        return response

    return send


def _async_sender(module: ModuleType, tracer: CallTracer, tap: _Tap) -> Callable[..., Any]:
    async def send(wrapped: Any, _client: Any, args: Any, kwargs: Any) -> Any:
        request = args[0] if args else kwargs["request"]
        exchange = _begin(module, tracer, request)
        if exchange is None:
            with _passing(request):
                return await wrapped(*args, **kwargs)
        with exchange.sending():
            response = await wrapped(*args, **kwargs)
        _follow(response, exchange, tap)
        return response

    return send


def _begin(module: ModuleType, tracer: CallTracer, request: Any) -> Exchange | None:
    try:
        url = request.url
        # A body that is a generator must not be read twice: then it stays unknown.
        body = getattr(request, "_content", None)
        if body is None and (fields := getattr(request.stream, "fields", None)) is not None:
            body = form((field.name, getattr(field, "value", None)) for field in fields)
        address = url.scheme, url.host, url.port, url.path
        exchange = begin(tracer, request.method, address, body)
    except Exception as error:  # noqa: BLE001  ours, not the application's
        note("recognise a call", error)
        return None
    if exchange is not None and exchange.body_to_send is not None:
        with ours("ask for the usage of a stream"):
            _replace_body(module, request, exchange.body_to_send)
    return exchange


def _passing(request: Any) -> AbstractContextManager[None]:
    with ours("pass a request on"):
        url = request.url
        if is_of_a_provider(url.host):
            return Passing(request.method, url.host, url.path)
    return _NOTHING


def _replace_body(module: ModuleType, request: Any, body: bytes) -> None:
    request.stream = module.ByteStream(body)
    request._content = body  # noqa: SLF001  what `request.content` and a redirect read
    request.headers["content-length"] = str(len(body))
    request.headers["accept-encoding"] = "identity"  # what is packed cannot be taken off


def _follow(response: Any, exchange: Exchange, tap: _Tap) -> None:
    try:
        if not response.is_stream_consumed:
            exchange.read_headers(response.status_code, response.headers)
            response.stream = tap(response.stream, exchange)
            return
        # A mock or a cache has it in memory: its bytes are there already, and decoded.
        headers = {k: v for k, v in response.headers.items() if k != "content-encoding"}
        exchange.read_headers(response.status_code, headers)
        exchange.body.feed(response.content)
        exchange.end()
    except Exception as error:  # noqa: BLE001  ours, not the application's
        note("follow an answer", error)


def _taps(module: ModuleType) -> tuple[type, type]:
    """Return stream classes for the library: it checks that its own base class is underneath."""
    sync_base: type = module.SyncByteStream
    async_base: type = module.AsyncByteStream

    class SyncTap(sync_base):  # type: ignore[misc]  # the base is known at run time only
        """Passes every chunk on as it comes, through the exchange."""

        def __init__(self, stream: Any, exchange: Exchange) -> None:
            self._stream = stream
            self._exchange = exchange

        def __iter__(self) -> Iterator[bytes]:
            body = self._exchange.body
            append, feed, room = body.unread.append, body.feed, -1
            is_whole = body.hidden is None
            try:
                for chunk in self._stream:
                    if is_whole and chunk.__class__ is bytes:
                        room -= len(chunk) + CHUNK_BYTES
                        if room >= 0:
                            append(chunk)
                            yield chunk
                            continue
                        body.room_bytes = -1
                    passed = feed(chunk)
                    room = body.room_bytes
                    if passed or not chunk:
                        yield passed
            except Exception as error:
                self._exchange.fail(error)
                raise
            if rest := self._exchange.end():
                yield rest

        def close(self) -> None:
            try:
                self._stream.close()
            finally:
                self._exchange.end()

    class AsyncTap(async_base):  # type: ignore[misc]  # the base is known at run time only
        """The same for an async client."""

        def __init__(self, stream: Any, exchange: Exchange) -> None:
            self._stream = stream
            self._exchange = exchange

        async def __aiter__(self) -> AsyncIterator[bytes]:
            body = self._exchange.body
            append, feed, room = body.unread.append, body.feed, -1
            is_whole = body.hidden is None
            try:
                async for chunk in self._stream:
                    if is_whole and chunk.__class__ is bytes:
                        room -= len(chunk) + CHUNK_BYTES
                        if room >= 0:
                            append(chunk)
                            yield chunk
                            continue
                        body.room_bytes = -1
                    passed = feed(chunk)
                    room = body.room_bytes
                    if passed or not chunk:
                        yield passed
            except Exception as error:
                self._exchange.fail(error)
                raise
            if rest := self._exchange.end():
                yield rest

        async def aclose(self) -> None:
            try:
                await self._stream.aclose()
            finally:
                self._exchange.end()

    return SyncTap, AsyncTap
