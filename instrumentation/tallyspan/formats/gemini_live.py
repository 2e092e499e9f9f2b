"""Gemini Live, AI Studio and Vertex: usage of each turn, by modality; grounding.

Each turn is billed for the whole conversation before it, and states so: counts are those of the
turn, and not a sum (measured by others on three turns of two models: pydantic/pydantic-ai#7269).
Thoughts stand beside what was generated, and observed totals leave them out. A message may have
usage beside anything else; a model that calls a tool states its usage before, and again after.
"""

import re
from collections.abc import Callable, Iterator

from tallyspan.answer import Answer, Json, count, failure, mapping, text, total
from tallyspan.formats import gemini
from tallyspan.formats.gemini import DETAILS, Modalities
from tallyspan.framing import EVERYTHING
from tallyspan.guard import ours
from tallyspan.providers import GEMINI
from tallyspan.socket_format import Moment, Needles, ReadEvent, Socket, Turn
from tallyspan.usage_keys import UsageKeys, leave_unread
from tallyspan.wire_format import Format, NoEstimate, Path, RequestKeys

_TOTAL = "totalTokenCount"
_LOCATION = re.compile(r"/locations/([a-z0-9-]{1,40})/")
_OUTPUT = ("modelTurn", "outputTranscription")
_ENDS_OF_SPEECH = ("activityEnd", "activity_end", "audioStreamEnd", "audio_stream_end", "text")
"""Keys of what is sent in real time after which an answer is due."""


class Reader:
    """Reads one turn, message by message."""

    def __init__(self) -> None:
        self._grounding = gemini.Reader()

    def read(self, body: Json, answer: Answer) -> None:
        """Take what a message says."""
        content = mapping(body.get("serverContent"))
        if content.get("interrupted") is True:
            answer.finished("interrupted")
        elif content.get("turnComplete") is True:
            answer.finished(text(content.get("turnCompleteReason")) or "turn_complete")
        grounding = mapping(content.get("groundingMetadata"))
        if grounding:
            self._grounding.read_grounding(grounding, answer)
        usage = mapping(body.get("usageMetadata"))
        if usage:
            _read_usage(usage, answer)
        answer.error_type = failure(body, "status", "code") or answer.error_type


def _read_usage(usage: Json, answer: Answer) -> None:
    modalities = Modalities(usage, DETAILS, "tokenCount")
    generated, thoughts = _generated(usage), count(usage.get("thoughtsTokenCount"))
    answer.usage = (
        modalities.usage(
            total(_prompt(usage), count(usage.get("toolUsePromptTokenCount"))),
            total(generated, thoughts),
            thoughts,
            count(usage.get("cachedContentTokenCount")),
        )
        or answer.usage
    )
    modalities.bill(answer)
    for key in modalities.unknown_at:
        leave_unread(answer, f"usageMetadata.{key}[].modality")
    answer.service_tier = gemini.tier(usage) or answer.service_tier


def _prompt(usage: Json) -> int | None:
    return count(usage.get("promptTokenCount"))


def _generated(usage: Json) -> int | None:
    tokens = count(usage.get("responseTokenCount"))
    return count(usage.get("candidatesTokenCount")) if tokens is None else tokens


