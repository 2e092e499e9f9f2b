"""Calls of a socket on which each response has an id: OpenAI Realtime and Responses.

A response is asked for with `response.create`, or by the provider itself when it hears that
somebody has spoken. It begins with `response.created` and ends with an event that has its usage.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tallyspan.answer import Answer, Json, count, mapping, text
from tallyspan.guard import note, ours
from tallyspan.socket_format import Moment, ReadEvent, Turn

MAX_OPEN = 64
"""Responses that are open at the same time, and requests that nobody answered."""
MAX_ENDED = 256
"""Ids that are remembered, so that an event that comes twice is one call."""
ENDS = tuple(
    f"response.{how}" for how in ("done", "completed", "incomplete", "failed", "cancelled")
)
TRANSCRIPTIONS = tuple(
    f"conversation.item.input_audio_transcription.{how}" for how in ("completed", "failed")
)
_RESPONSE_ID = re.compile(rb'"response_id"\s*:\s*"([^"\\]{1,200})"')
_STREAM_ID = re.compile(rb'"stream_id"\s*:\s*"([^"\\]{1,200})"')
_IS_BUSY = "conversation_already_has_active_response"


class TooManyOpenError(Exception):
    """More is open on a socket than is remembered; the message says how much that is."""


@dataclass(slots=True)
class _Request:
    moment: Moment
    event_id: str
    stream_id: str
    model: str | None


class ResponseTurns:
    """Follows the responses of one socket.

    `errors_end_calls`: an event `error` is the answer to a request (Responses); else it is about
    whatever the application did (Realtime).
    """

    def __init__(
        self, open_reader: Callable[[], ReadEvent], *, errors_end_calls: bool = False
    ) -> None:
        self._open_reader = open_reader
        self._errors_end_calls = errors_end_calls
        self._requests: deque[_Request] = deque(maxlen=MAX_OPEN)
        self._open: dict[str, Turn] = {}
        self._streams: dict[str, str] = {}
        self._ended: deque[str] = deque(maxlen=MAX_ENDED)
        self._model = self._transcriber = ""

    @property
    def awaits_output(self) -> bool:
        """Whether a response is open of which nothing came."""
        return any(turn.first_output is None for turn in self._open.values())

    def sent(self, message: Json, moment: Moment) -> Iterator[Turn]:
        """Take a request."""
        if message.get("type") == "response.create":
            model = text(message.get("model")) or None
            ids = text(message.get("event_id")), text(message.get("stream_id"))
            self._requests.append(_Request(moment, *ids, model))
        yield from ()

    def received(self, message: Json, moment: Moment) -> Iterator[Turn]:
        """Take an event; return the calls that it ends."""
        kind = text(message.get("type"))
        if kind in ENDS:
            yield from self._end(message, moment)
        elif kind == "response.created":
            self._begin(message, moment)
        elif kind in TRANSCRIPTIONS:
            yield from self._transcribed(message, moment)
        elif kind == "error":
            yield from self._failed(message, moment)
        else:
            self._configured(mapping(message.get("session")))

    def output(self, head: bytes, moment: Moment) -> None:
        """Note when the first part of a response came."""
        match = _RESPONSE_ID.search(head)
        if match is not None:
            key = match[1].decode("utf-8", "replace")
        else:  # events of Responses name the stream at most
            stream = _STREAM_ID.search(head)
            key = self._streams.get(stream[1].decode("utf-8", "replace") if stream else "", "")
        turn = self._open.get(key)
        if turn is not None:
            turn.has_output(moment)

    def cut(self) -> Iterator[tuple[Turn, bool]]:
        """Return the responses that are open; of Responses also what was asked for in vain."""
        for turn in self._open.values():
            yield turn, False
        self._open.clear()
        if self._errors_end_calls:
            for request in self._requests:
                yield self._turn(request, request.moment), False
        self._requests.clear()

    def _read(self, message: Json, answer: Answer) -> None:
        with ours("read an event of an answer"):  # what cannot be read is a call all the same
            self._open_reader()(message, answer)

    def _configured(self, session: Json) -> None:
        """Take the models of the session."""
        self._model = text(session.get("model")) or self._model
        audio = mapping(mapping(session.get("audio")).get("input"))
        wanted = audio.get("transcription") or session.get("input_audio_transcription")
        self._transcriber = text(mapping(wanted).get("model")) or self._transcriber

    def _turn(self, request: _Request | None, moment: Moment) -> Turn:
        if request is None:  # nobody asked: the provider heard that somebody has spoken
            return Turn(moment, Answer(model=self._model))
        return Turn(request.moment, Answer(model=self._model), request_model=request.model)

    def _request_of(self, message: Json) -> _Request | None:
        """Return the oldest request of the message's stream, which is answered now."""
        stream = text(message.get("stream_id"))
        request = next((each for each in self._requests if each.stream_id == stream), None)
        if request is not None:
            self._requests.remove(request)
        return request

    def _begin(self, message: Json, moment: Moment) -> None:
        key = text(mapping(message.get("response")).get("id"))
        if key in self._open or key in self._ended:
            return
        turn = self._turn(self._request_of(message), moment)
        self._read(message, turn.answer)
        self._streams[text(message.get("stream_id"))] = key
        if len(self._streams) > MAX_OPEN:
            self._streams.pop(next(iter(self._streams)))
        self._open[key] = turn
        if len(self._open) > MAX_OPEN:
            self._open.pop(next(iter(self._open)))  # if it ends, its end has all but its beginning
            note(
                "follow a response of a socket", TooManyOpenError(f"more than {MAX_OPEN} are open")
            )

    def _end(self, message: Json, moment: Moment) -> Iterator[Turn]:
        response = mapping(message.get("response"))
        key = text(response.get("id"))
        if not key and len(self._open) == 1:  # of an event that is too large its type is all
            key = next(iter(self._open))
        if key in self._ended or not (key or response.get("usage")):
            return
        if key:
            self._ended.append(key)
        turn = self._open.pop(key, None) or self._turn(self._request_of(message), moment)
        self._read(message, turn.answer)
        yield turn

    def _transcribed(self, message: Json, moment: Moment) -> Iterator[Turn]:
        """End the call of the model that wrote down what was said."""
        index, key = message.get("content_index"), text(message.get("item_id"))
        if index:
            key = f"{key}.{index}"
        if key in self._ended:
            return
        self._ended.append(key)
        answer = Answer(model=self._transcriber, response_id=key)
        self._read(message, answer)
        yield Turn(moment, answer, operation="generate_content", request_model=self._transcriber)

    def _failed(self, message: Json, moment: Moment) -> Iterator[Turn]:
        if not self._errors_end_calls:
            self._refused(mapping(message.get("error")))
            return
        stream = text(message.get("stream_id"))
        turn = self._open.pop(self._streams.get(stream, ""), None)
        request = self._request_of(message) if turn is None else None
        if turn is None and request is None:
            return  # it is about the connection
        if turn is None:
            turn = self._turn(request, moment)
            turn.status = count(message.get("status")) or 0  # else an answer had begun
        self._read(message, turn.answer)
        yield turn

    def _refused(self, error: Json) -> None:
        """Forget the request that the error is about: no response will answer it."""
        event_id = text(error.get("event_id"))
        for request in reversed(self._requests):
            is_it = event_id and request.event_id == event_id
            if is_it or (not event_id and error.get("code") == _IS_BUSY):
                self._requests.remove(request)
                return
