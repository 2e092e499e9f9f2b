"""urllib3, and so requests and botocore: `HTTPConnectionPool.urlopen` with its retries inside.

A body that is not read before `urlopen` returns passes through the exchange as the application
reads it, whichever of the response's reading methods it calls.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from tallyspan.exchange import Exchange, begin
from tallyspan.guard import ours
from tallyspan.sampling import CallTracer
from tallyspan.transport import urllib3_response, wrapping

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
        address = (pool.scheme, pool.host, pool.port, path)
        if "://" in path:  # through a proxy, which the pool is of, the whole address is sent
            url = urlsplit(path)
            address = (url.scheme, url.hostname, url.port, url.path)
        return begin(
            tracer, named["method"].upper(), address, bytes(body) if _is_bytes(body) else None
        )
    return None


def _asking(pool: Any, exchange: Exchange, args: Any, kwargs: Any) -> tuple[Any, Any]:
    body, exchange.body_to_send = exchange.body_to_send, None
    # Nothing can be taken off a body that is read before `urlopen` returns.
    if body is None or kwargs.get("preload_content", True) or len(args) > len(_NAMES):
        return args, kwargs
    with ours("ask for the usage of a stream"):
        named = dict(zip(_NAMES, args, strict=False)) | kwargs
        own = named.get("headers") or pool.headers
        headers = {k: v for k, v in own.items() if k.lower() not in _REPLACED}
        headers |= {"Content-Length": str(len(body)), "Accept-Encoding": "identity"}
        exchange.body_to_send = body
        return (), {**named, "body": body, "headers": headers}
    return args, kwargs


def _is_bytes(body: object) -> bool:
    return isinstance(body, bytes | bytearray)


def _follow(response: Any, exchange: Exchange, *, is_read: bool) -> None:
    headers = {name.lower(): value for name, value in response.headers.items()}
    # What the application reads is decoded, unless it wants the bytes of the wire.
    coding = headers.pop("content-encoding", "")
    exchange.read_headers(response.status, headers)
    if is_read:
        exchange.body.feed(response.data)
        exchange.end()
        return
    urllib3_response.follow(response, exchange, coding)
