"""websocket-client: `WebSocket`, where every frame comes and goes, from `connect` to `shutdown`.

Providers' documentation opens sockets with it. Frames are seen where it takes them off the wire,
also those that it drops while a socket is closed.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from tallyspan.guard import note, ours
from tallyspan.not_understood import sightings
from tallyspan.sampling import CallTracer
from tallyspan.session import Frames, Session, open_session
from tallyspan.transport import wrapping

_SESSION, _FRAMES = "_tallyspan_session", "_tallyspan_frames"
_CONTINUATION, _TEXT, _BINARY, _CLOSE = 0, 1, 2, 8
"""Opcodes of frames (RFC 6455, 5.2)."""


def wrap(module: ModuleType, tracer: CallTracer) -> None:
    """Wrap the socket's methods."""
    for name, sender in {**_METHODS, "connect": _connect(tracer)}.items():
        wrapping.wrap(module.WebSocket, name, sender)


def unwrap(module: ModuleType) -> None:
    """Put the socket's own methods back."""
    for name in (*_METHODS, "connect"):
        wrapping.unwrap(module.WebSocket, name)


def _connect(tracer: CallTracer) -> Callable[..., Any]:
    def connect(wrapped: Any, socket: Any, args: Any, kwargs: Any) -> Any:
        _forget(socket, "closed")  # the connection before, if there was one
        wrapped(*args, **kwargs)
        with ours("recognise a socket"):
            url = urlsplit(args[0] if args else kwargs["url"])
            host = url.hostname or ""
            session = open_session(tracer, (url.scheme, host, url.port, url.path, url.query))
            if session is None:
                sightings.note(tracer, "GET", host, url.path)
            else:
                setattr(socket, _SESSION, session)
                setattr(socket, _FRAMES, Frames(session))

    return connect


def _recv_frame(wrapped: Any, socket: Any, args: Any, kwargs: Any) -> Any:
    frames: Frames | None = socket.__dict__.get(_FRAMES)
    if frames is None:
        return wrapped(*args, **kwargs)
    try:
        frame = wrapped(*args, **kwargs)
    except Exception as error:
        if socket.sock is None:  # else it is a timeout, after which more may come
            _forget(socket, type(error).__qualname__)
        raise
    try:
        if frame.opcode in {_CONTINUATION, _TEXT, _BINARY}:
            begins, ends = frame.opcode != _CONTINUATION, bool(frame.fin)
            frames.feed(frame.data, begins=begins, ends=ends)
        elif frame.opcode == _CLOSE:
            _forget(socket, "closed")
    except Exception as error:  # noqa: BLE001  ours, not the application's
        note("read a message of a socket", error)
    return frame


def _send_frame(wrapped: Any, socket: Any, args: Any, kwargs: Any) -> Any:
    session: Session | None = socket.__dict__.get(_SESSION)
    if session is not None:
        with ours("read a message of a socket"):
            frame = args[0] if args else kwargs["frame"]
            if frame.opcode in {_TEXT, _BINARY}:
                session.sent(frame.data)
    return wrapped(*args, **kwargs)


def _end(wrapped: Any, socket: Any, args: Any, kwargs: Any) -> Any:
    try:
        return wrapped(*args, **kwargs)
    finally:
        _forget(socket, "closed")


def _forget(socket: Any, error_type: str) -> None:
    session: Session | None = socket.__dict__.pop(_SESSION, None)
    socket.__dict__.pop(_FRAMES, None)
    if session is not None:
        session.end(error_type)


_METHODS: dict[str, Callable[..., Any]] = {
    "recv_frame": _recv_frame,
    "send_frame": _send_frame,
    "shutdown": _end,
}
