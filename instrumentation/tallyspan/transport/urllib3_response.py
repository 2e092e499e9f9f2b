"""A response of urllib3 whose body passes through the exchange as the application reads it.

Its class becomes one below its own. Methods set on the response itself would refer to it, and then
a response that nobody reads would keep its connection until the garbage collector runs.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any

from tallyspan.exchange import Exchange

_STATE = "_tallyspan"


def follow(response: Any, exchange: Exchange, coding: str) -> None:
    """Show the exchange what is read from here on. `coding`: the content coding on the wire."""
    setattr(response, _STATE, _Reading(exchange, coding, decodes=response.decode_content))
    response.__class__ = _followed(response.__class__)


class _Reading:
    """How far a response has been read.

    Its methods call each other: only what the outermost returns is shown to the exchange.
    `ready`: what the application may have and did not read yet.
    """

    __slots__ = ("coding", "decodes", "exchange", "is_closed", "is_inside", "is_read", "ready")

    def __init__(self, exchange: Exchange, coding: str, *, decodes: bool) -> None:
        self.exchange = exchange
        self.coding = coding
        self.decodes = decodes
        self.is_inside = False
        self.is_closed = False
        self.is_read = False
        self.ready = b""

    def open(self, args: Any, kwargs: Any) -> None:
        """Take whether what comes is decoded; the first reading decides."""
        wanted = args[1] if len(args) > 1 else kwargs.get("decode_content")
        if self.coding and not (self.decodes if wanted is None else wanted):
            self.exchange.unpack(self.coding)
        self.coding = ""

    def inside(self, step: Callable[..., Any], *args: Any) -> Any:
        """Return what the response's own method returns."""
        self.is_inside = True
        try:
            return step(*args)
        except BaseException as error:
            self.exchange.fail(error)
            raise
        finally:
            self.is_inside = False

    def visible(self, read: Callable[[], bytes], amount: int | None, *, is_short: bool) -> bytes:
        """Return `amount` bytes of those for the application, None: all; `is_short`: or less."""
        wanted = 1 if is_short else amount
        while not self.is_read and (wanted is None or len(self.ready) < wanted):
            data = self.inside(read)
            if data:
                self.ready += self.exchange.body.feed(data)
            if not data or (amount is None and not is_short):
                self.is_read = True
                self.ready += self.exchange.end()
        size = len(self.ready) if amount is None else amount
        result, self.ready = self.ready[:size], self.ready[size:]
        return result


@lru_cache(maxsize=16)
def _followed(kind: type) -> type:
    methods = {
        name: wrapped(getattr(kind, name))
        for name, wrapped in (
            ("read", _reading),
            ("read1", _reading),
            ("stream", _streaming),
            ("read_chunked", _streaming),
            ("close", _closing),
        )
        if hasattr(kind, name)
    }
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (kind,), {**methods, **named, "readinto": _readinto})


def _reading(method: Callable[..., bytes]) -> Callable[..., bytes]:
    def read(response: Any, *args: Any, **kwargs: Any) -> bytes:
        state: _Reading = getattr(response, _STATE)
        if state.is_inside:
            return method(response, *args, **kwargs)
        state.open(args, kwargs)
        amount = args[0] if args else kwargs.get("amt")
        step = partial(method, response, *args, **kwargs)
        exchange = state.exchange
        if exchange.body.hidden is not None:
            return state.visible(step, amount, is_short=method.__name__ == "read1")
        data: bytes = state.inside(step)
        if data:
            exchange.body.feed(data)
        if amount is None or (amount and not data) or state.is_closed:
            exchange.end()
        return data

    return read


def _streaming(method: Callable[..., Iterator[bytes]]) -> Callable[..., Iterator[bytes]]:
    def stream(response: Any, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        state: _Reading = getattr(response, _STATE)
        parts = method(response, *args, **kwargs)
        if state.is_inside:
            return parts
        state.open(args, kwargs)
        return _shown(parts, state)

    return stream


def _shown(parts: Iterator[bytes], state: _Reading) -> Iterator[bytes]:
    exchange, inside = state.exchange, state.inside
    while (data := inside(next, parts, None)) is not None:
        if passed := exchange.body.feed(data):
            yield passed
    if rest := exchange.end():
        yield rest


def _readinto(response: Any, buffer: Any) -> int:
    data = response.read(len(buffer))
    buffer[: len(data)] = data
    return len(data)


def _closing(method: Callable[[Any], None]) -> Callable[[Any], None]:
    def close(response: Any) -> None:
        try:
            method(response)
        finally:
            state: _Reading = getattr(response, _STATE)
            state.is_closed = True
            if not state.is_inside:  # else the reading method ends or fails the call
                state.exchange.end()

    return close
