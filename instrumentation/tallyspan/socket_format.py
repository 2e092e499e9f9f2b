"""What the messages of a socket mean: which calls they open, and which they end. No I/O.

On a socket one connection carries many calls, some of them at the same time. A format that is
spoken over sockets says which messages are worth reading (`Socket`), and has what tells the calls
in them apart (`Turns`).
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import AnyStr, NamedTuple, Protocol

from opentelemetry.context import Context

from tallyspan.answer import Answer, Json

END_CHARACTERS = 4 << 10
"""Of each end of a message that are searched: there it has its keys and its type."""

ReadEvent = Callable[[Json, Answer], None]
"""Reads one event of one answer."""


class Moment(NamedTuple):
    """When a message passed: wall clock in nanoseconds, and `time.perf_counter`.

    `scope`: the context of the last message that the application sent before, or sent then.
    """

    time_ns: int
    seconds: float
    scope: Context


@dataclass(slots=True)
class Turn:
    """One call of a socket.

    `start`: what asked for it, or else the provider's first word of it. `is_timed`: `start` is a
    moment from which the wait for an answer can be measured. `operation` and `request_model`: None:
    those of the connection. `is_shared`: other sockets of this process may tell of the same call,
    and the first that ends it has it. `status`: as of HTTP, of a request that was refused; 0: none.
    `first_output`: by `time.perf_counter`; None: there was none.
    """

    start: Moment
    answer: Answer
    is_timed: bool = True
    operation: str | None = None
    request_model: str | None = None
    region: str = ""
    is_shared: bool = False
    status: int = 0
    first_output: float | None = None

    def has_output(self, moment: Moment) -> None:
        """Note that a part of the answer came."""
        if self.first_output is None:
            self.first_output = moment.seconds

    @property
    def seconds_to_output(self) -> float | None:
        """From the start to the first part of the answer, in seconds; None: not known."""
        if self.first_output is None or not self.is_timed:
            return None
        return max(0.0, self.first_output - self.start.seconds)


class Turns(Protocol):
    """Tells the calls of one socket apart; takes its messages in their order."""

    @property
    def awaits_output(self) -> bool:
        """Whether the next part of an answer says something: it may be the first of a call."""
        ...

    def sent(self, message: Json, moment: Moment) -> Iterable[Turn]:
        """Take what the application sent; return the calls that it ends."""
        ...

    def received(self, message: Json, moment: Moment) -> Iterable[Turn]:
        """Take what the provider says; return the calls that it ends."""
        ...

    def output(self, head: bytes, moment: Moment) -> None:
        """Take the beginning of a message with a part of an answer."""
        ...

    def cut(self) -> Iterable[tuple[Turn, bool]]:
        """Return what is open when the socket ends, each with whether the provider was done."""
        ...


class Needles:
    """Names in quotes of which a message has one if it is of interest: types of events, or keys.

    `endings`: what other such names end with. A message that begins with its type is judged by
    that alone, unless it is one of `around`: types of events that have another event inside. Of
    any other message both ends are searched.
    """

    __slots__ = ("_around", "_binary", "_text")

    def __init__(
        self, *names: str, endings: tuple[str, ...] = (), around: tuple[str, ...] = ()
    ) -> None:
        wanted = [re.escape(each) for each in names]
        wanted += [r'[^"\\]{0,100}' + re.escape(each) for each in endings]
        pattern = f'"(?:{"|".join(wanted)})"' if wanted else "(?!)"
        self._text = re.compile(pattern)
        self._binary = re.compile(pattern.encode())
        self._around = frozenset((*around, *(each.encode() for each in around)))

    def are_in(self, message: str | bytes) -> bool:
        """Whether the message is of interest; the time it takes is bounded."""
        if isinstance(message, str):
            first = _TEXT_TYPE.match(message)
            if first is not None and first[1] not in self._around:
                return self._text.fullmatch(message, first.start(1) - 1, first.end()) is not None
            return self._text.search(_ends_of(message)) is not None
        begins = _BINARY_TYPE.match(message)
        if begins is not None and begins[1] not in self._around:
            return self._binary.fullmatch(message, begins.start(1) - 1, begins.end()) is not None
        return self._binary.search(_ends_of(message)) is not None


_TYPE = r'\s*\{\s*(?:"event_id"\s*:\s*"[^"\\]{0,200}"\s*,\s*)?"type"\s*:\s*"([^"\\]{0,200})"'
_TEXT_TYPE, _BINARY_TYPE = re.compile(_TYPE), re.compile(_TYPE.encode())


def _ends_of(message: AnyStr) -> AnyStr:
    """Return the message, or both ends of a large one."""
    if len(message) <= 2 * END_CHARACTERS:
        return message
    return message[:END_CHARACTERS] + message[-END_CHARACTERS:]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Socket:
    """How a format is spoken over a socket.

    `sent`: what is in messages of the application that are read; `received`: in those of the
    provider; `output`: in those with a part of an answer, of which only the first of a call is
    looked at. `turns` is given what opens a reader of one answer.
    """

    sent: Needles
    received: Needles
    output: Needles
    turns: Callable[[Callable[[], ReadEvent]], Turns]
