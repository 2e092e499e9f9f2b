"""Sockets of httpx-ws and of httpx2: a stand-in for the protocol that a session speaks.

Both pass every byte through a connection of wsproto, which a session makes when it is opened:
what comes is seen when it arrives, whether the application reads it or not.
"""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import wrapt

from tallyspan.guard import note, ours
from tallyspan.sampling import CallTracer
from tallyspan.session import Frames, Session, open_session
from tallyspan.transport import wrapping

_CLASSES = ("WebSocketSession", "AsyncWebSocketSession")


def wrap(module: ModuleType, tracer: CallTracer) -> None:
    """Wrap the opening of the module's two kinds of sessions."""
    for name in _CLASSES:
        wrapping.wrap(getattr(module, name), "__init__", _opener(tracer))


def unwrap(module: ModuleType) -> None:
    """Put the sessions' own methods back."""
    for name in _CLASSES:
        wrapping.unwrap(getattr(module, name), "__init__")


def _opener(tracer: CallTracer) -> Callable[..., Any]:
    def open_(wrapped: Any, socket: Any, args: Any, kwargs: Any) -> Any:
        wrapped(*args, **kwargs)
        with ours("recognise a socket"):
            if socket.response is not None:
                url = socket.response.request.url
                address = url.scheme, url.host, url.port, url.path, url.query.decode()
                session = open_session(tracer, address)
                if session is not None:
                    socket.connection = _Connection(socket.connection, session)

    return open_


class _Connection(wrapt.ObjectProxy[Any]):
    """Speaks the protocol, and shows the session what is said."""

    def __init__(self, connection: Any, session: Session) -> None:
        super().__init__(connection)
        self._self_session = session
        self._self_frames = Frames(session)
        self._self_begins = True

    def events(self) -> Iterator[Any]:
        for event in self.__wrapped__.events():
            try:
                self._self_show(event)
            except Exception as error:  # noqa: BLE001  ours, not the application's
                note("read a message of a socket", error)
            yield event

    def send(self, event: Any) -> Any:
        is_message = hasattr(event, "message_finished")
        if is_message:
            self._self_session.sent(event.data)
        try:
            return self.__wrapped__.send(event)
        finally:
            if not is_message and hasattr(event, "reason"):
                self._self_session.end("closed")

    def _self_show(self, event: Any) -> None:
        if hasattr(event, "message_finished"):
            begins, self._self_begins = self._self_begins, event.message_finished
            self._self_frames.feed(event.data, begins=begins, ends=event.message_finished)
        elif hasattr(event, "reason"):  # only the event that the socket is closed has one
            self._self_session.end("closed")
