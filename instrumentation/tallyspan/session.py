"""A WebSocket to an LLM endpoint: the core that knows no transport.

A transport calls `open_session` when a socket is opened, `sent` and `received` with every message
as it passes, and `end`. Nothing here raises into the caller, and nothing is changed. A message
costs the caller a search of its two ends; those that say something of a call are noted, and read
in their order by the thread that reads answers.
"""

import os
import re
import threading
import time
from collections import deque
from typing import NamedTuple
from urllib.parse import parse_qs

from opentelemetry import context

from tallyspan import conditions, ending, opening, semconv, span
from tallyspan.answer import Json, mapping, parsed
from tallyspan.attribution import attributes_in_force
from tallyspan.background import background
from tallyspan.body import TooLargeError
from tallyspan.ending import Facts
from tallyspan.exchange import DEFAULT_PORTS, backlog
from tallyspan.framing.bounded import END_BYTES, MAX_KEPT_BYTES, ends, readable
from tallyspan.guard import note, ours
from tallyspan.recognise import SOCKET, Endpoint, recognise
from tallyspan.sampling import CallTracer
from tallyspan.socket_format import Moment, Socket, Turn
from tallyspan.usage_keys import leave_unread

MAX_NOTED = 256
"""Messages that are noted before they are read."""
MAX_NOTED_BYTES = 1 << 20
MAX_OUTPUT_BYTES = 512
"""Kept of a message with a part of an answer: it has its ids there."""
_MODEL_KEYS = ("model", "deployment")
"""Of the query, which has keys too, and of which nothing else is looked at."""
_TYPE = re.compile(rb'"type"\s*:\s*"([a-z._]{1,80})"')

Message = str | bytes


class _Note(NamedTuple):
    """A message to be read; `kind`: sent, received, output or end (`message` is the error)."""

    kind: str
    message: Message
    is_cut: bool
    moment: Moment


def open_session(
    tracer: CallTracer, url: tuple[str, str, int | None, str, str]
) -> "Session | None":
    """Return the session that the opened socket begins, or None if it is none with a model.

    `url` is scheme, host, port (None: the scheme's own), path and query.
    """
    scheme, host, port, path, query = url
    usual = DEFAULT_PORTS.get(scheme)
    endpoint = recognise(SOCKET, host, None if port == usual else port, path)
    if endpoint is None or endpoint.format.socket is None:
        return None
    texts = parse_qs(query)
    model = next((texts[key][0] for key in _MODEL_KEYS if key in texts), endpoint.model)
    return Session(tracer, endpoint, endpoint.format.socket, model, (host, port or usual))


