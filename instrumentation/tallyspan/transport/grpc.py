"""grpc, sync and asyncio: the methods of `grpc_methods.py`, by whatever channel they are called.

Wrapped is what a channel makes callables of methods with, so other methods cost nothing, and
interceptors are above. The channel classes are private; a test guards them.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Generator
from functools import lru_cache
from importlib import import_module
from itertools import chain
from types import ModuleType
from typing import Any

import wrapt

from tallyspan.exchange import Exchange, begin
from tallyspan.grpc_methods import Method, as_json, method_of, plain
from tallyspan.guard import note, ours
from tallyspan.sampling import CallTracer
from tallyspan.transport import wrapping

MAX_HELD = 64
"""Chunks that are read together."""
MAX_HELD_BYTES = 64 << 10
"""Of a chunk that waits for others."""
_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
}
"""What a code is in HTTP (google/rpc/code.proto), of those with which a server refuses.

A call that the application cancelled, or did not wait for, has no status: it may be billed.
"""
_TARGET = re.compile(
    r"(?:[a-z0-9_-]+:(?://[^/]*/)?)?(?P<host>\[[^\]]+\]|[^:/\[\]]+)(?::(?P<port>[0-9]+))?"
)


class _Current:
    """The tracer that calls go to; None: switched off. Callables outlive the switching."""

    tracer: CallTracer | None = None


def wrap(module: ModuleType, tracer: CallTracer) -> None:
    """Wrap the channels' making of callables."""
    _Current.tracer = tracer
    for owner, callables in _channels(module):
        for name, kind in callables.items():
            wrapping.wrap(owner, name, _maker(kind))


def unwrap(module: ModuleType) -> None:
    """Put the channels' own methods back, and leave calls alone."""
    _Current.tracer = None
    for owner, callables in _channels(module):
        for name in callables:
            wrapping.unwrap(owner, name)


def _channels(module: ModuleType) -> tuple[tuple[type, dict[str, Any]], ...]:
    sync, asynchronous = (
        import_module(f"{module.__name__}.{at}") for at in ("_channel", "aio._channel")
    )
    return (
        (sync.Channel, {"unary_unary": _UnaryUnary, "unary_stream": _UnaryStream}),
        (
            asynchronous.Channel,
            {"unary_unary": _AsyncUnaryUnary, "unary_stream": _AsyncUnaryStream},
        ),
    )


def _maker(kind: type["_Callable"]) -> Callable[..., Any]:
    def make(wrapped: Any, channel: Any, args: Any, kwargs: Any) -> Any:
        method_callable = wrapped(*args, **kwargs)
        with ours("recognise a call"):
            method = method_of(args[0] if args else kwargs["method"])
            if method is not None:
                target = channel._channel.target  # noqa: SLF001  no channel has a public one
                return kind(method_callable, method, target() if callable(target) else target)
        return method_callable

    return make


@lru_cache(maxsize=256)
def _address(target: bytes) -> tuple[str, int | None]:
    match = _TARGET.fullmatch(target.decode("utf-8", "replace"))
    if match is None:
        return "", None
    return match["host"].strip("[]"), int(match["port"]) if match["port"] else None


class _Followed:
    """A call whose messages are read as they pass; nothing here raises into the caller.

    Chunks of a stream are held by reference, and read some at a time: of those before the last one
    with counts the lists alone, for each chunk repeats the counts of those before it.
    """

    __slots__ = ("_end", "_exchange", "_has_begun", "_held")

    def __init__(self, exchange: Exchange, *, is_stream: bool) -> None:
        self._exchange: Exchange | None = exchange
        self._held: list[Any] = []
        self._has_begun = False
        self._end = b"\n" if is_stream else b""
        with ours("read the headers of an answer"):
            kind = "application/x-ndjson" if is_stream else "application/json"
            exchange.read_headers(200, {"content-type": kind})

    def take(self, message: Any) -> None:
        """Note a message."""
        try:
            if not self._has_begun:
                self._begin()
            content = plain(message)
            size_bytes = content.ByteSize()
            self._held.append(content)
            if len(self._held) >= MAX_HELD or size_bytes > MAX_HELD_BYTES:
                self._read()
        except Exception as error:  # noqa: BLE001  ours, not the application's
            note("read a message of an answer", error)

    def _begin(self) -> None:
        self._has_begun = True
        if self._exchange is not None:
            self._exchange.body.first_chunk_at = time.perf_counter()

    def _read(self) -> None:
        held, self._held = self._held, []
        exchange = self._exchange
        if exchange is None or not held:
            return
        texts: list[bytes] = []
        has_counts = False
        for message in reversed(held):
            content, is_cut = as_json(message, lists_alone=has_counts)
            if is_cut:
                exchange.body.leave_out("a message of very many fields")
            if not has_counts or any(chain(*content.values())):
                texts.append(json.dumps(content).encode() + self._end)
            has_counts = has_counts or any(isinstance(each, dict) for each in content.values())
        for text in reversed(texts):
            exchange.body.feed(text)

    def _closed(self) -> Exchange | None:
        """Return the exchange to be ended, with all that came read; None: it has ended."""
        with ours("read a message of an answer"):
            self._read()
        exchange, self._exchange = self._exchange, None
        return exchange

    def over(self) -> None:
        """End the call."""
        if (exchange := self._closed()) is not None:
            exchange.end()

    def whole(self, message: Any) -> None:
        """Read the only message, and end the call."""
        self.take(message)
        self.over()

    def failed(self, error: BaseException) -> None:
        """End the call with what the library, or the application, gave up with."""
        if (exchange := self._closed()) is not None:
            _fail(exchange, error, has_begun=self._has_begun)

    def cancelled(self) -> None:
        """End the call that the application gave up."""
        if (exchange := self._closed()) is not None:
            exchange.give_up("CANCELLED")

    def done(self, future: Any) -> None:
        """Take what a future has come to."""
        with ours("follow an answer"):
            if future.cancelled():
                self.cancelled()
            elif (error := future.exception()) is not None:
                self.failed(error)
            else:
                self.whole(future.result())

    def __del__(self) -> None:
        """End the call of a stream that nobody read to its end or closed."""
        if getattr(self, "_exchange", None) is not None:
            self.over()


