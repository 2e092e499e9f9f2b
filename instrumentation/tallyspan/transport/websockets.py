"""websockets: the client's connection, of threads, asyncio and trio, from its handshake to its end.

Wrapped is where frames arrive, in their order and before the application asks for them: a message
that it never reads is billed too. `handshake`, `process_event` and the rest are methods of the
connection that the library itself calls; a test guards them.
"""

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from tallyspan.guard import note, ours
from tallyspan.not_understood import sightings
from tallyspan.sampling import CallTracer
from tallyspan.session import Frames, Session, open_session
from tallyspan.transport import wrapping

_SESSION, _FRAMES = "_tallyspan_session", "_tallyspan_frames"
_CONTINUATION, _TEXT, _BINARY = 0, 1, 2
"""Opcodes of frames with data (RFC 6455, 5.2)."""


def wrap(module: ModuleType, tracer: CallTracer) -> None:
    """Wrap the connection of `websockets.sync.client`, `.asyncio.client` or `.trio.client`."""
    for owner, name, sender in _methods(module, tracer):
        wrapping.wrap(owner, name, sender)


def unwrap(module: ModuleType) -> None:
    """Put the connection's own methods back."""
    for owner, name, _ in _methods(module, None):
        wrapping.unwrap(owner, name)


def _methods(
    module: ModuleType, tracer: CallTracer | None
) -> list[tuple[type, str, Callable[..., Any]]]:
    client = module.ClientConnection
    connection = client.__mro__[1]
    if not inspect.iscoroutinefunction(client.handshake):
        handshake, ending = _handshake(tracer), (client, "recv_events", _end)
    elif hasattr(connection, "connection_lost"):
        handshake, ending = _async_handshake(tracer), (connection, "connection_lost", _end)
    else:  # trio
        handshake, ending = _async_handshake(tracer), (connection, "recv_events", _async_end)
    return [
        (client, "handshake", handshake),
        (client, "process_event", _process_event),
        (connection, "send", _send),
        ending,
    ]


def _handshake(tracer: CallTracer | None) -> Callable[..., Any]:
    def shake(wrapped: Any, connection: Any, args: Any, kwargs: Any) -> Any:
        _begin(tracer, connection)
        try:
            return wrapped(*args, **kwargs)
        except BaseException:
            _forget(connection)
            raise

    return shake


def _async_handshake(tracer: CallTracer | None) -> Callable[..., Any]:
    async def shake(wrapped: Any, connection: Any, args: Any, kwargs: Any) -> Any:
        _begin(tracer, connection)
        try:
            return await wrapped(*args, **kwargs)
        except BaseException:
            _forget(connection)
            raise

    return shake


def _begin(tracer: CallTracer | None, connection: Any) -> None:
    """Open a session before the handshake: the provider's first message may come with its end."""
    with ours("recognise a socket"):
        uri = getattr(connection.protocol, "uri", None) or connection.protocol.wsuri
        address = "wss" if uri.secure else "ws", uri.host, uri.port, uri.path, uri.query
        if tracer is None:
            return
        session = open_session(tracer, address)
        if session is None:
            sightings.note(tracer, "GET", uri.host, uri.path)
        else:
            setattr(connection, _SESSION, session)
            setattr(connection, _FRAMES, Frames(session))


def _forget(connection: Any) -> None:
    """Drop the session of a socket that was not opened: no call can be open on it."""
    for name in (_SESSION, _FRAMES):
        connection.__dict__.pop(name, None)


def _process_event(wrapped: Any, connection: Any, args: Any, kwargs: Any) -> Any:
    frames = connection.__dict__.get(_FRAMES)
    if frames is not None:
        try:
            frame = args[0] if args else kwargs["event"]
            opcode = getattr(frame, "opcode", None)  # the answer to the handshake has none
            if opcode in {_CONTINUATION, _TEXT, _BINARY}:
                frames.feed(frame.data, begins=opcode != _CONTINUATION, ends=frame.fin)
        except Exception as error:  # noqa: BLE001  ours, not the application's
            note("read a message of a socket", error)
    return wrapped(*args, **kwargs)


def _send(wrapped: Any, connection: Any, args: Any, kwargs: Any) -> Any:
    session: Session | None = connection.__dict__.get(_SESSION)
    if session is not None:
        session.sent(args[0] if args else kwargs.get("message"))
    return wrapped(*args, **kwargs)


def _end(wrapped: Any, connection: Any, args: Any, kwargs: Any) -> Any:
    try:
        return wrapped(*args, **kwargs)
    finally:
        _end_session(connection)


async def _async_end(wrapped: Any, connection: Any, args: Any, kwargs: Any) -> Any:
    try:
        return await wrapped(*args, **kwargs)
    finally:
        _end_session(connection)


def _end_session(connection: Any) -> None:
    session: Session | None = connection.__dict__.get(_SESSION)
    if session is not None:
        session.end(_error_type(connection))


def _error_type(connection: Any) -> str:
    """Return the name of the exception that the application gets now."""
    with ours("see how a socket ended"):
        return type(connection.protocol.close_exc).__qualname__
    return ""