class Session:
    """An open socket; its methods may be called by several threads."""

    def __init__(
        self,
        tracer: CallTracer,
        endpoint: Endpoint,
        socket: Socket,
        model: str,
        server: tuple[str, int | None],
    ) -> None:
        self._tracer = tracer
        self._endpoint = endpoint
        self._socket = socket
        self._model = model
        self._server = server
        self._turns = socket.turns(endpoint.format.open_reader)
        self._awaits_output = self._turns.awaits_output
        # Of the last message that was sent; until then, of whoever opened the socket.
        self._scope = self._opened_in = context.get_current()
        self._notes: deque[_Note] = deque()
        self._noted_bytes = 0
        self._is_queued = False
        self._is_over = False
        self._process_id = os.getpid()
        self._reading = threading.Lock()

    def sent(self, message: object) -> None:
        """Take a message that the application sends; of one in parts only that it is sent."""
        try:
            self._scope = context.get_current()
            if isinstance(message, bytearray | memoryview):
                message = bytes(message[:MAX_KEPT_BYTES])
            if isinstance(message, str | bytes) and self._socket.sent.are_in(message):
                self._note("sent", message)
        except Exception as error:  # noqa: BLE001  ours, not the application's
            note("read a message of a socket", error)

    def received(self, message: Message, *, is_cut: bool = False) -> None:
        """Take a whole message as it came; `is_cut`: it is only the beginning of one."""
        try:
            if self._socket.received.are_in(message):
                self._awaits_output = True  # it may open a call, which is known once it is read
                self._note("received", message, is_cut=is_cut)
            elif self._awaits_output and self._socket.output.are_in(message):
                self._note("output", message[:MAX_OUTPUT_BYTES])
        except Exception as error:  # noqa: BLE001  ours, not the application's
            note("read a message of a socket", error)

    def end(self, error_type: str) -> None:
        """End the calls that are open; `error_type`: how the socket ended. Only once."""
        if self._is_over:
            return
        self._is_over = True
        try:
            self._note("end", error_type)
        except Exception as error:  # noqa: BLE001  ours, not the application's
            note("end a socket", error)

    def __del__(self) -> None:
        """End the calls of a socket that nobody closed; after a fork they are the parent's."""
        if not getattr(self, "_is_over", True) and self._process_id == os.getpid():
            self.end("abandoned")

    def _note(self, kind: str, message: Message, *, is_cut: bool = False) -> None:
        if len(message) > MAX_KEPT_BYTES:
            is_cut = True
            half = slice(None, END_BYTES), slice(-END_BYTES, None)
            if isinstance(message, str):
                head, tail = (message[part].encode() for part in half)
            else:
                head, tail = (message[part] for part in half)
            message = head + b"\0" + tail
        moment = Moment(time.time_ns(), time.perf_counter(), self._scope)
        self._notes.append(_Note(kind, message, is_cut, moment))
        self._noted_bytes += len(message)
        if self._must_read_now():
            self._read()
        elif not self._is_queued:
            self._is_queued = True
            if not backlog.put(self._read_later, len(message)):
                self._read()

    def _must_read_now(self) -> bool:
        return (
            len(self._notes) >= MAX_NOTED
            or self._noted_bytes > MAX_NOTED_BYTES
            or not self._tracer.may_end_later()
        )

    def _read_later(self) -> None:
        self._is_queued = False
        self._read()

    def _read(self) -> None:
        """Read what is noted, unless a thread does already: then it reads this too."""
        while self._notes:
            if not self._reading.acquire(blocking=False):
                return
            try:
                self._is_queued = False
                while self._notes:
                    each = self._notes.popleft()
                    self._noted_bytes = max(0, self._noted_bytes - len(each.message))
                    with ours("read a message of a socket"):
                        self._take(each)
                self._awaits_output = self._turns.awaits_output
            finally:
                self._reading.release()

    def _take(self, each: _Note) -> None:
        if each.kind == "end":
            for turn, is_done in self._turns.cut():
                error_type = "" if is_done else str(each.message) or "socket_closed"
                self._book(turn, each.moment, error_type)
            return
        message = each.message.encode() if isinstance(each.message, str) else each.message
        if each.kind == "output":
            self._turns.output(message, each.moment)
            return
        event, is_whole = _event(message, is_cut=each.is_cut)
        if not is_whole:
            note("read all of an answer", TooLargeError("a large message of a socket"))
        take = self._turns.sent if each.kind == "sent" else self._turns.received
        for turn in take(event, each.moment):
            if not is_whole:
                leave_unread(turn.answer, "[more]")
            self._book(turn, each.moment, "")

    def _book(self, turn: Turn, end: Moment, error_type: str) -> None:
        """Write the spans of a call that is over."""
        answer = turn.answer
        answer.response_id = answer.response_id or self._endpoint.response_id
        if turn.is_shared and background.book(answer.response_id) is None:
            return
        model = self._model if turn.request_model is None else turn.request_model
        attributes = opening.describe(
            self._endpoint,
            self._server,
            self._opened_in,
            model=model,
            user_id="",
            is_stream=True,
        )
        start = turn.start
        attributes |= attributes_in_force(start.scope)
        if turn.operation is not None:
            attributes[semconv.OPERATION] = turn.operation
        if turn.region:
            attributes[conditions.REGION.attribute] = turn.region
        facts = Facts(
            endpoint=self._endpoint,
            attributes=attributes,
            answer=answer,
            status=turn.status,
            error_type=error_type,
            ids=None,
            other=None,
            is_stream=True,
            has_request_body=False,
            opens_with_usage=False,
            seconds_to_first_chunk=turn.seconds_to_output,
        )
        for write in ending.decide(facts).writes:
            opened, _ = span.start(self._tracer, write.attributes, start.scope, start.time_ns)
            span.close(opened, {}, write.error_type, max(end.time_ns, start.time_ns))


class Frames:
    """Puts the messages of a socket together from their frames, which may come in any cut.

    Of a message that is too large only the beginning is kept.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._parts: list[bytes] = []
        self._size = 0
        self._is_cut = False

    def feed(self, data: str | bytes | bytearray | memoryview, *, begins: bool, ends: bool) -> None:
        """Take a frame, or a part of one: whether a message begins with it, whether one ends."""
        try:
            if begins:
                self._forget()
            if begins and ends:
                self._session.received(data if isinstance(data, str | bytes) else bytes(data))
                return
            if isinstance(data, str):
                data = data.encode()
            room = MAX_KEPT_BYTES - self._size
            self._is_cut = self._is_cut or len(data) > room
            if room > 0:
                self._parts.append(bytes(data[:room]))
                self._size += min(room, len(data))
            if ends:
                message, is_cut = b"".join(self._parts), self._is_cut
                self._forget()
                self._session.received(message, is_cut=is_cut)
        except Exception as error:  # noqa: BLE001  ours, not the application's
            note("read a message of a socket", error)

    def _forget(self) -> None:
        self._parts, self._size, self._is_cut = [], 0, False


def _event(message: bytes, *, is_cut: bool) -> tuple[Json, bool]:
    """Return the event of a message, and whether all of it was read. Raises `ValueError`."""
    if not is_cut:
        message, is_part = readable(message)
        return mapping(parsed(message)), not is_part
    head, _, tail = message.partition(b"\0")
    event = mapping(parsed(ends(head[:END_BYTES], tail[-END_BYTES:])))
    kind = _TYPE.search(head)
    if kind is not None:
        event.setdefault("type", kind[1].decode())
    return event, False