def _fail(exchange: Exchange, error: BaseException, *, has_begun: bool = False) -> None:
    """End a call. A server that has begun to answer does not refuse it any more."""
    with ours("read what a call failed with"):
        code = getattr(error, "code", None)
        name = code().name if callable(code) else ""
        if name in _STATUS and not has_begun:
            exchange.read_headers(_STATUS[name], {})
            exchange.end()
        elif name:
            exchange.give_up(name)
    exchange.fail(error)


class _Callable(wrapt.ObjectProxy[Any]):
    """A method of a service; everything but calling it is the library's own."""

    def __init__(self, wrapped: Any, method: Method, target: bytes) -> None:
        super().__init__(wrapped)
        self._self_method = method
        self._self_target = target

    def _self_send(
        self,
        send: Callable[..., Any],
        request: Any,
        args: Any,
        kwargs: Any,
        *,
        is_stream: bool = False,
    ) -> tuple[Any, _Followed | None]:
        """Return what the library returns, and what is to see the answer if it is a call."""
        exchange = self._self_begin(request)
        if exchange is None:
            return send(request, *args, **kwargs), None
        with exchange.sending():
            try:
                response = send(request, *args, **kwargs)
            except BaseException as error:
                _fail(exchange, error)
                raise
        return response, _Followed(exchange, is_stream=is_stream)

    def _self_begin(self, request: Any) -> Exchange | None:
        tracer = _Current.tracer
        if tracer is None:
            return None
        with ours("recognise a call"):
            host, port = _address(self._self_target)
            path, fields = self._self_method.request(plain(request))
            body = json.dumps(fields).encode() if fields else None
            url = ("https", host, port, path)
            return begin(tracer, self._self_method.verb, url, body, completes=False)
        return None


class _UnaryUnary(_Callable):
    def __call__(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        response, followed = self._self_send(self.__wrapped__, request, args, kwargs)
        if followed is not None:
            followed.whole(response)
        return response

    def with_call(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        result, followed = self._self_send(self.__wrapped__.with_call, request, args, kwargs)
        if followed is not None:
            with ours("follow an answer"):
                followed.whole(result[0])
        return result

    def future(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        future, followed = self._self_send(self.__wrapped__.future, request, args, kwargs)
        if followed is not None:
            with ours("follow an answer"):
                future.add_done_callback(followed.done)
        return future


class _UnaryStream(_Callable):
    def __call__(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        call, followed = self._self_send(self.__wrapped__, request, args, kwargs, is_stream=True)
        return call if followed is None else _Stream(call, followed)


class _AsyncUnaryUnary(_Callable):
    def __call__(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        call, followed = self._self_send(self.__wrapped__, request, args, kwargs)
        return call if followed is None else _AsyncCall(call, followed)


class _AsyncUnaryStream(_Callable):
    def __call__(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        call, followed = self._self_send(self.__wrapped__, request, args, kwargs, is_stream=True)
        return call if followed is None else _AsyncStream(call, followed)


class _Call(wrapt.ObjectProxy[Any]):
    """What a method returned before its answer came."""

    def __init__(self, wrapped: Any, followed: _Followed) -> None:
        super().__init__(wrapped)
        self._self_followed = followed


class _Stream(_Call):
    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        try:
            message = next(self.__wrapped__)
        except StopIteration:
            self._self_followed.over()
            raise
        except BaseException as error:
            self._self_followed.failed(error)
            raise
        self._self_followed.take(message)
        return message

    next = __next__

    def cancel(self) -> Any:
        try:
            return self.__wrapped__.cancel()
        finally:
            self._self_followed.cancelled()


class _AsyncCall(_Call):
    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            message = yield from self.__wrapped__.__await__()
        except BaseException as error:
            self._self_followed.failed(error)
            raise
        self._self_followed.whole(message)
        return message


class _AsyncStream(_Call):
    _self_messages: Any = None

    def __aiter__(self) -> Any:
        if self._self_messages is None:
            self._self_messages = self.__wrapped__.__aiter__()
        return self

    async def __anext__(self) -> Any:
        try:
            message = await self._self_messages.__anext__()
        except StopAsyncIteration:
            self._self_followed.over()
            raise
        except BaseException as error:
            self._self_followed.failed(error)
            raise
        self._self_followed.take(message)
        return message

    async def read(self) -> Any:
        try:
            message = await self.__wrapped__.read()
        except BaseException as error:
            self._self_followed.failed(error)
            raise
        if message is sys.modules["grpc.aio"].EOF:
            self._self_followed.over()
        else:
            self._self_followed.take(message)
        return message
