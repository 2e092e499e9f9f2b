"""Sockets of aiohttp: `ClientSession._ws_connect`, and stand-ins for what it reads and writes with.

What the application never reads is seen too where it closes the socket, for then it is read.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import wrapt

from tallyspan.guard import note, ours
from tallyspan.sampling import CallTracer
from tallyspan.session import Session, open_session
from tallyspan.transport import wrapping

_TEXT, _BINARY, _CLOSE = 1, 2, 8
"""Kinds of messages, as opcodes of frames (RFC 6455, 5.2)."""


def wrap(module: ModuleType, tracer: CallTracer) -> None:
    """Wrap the opening of sockets."""
    wrapping.wrap(module.ClientSession, "_ws_connect", _opener(tracer))


def unwrap(module: ModuleType) -> None:
    """Put the session's own method back."""
    wrapping.unwrap(module.ClientSession, "_ws_connect")


def _opener(tracer: CallTracer) -> Callable[..., Any]:
    async def connect(wrapped: Any, _session: Any, args: Any, kwargs: Any) -> Any:
        socket = await wrapped(*args, **kwargs)
        with ours("recognise a socket"):
            url = socket._response.url  # noqa: SLF001  with the base URL and the parameters in it
            address = url.scheme, url.host or "", url.port, url.raw_path, url.raw_query_string
            session = open_session(tracer, address)
            if session is not None:
                socket._reader = _Reader(socket._reader, session)  # noqa: SLF001  private, and the only way
                socket._writer = _Writer(socket._writer, session)  # noqa: SLF001
        return socket

    return connect


class _Reader(wrapt.ObjectProxy[Any]):
    """The queue of messages that came, which shows the session what is taken out of it."""

    def __init__(self, reader: Any, session: Session) -> None:
        super().__init__(reader)
        self._self_session = session

    async def read(self) -> Any:
        session = self._self_session
        try:
            message = await self.__wrapped__.read()
        except Exception as error:
            session.end(type(error).__qualname__)
            raise
        try:
            if message.type in {_TEXT, _BINARY}:
                session.received(message.data)
            elif message.type == _CLOSE:
                session.end("closed")
        except Exception as error:  # noqa: BLE001  ours, not the application's
            note("read a message of a socket", error)
        return message


class _Writer(wrapt.ObjectProxy[Any]):
    """Writes frames, and shows the session those with data."""

    def __init__(self, writer: Any, session: Session) -> None:
        super().__init__(writer)
        self._self_session = session

    async def send_frame(self, message: Any, opcode: int, *args: Any, **options: Any) -> Any:
        if opcode in {_TEXT, _BINARY}:
            self._self_session.sent(message)
        return await self.__wrapped__.send_frame(message, opcode, *args, **options)
