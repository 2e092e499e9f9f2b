"""urllib3, and so requests and botocore: `HTTPConnectionPool.urlopen` with its retries inside.

A body that is not read at once is shown to the exchange as the application reads it, whichever of
the response's reading methods it uses.
"""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from tallyspan.exchange import Exchange, begin
from tallyspan.guard import ours
from tallyspan.sampling import CallTracer
from tallyspan.stream_usage import HiddenUsage
from tallyspan.transport import wrapping

_NAMES = ("method", "url", "body", "headers")
_REPLACED = {"content-length", "accept-encoding"}


def wrap(module: ModuleType, tracer: CallTracer) -> None:
    """Wrap the connection pools' sending."""
    wrapping.wrap(module.connectionpool.HTTPConnectionPool, "urlopen", _sender(tracer))


def unwrap(module: ModuleType) -> None:
    """Put the pools' own method back."""
    wrapping.unwrap(module.connectionpool.HTTPConnectionPool, "urlopen")


def _sender(tracer: CallTracer) -> Callable[..., Any]:
    def send(wrapped: Any, pool: Any, args: Any, kwargs: Any) -> Any:
        exchange = _begin(tracer, pool, args, kwargs)
        if exchange is None:
            return wrapped(*args, **kwargs)
        args, kwargs = _asking(pool, exchange, args, kwargs)
        with exchange.sending():
            response = wrapped(*args, **kwargs)
        with ours("follow an answer"):
            _follow(response, exchange, is_read=kwargs.get("preload_content", True))
        return response

    return send


def _begin(tracer: CallTracer, pool: Any, args: Any, kwargs: Any) -> Exchange | None:
    with ours("recognise a call"):
        named = dict(zip(("method", "url", "body"), args, strict=False)) | kwargs
        body = named.get("body")
        if isinstance(body, str):
            body = body.encode()
        path = str(named["url"]).partition("?")[0]
        if "://" in path:  # through a proxy the whole address is sent
            path = "/" + path.split("/", 3)[3]
        address = (pool.scheme, pool.host, pool.port, path)
        return begin(
            tracer, named["method"].upper(), address, bytes(body) if _is_bytes(body) else None
        )
    return None


def _asking(pool: Any, exchange: Exchange, args: Any, kwargs: Any) -> tuple[Any, Any]:
    body = exchange.body_to_send
    # A body that is read at once is out before anything can be taken off it.
    if body is None or kwargs.get("preload_content", True) or len(args) > len(_NAMES):
        exchange.body_to_send = None
        return args, kwargs
    with ours("ask for the usage of a stream"):
        named = dict(zip(_NAMES, args, strict=False)) | kwargs
        given = named.get("headers") or pool.headers
        headers = {k: v for k, v in given.items() if k.lower() not in _REPLACED}
        headers |= {"Content-Length": str(len(body)), "Accept-Encoding": "identity"}
        return (), {**named, "body": body, "headers": headers}
    exchange.body_to_send = None
    return args, kwargs


def _is_bytes(body: object) -> bool:
    return isinstance(body, bytes | bytearray)


def _follow(response: Any, exchange: Exchange, *, is_read: bool) -> None:
    headers = {name.lower(): value for name, value in response.headers.items()}
    # What the application reads is decoded, unless it asks for the bytes of the wire.
    coding = headers.pop("content-encoding", "")
    exchange.answered(response.status, headers)
    if is_read:
        exchange.feed(response.data)
        exchange.end()
        return
    _Tap(response, exchange, coding)


class _Tap:
    """Stands in for the reading methods of one response; only the outermost shows what it got."""

    def __init__(self, response: Any, exchange: Exchange, coding: str) -> None:
        self._decodes = response.decode_content
        self._exchange = exchange
        self._coding = coding
        self._is_inside = False
        self._is_closed = False
        self._ready = b""
        """What may be shown and was not asked for yet."""
        self._is_read = False
        for name in ("read", "read1"):
            if hasattr(response, name):
                setattr(response, name, self._reading(getattr(response, name)))
        for name in ("stream", "read_chunked"):
            setattr(response, name, self._streaming(getattr(response, name)))
        response.readinto = self._filling(response)
        response.close = self._closing(response.close)

    def _reading(self, method: Callable[..., bytes]) -> Callable[..., bytes]:
        def read(*args: Any, **kwargs: Any) -> bytes:
            if self._is_inside:
                return method(*args, **kwargs)
            self._open(args, kwargs)
            amount = args[0] if args else kwargs.get("amt")
            if self._exchange.hidden is not None:
                is_short = method.__name__ == "read1"
                return self._visible(
                    self._exchange.hidden, lambda: method(*args, **kwargs), amount, is_short
                )
            data: bytes = self._inside(method, *args, **kwargs)
            if data:
                self._exchange.feed(data)
            if amount is None or (amount and not data) or self._is_closed:
                self._exchange.end()
            return data

        return read

    def _visible(
        self, hidden: HiddenUsage, read: Callable[[], bytes], amount: int | None, is_short: bool
    ) -> bytes:
        """Return as much as is asked for of what is not hidden; `is_short`: less will do."""
        wanted = 1 if is_short else amount
        while not self._is_read and (wanted is None or len(self._ready) < wanted):
            data = self._inside(read)
            if data:
                self._exchange.feed(data)
                self._ready += hidden.feed(data)
            if not data or (amount is None and not is_short):
                self._is_read = True
                self._ready += hidden.end()
                self._exchange.end()
        size = len(self._ready) if amount is None else amount
        taken, self._ready = self._ready[:size], self._ready[size:]
        return taken

    def _streaming(self, method: Callable[..., Iterator[bytes]]) -> Callable[..., Iterator[bytes]]:
        def stream(*args: Any, **kwargs: Any) -> Iterator[bytes]:
            if self._is_inside:
                yield from method(*args, **kwargs)
                return
            self._open(args, kwargs)
            feed, inside, hidden = self._exchange.feed, self._inside, self._exchange.hidden
            parts = method(*args, **kwargs)
            while (data := inside(next, parts, None)) is not None:
                feed(data)
                shown = data if hidden is None else hidden.feed(data)
                if shown:
                    yield shown
            if hidden is not None and (shown := hidden.end()):
                yield shown
            self._exchange.end()

        return stream

    def _filling(self, response: Any) -> Callable[[Any], int]:
        def readinto(buffer: Any) -> int:
            data = response.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)

        return readinto

    def _closing(self, method: Callable[[], None]) -> Callable[[], None]:
        def close() -> None:
            try:
                method()
            finally:
                self._is_closed = True
                if not self._is_inside:  # else the reading method says how it ended
                    self._exchange.end()

        return close

    def _inside(self, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._is_inside = True
        try:
            return step(*args, **kwargs)
        except BaseException as error:
            self._exchange.fail(error)
            raise
        finally:
            self._is_inside = False

    def _open(self, args: Any, kwargs: Any) -> None:
        asked = args[1] if len(args) > 1 else kwargs.get("decode_content")
        if self._coding and not (self._decodes if asked is None else asked):
            self._exchange.packed(self._coding)
        self._coding = ""
