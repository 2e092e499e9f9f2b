"""OpenAI Live: seconds of a session, once it is over; what it delegates as calls of their own.

A session is billed by its seconds, of which events state the sum so far. What it delegates to the
Responses or the Decisions API is billed apart, by the tokens of that model. Source: OpenAI's types
of events (SessionUsage: "do not sum values across usage events") and its guide to costs. Paused
seconds cost less: they are named as unread.
"""

from collections.abc import Callable, Iterator

from tallyspan.answer import Answer, Json, failure, mapping, text
from tallyspan.formats import openai_responses
from tallyspan.framing import EVERYTHING
from tallyspan.guard import ours
from tallyspan.providers import OPENAI
from tallyspan.response_turns import ENDS, ResponseTurns
from tallyspan.socket_format import Moment, Needles, ReadEvent, Socket, Turn
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import Format, NoEstimate, Path, RequestKeys

_NESTED = ("response.event",)
"""Types of events with another one inside."""
_SESSION = "session."


def read(body: Json, answer: Answer) -> None:
    """Take what an event says of the session."""
    session = mapping(body.get("session"))
    answer.identify(session)
    answer.billed("seconds", mapping(body.get("usage")).get("seconds"))
    if body.get("type") == "session.closed":
        answer.finished(body.get("reason"))
    answer.error_type = failure(body, "code", "type") or answer.error_type


class LiveSession:
    """Follows the session of one socket, and the responses that it delegates."""

    def __init__(self, open_reader: Callable[[], ReadEvent]) -> None:
        self._read = open_reader()
        self._read_response = openai_responses.FORMAT.open_reader()
        self._responses = ResponseTurns(openai_responses.FORMAT.open_reader)
        self._turn: Turn | None = None
        self._is_over = False

    @property
    def awaits_output(self) -> bool:
        """Whether a delegated response is open of which nothing came."""
        return self._responses.awaits_output

    def sent(self, message: Json, moment: Moment) -> Iterator[Turn]:  # noqa: ARG002  the protocol's
        """Take nothing: the session says what it is."""
        yield from ()

    def received(self, message: Json, moment: Moment) -> Iterator[Turn]:
        """Take an event; return the calls that it ends."""
        kind, event = text(message.get("type")), mapping(message.get("event"))
        if kind in _NESTED:
            for turn in self._responses.received(event, moment):
                yield _of_its_model(turn)
        elif kind == "decision.event":
            answer = Answer()
            with ours("read an event of an answer"):
                self._read_response(mapping(event.get("decision")), answer)
            if answer.usage is not None:
                yield _of_its_model(Turn(moment, answer))
        elif kind.startswith(_SESSION) and not self._is_over:
            if self._turn is None:
                self._turn = Turn(moment, Answer(), request_model="", is_shared=True)
            with ours("read an event of an answer"):
                self._read(message, self._turn.answer)
            self._turn.request_model = self._turn.answer.model
            if kind == "session.closed":
                self._is_over = True
                yield self._turn

    def output(self, head: bytes, moment: Moment) -> None:
        """Note when the first part of a delegated response came."""
        if any(kind.encode() in head for kind in _NESTED):
            self._responses.output(head, moment)

    def cut(self) -> Iterator[tuple[Turn, bool]]:
        """Return what is open; the session with the seconds that it has stated so far."""
        for turn, is_done in self._responses.cut():
            yield _of_its_model(turn), is_done
        if self._turn is not None and not self._is_over:
            yield self._turn, False
        self._is_over = True


def _of_its_model(turn: Turn) -> Turn:
    """Return the turn: it is of the model that the session has delegated to."""
    turn.request_model = turn.answer.model
    turn.operation = "chat"
    return turn


FORMAT = Format(
    name="openai_live",
    provider=OPENAI,
    paths=(
        Path(
            "/live/sessions(?:/[^/]+/fork)?",
            "generate_content",
            example="/v1/live/sessions",
            is_socket=True,
        ),
        Path(
            "/live/sessions/(?P<id>[^/]+)/attach",
            "generate_content",
            example="/v1/live/sessions/sess_1/attach",
            is_socket=True,
        ),
    ),
    request=RequestKeys(model="", stream="", user=(), call=frozenset()),
    estimate=NoEstimate("sound is billed by its seconds, not text"),
    usage_option=None,
    opens_with_usage=False,
    interest=EVERYTHING,
    reader=lambda: read,
    usage=UsageKeys(
        at=("usage",),
        read=("seconds",),
        harmless={"active_seconds": "a part of the seconds"},
    ),
    read_headers=None,
    read_request=None,
    socket=Socket(
        sent=Needles(),
        received=Needles(
            "session.started",
            "session.updated",
            "session.usage.updated",
            "session.closed",
            "decision.event",
            "response.created",
            *ENDS,
            around=_NESTED,
        ),
        output=Needles(endings=(".delta",), around=_NESTED),
        turns=LiveSession,
    ),
)
