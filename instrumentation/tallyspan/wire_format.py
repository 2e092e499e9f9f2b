"""What there is to know of a wire format, as one value: `formats/` has a file for each.

A required part that a file leaves out fails at import, by the names of the file and of the part.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from tallyspan.answer import Answer, Json
from tallyspan.framing import Framing, Interest
from tallyspan.providers import Provider
from tallyspan.socket_format import Socket
from tallyspan.usage_keys import UsageKeys

Read = Callable[[Json, Answer], None]
"""Takes what a whole answer, or one event of a stream, says; or what a request says."""
ReadHeaders = Callable[[Mapping[str, str], Answer], None]
Texts = Callable[[Json], Iterator[str]]

USER_KEYS = ("safety_identifier", "user", "metadata.user_id")
"""Where requests name the end user, as most formats have it."""

_LITERAL = re.compile(r"[\w/.-]+")
_GENERATED_TEXT_KEYS = {
    "content",
    "text",
    "reasoning",
    "reasoning_content",
    "refusal",
    "name",
    "arguments",
    "partial_json",
    "thinking",
    "completion",
    "response",
}


class FormatError(Exception):
    """A format file that cannot be used; the message names the file, and what to do."""


@dataclass(frozen=True, slots=True)
class Path:
    """A path that a format is spoken at.

    `pattern`: a regular expression, matched at the end of the path, for proxies and self-hosted
    servers put anything before it; its groups `model`, `stream`, `id` (of what is retrieved) and
    `file` (whose content is retrieved) say what their names say.
    `provider`: the only provider that gives the path this meaning; such paths are tried first.
    `assumed`: the provider that is assumed to be asked at a host that we do not know; empty: the
    format's. Among the others the lower `rank` is tried first, and within one format what stands
    first.
    `example`: a path it is for, with which overlaps are looked for; may be left out if the pattern
    is plain text. `is_retrieval`: a GET that asks for the answer of an earlier call.
    `is_batch`: the answer says something of a batch, and is no call itself. `is_socket`: a
    WebSocket is opened there.
    """

    pattern: str
    operation: str
    provider: str = ""
    rank: int = 0
    example: str = ""
    is_retrieval: bool = False
    is_batch: bool = False
    is_socket: bool = False
    assumed: str = ""
    regex: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "regex", re.compile(self.pattern + r"/?$"))
        except re.error as error:
            raise FormatError(f"path {self.pattern!r}: {error}") from None
        if not self.example and _LITERAL.fullmatch(self.pattern):
            object.__setattr__(self, "example", self.pattern)
        if not self.regex.search(self.example):
            raise FormatError(
                f"path {self.pattern!r} does not match its example {self.example!r}:"
                " give an example of it"
            )

    def can_be_taken_for(self, other: "Path") -> bool:
        """Whether nothing decides which of the two a request for the other's example is."""
        return (
            self.rank == other.rank
            and self.provider == other.provider
            and self.is_retrieval == other.is_retrieval
            and self.is_socket == other.is_socket
            and self.regex.search(other.example) is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestKeys:
    """What a request's keys are called.

    `model` and `stream` may be empty: then the path says it, or nothing does. `user`: keys of the
    end user, the first that is there; `a.b` is a key inside another. `call`: keys that make a
    body for an unknown host look like a call.
    """

    model: str
    stream: str
    user: tuple[str, ...]
    call: frozenset[str]
    user_pairs: tuple[tuple[str, str], ...] = field(init=False, repr=False)
    """`user`, each as the key and the key inside it, or ""."""

    def __post_init__(self) -> None:
        pairs = (key.partition(".") for key in self.user)
        object.__setattr__(self, "user_pairs", tuple((outer, inner) for outer, _, inner in pairs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """How tokens are counted where the provider sent no counts.

    `prompt`: keys of the request, of which the first that is there has the texts, as a list of
    messages or as one text. `system`: keys with further texts. `tools`: the key of the tools.
    `answer` yields the texts that the model generated, of an answer or of one event.
    """

    prompt: tuple[str, ...]
    system: tuple[str, ...]
    answer: Texts
    tools: str = "tools"


@dataclass(frozen=True, slots=True)
class NoEstimate:
    """Why nothing is counted: the usage of a call without counts is unknown."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageOption:
    """How a request asks for the usage of its stream, and how the event that has it looks.

    `option`: the key of an object in the request, and the key in it that is to be true. The event
    has its counts at `usage`, and nothing in the list at `empty`.
    """

    option: tuple[str, str]
    usage: str
    empty: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Format:
    """All there is to know of a wire format.

    `provider`: who is assumed to speak it at a host we do not know.
    `usage_option`: how a stream is made to have usage; None: streams have it always.
    `opens_with_usage`: a stream has its input count first and its output count at the end, so the
    counts of one that is cut are too low. `interest` finds the events of a stream that say
    something. `reader` returns what reads one answer, whole or event by event; it may remember.
    `usage`: the keys of its usage, so that one that nobody reads is named.
    `read_headers` takes what the answer's headers say, `read_request` what is billed by the
    request; None: nothing. `framing`: how a body is cut into JSON texts whatever its content type;
    None: as that says. `socket`: how it is spoken over a WebSocket; None: it is not.
    """

    name: str
    provider: Provider
    paths: tuple[Path, ...]
    request: RequestKeys
    estimate: Estimate | NoEstimate
    usage_option: UsageOption | None
    opens_with_usage: bool
    interest: Interest
    reader: Callable[[], Read]
    usage: UsageKeys
    read_headers: ReadHeaders | None
    read_request: Read | None
    framing: Callable[[Interest], Framing] | None = None
    socket: Socket | None = None

    def __post_init__(self) -> None:
        for part, kind in _PARTS:
            if not isinstance(getattr(self, part), kind):
                raise FormatError(f"format {self.name!r}: {part!r} must be a {kind.__name__}")
        for part in ("name", "provider", "paths"):
            if not getattr(self, part):
                raise FormatError(f"format {self.name!r}: {part!r} is empty")
        if not all(isinstance(path, Path) for path in self.paths):
            raise FormatError(f"format {self.name!r}: 'paths' must be a tuple of Path")
        if any(path.is_socket for path in self.paths) != (self.socket is not None):
            raise FormatError(
                f"format {self.name!r}: a path with 'is_socket' and 'socket' need each other"
            )
        needles: object = self.interest.needles
        if not (isinstance(needles, tuple) and needles and all(map(_is_needle, needles))):
            raise FormatError(
                f"format {self.name!r}: 'interest' must be a tuple of bytes to look for"
            )

    def open_reader(self) -> Read:
        """Return what reads one answer, and names in it the keys of usage that nobody reads."""
        read, name_unread = self.reader(), self.usage.name_unread

        def read_event(event: Json, answer: Answer) -> None:
            read(event, answer)
            name_unread(event, answer)

        return read_event

    def has_text(self, event: Json) -> bool:
        """Return whether the answer or event has a text that the model generated."""
        return isinstance(self.estimate, Estimate) and any(self.estimate.answer(event))


_PARTS = (("paths", tuple), ("provider", Provider), ("interest", Interest), ("usage", UsageKeys))


def _is_needle(needle: object) -> bool:
    return isinstance(needle, bytes) and bool(needle)


def texts_under(*keys: str) -> Texts:
    """Return a reader of generated texts.

    `keys`: where an answer or event has them; below one, at any depth, all that is under a key in
    `_GENERATED_TEXT_KEYS` counts.
    """

    def texts(event: Json) -> Iterator[str]:
        for key in keys:
            yield from _generated_texts(event.get(key), key)

    return texts


def _generated_texts(value: object, key: str) -> Iterator[str]:
    if isinstance(value, str):
        if key in _GENERATED_TEXT_KEYS:
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from _generated_texts(item, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _generated_texts(item, name)