class LiveTurns:
    """Follows the turns of one socket.

    A turn is over with `turnComplete`, or when a tool's result is sent to a model that has stated
    its usage. Usage that repeats the prompt and has no less output is that of the same turn.
    """

    def __init__(self, open_reader: Callable[[], ReadEvent]) -> None:
        self._open_reader = open_reader
        self._read = open_reader()
        self._model = self._region = ""
        self._cause: Moment | None = None
        self._turn: Turn | None = None
        self._counts: tuple[int | None, int] | None = None
        self._unstated: Turn | None = None
        self._over: list[Turn] = []

    @property
    def awaits_output(self) -> bool:
        """Whether the next part of an answer begins a turn."""
        return self._turn is None or self._turn.first_output is None

    def sent(self, message: Json, moment: Moment) -> Iterator[Turn]:
        """Take what configures the session, and what asks for an answer."""
        model = text(mapping(message.get("setup")).get("model"))
        if model:
            self._model = model.rpartition("/")[2]
            location = _LOCATION.search(model)
            self._region = location[1] if location is not None else ""
        content = mapping(message.get("clientContent") or message.get("client_content"))
        speech = mapping(message.get("realtimeInput") or message.get("realtime_input"))
        is_result = "toolResponse" in message or "tool_response" in message
        if is_result and self._counts is not None:
            self._end()
        is_whole = content.get("turnComplete") or content.get("turn_complete")
        if is_result or is_whole or any(key in speech for key in _ENDS_OF_SPEECH):
            self._cause = moment
        yield from self._taken()

    def received(self, message: Json, moment: Moment) -> Iterator[Turn]:
        """Take a message; return the turns that it ends."""
        content, usage = (
            mapping(message.get("serverContent")),
            mapping(message.get("usageMetadata")),
        )
        if "toolCall" in message or any(key in content for key in _OUTPUT):
            self.output(b"", moment)
        elif usage and self._turn is None:
            self._resume(moment)
        if usage:
            counts = _prompt(usage), _generated(usage) or 0
            before, self._counts = self._counts, counts
            if before is not None and (before[0] != counts[0] or before[1] > counts[1]):
                self._end()
                self._begin(moment)
                self._counts = counts
        if self._turn is not None:
            with ours("read an event of an answer"):
                self._read(message, self._turn.answer)
            if content.get("turnComplete") is True or (usage and self._turn is self._unstated):
                self._end()
        yield from self._taken()

    def output(self, head: bytes, moment: Moment) -> None:  # noqa: ARG002  the protocol's
        """Note that a part of an answer came: it is of the open turn, or begins one."""
        if self._turn is None:
            self._begin(moment)
        if self._turn is not None:
            self._turn.has_output(moment)

    def cut(self) -> Iterator[tuple[Turn, bool]]:
        """Return the turn that is open, and the one whose usage never came."""
        if self._unstated is not None:
            yield self._unstated, True
        if self._turn is not None and self._turn is not self._unstated:
            # Its usage may come after its last word, and it is stated then.
            yield self._turn, self._counts is not None
        self._turn = self._unstated = None

    def _begin(self, moment: Moment) -> None:
        if self._unstated is not None:
            self._over.append(self._unstated)
            self._unstated = None
        self._turn = Turn(
            self._cause or moment,
            Answer(),
            is_timed=self._cause is not None,
            request_model=self._model,
            region=self._region,
        )
        self._cause = self._counts = None
        self._read = self._open_reader()

    def _resume(self, moment: Moment) -> None:
        """Take the usage for the turn that is over without, else for a new one."""
        if self._unstated is None:
            self._begin(moment)
        self._turn = self._turn or self._unstated

    def _end(self) -> None:
        """End the open turn; without usage it is kept, for that may come in the next message."""
        if self._counts is None:
            self._unstated = self._turn
        elif self._turn is not None:
            self._over.append(self._turn)
            self._unstated = None
        self._turn = self._counts = None

    def _taken(self) -> Iterator[Turn]:
        over, self._over = self._over, []
        yield from over


FORMAT = Format(
    name="gemini_live",
    provider=GEMINI,
    paths=(
        Path(
            r"/ws/google\.ai\.generativelanguage\.[a-z0-9]+\.GenerativeService"
            r"\.BidiGenerateContent(?:Constrained)?",
            "generate_content",
            example="/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
            is_socket=True,
        ),
        Path(
            r"/ws/google\.cloud\.aiplatform\.[a-z0-9]+\.LlmBidiService/BidiGenerateContent",
            "generate_content",
            example="/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent",
            is_socket=True,
        ),
    ),
    request=RequestKeys(model="", stream="", user=(), call=frozenset()),
    estimate=NoEstimate("the prompt includes earlier turns, which the server keeps"),
    usage_option=None,
    opens_with_usage=False,
    interest=EVERYTHING,
    reader=lambda: Reader().read,
    usage=UsageKeys(
        at=gemini.USAGE.at,
        read=tuple(key for key in gemini.USAGE.read if key != _TOTAL),
        harmless={**gemini.USAGE.harmless, _TOTAL: "a sum, with or without thoughts"},
    ),
    read_headers=None,
    read_request=None,
    socket=Socket(
        sent=Needles(
            "setup", "clientContent", "client_content", "toolResponse", "tool_response",
            *_ENDS_OF_SPEECH,
        ),
        received=Needles(
            "usageMetadata", "turnComplete", "groundingMetadata", "toolCall", "interrupted"
        ),
        output=Needles(*_OUTPUT),
        turns=LiveTurns,
    ),
)  # fmt: skip
