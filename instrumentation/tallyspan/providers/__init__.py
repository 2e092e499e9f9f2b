"""A file per wire format: what an answer or one event of a stream says, in our terms."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tallyspan.answer import Answer, Json
from tallyspan.providers import anthropic_messages, gemini, openai_chat, openai_responses

Read = Callable[[Json, Answer], None]


@dataclass(frozen=True, slots=True)
class Format:
    """How to read one answer; `interesting` finds the events of a stream that say something.

    `opens_with_usage`: a stream states its input first and its output at the end, so one that is
    cut has counts that are too low.
    """

    read: Read
    interesting: re.Pattern[bytes]
    opens_with_usage: bool = False


_FORMATS: dict[str, Callable[[], Format]] = {
    "openai_chat": lambda: Format(openai_chat.read, openai_chat.INTERESTING),
    "openai_responses": lambda: Format(openai_responses.read, openai_responses.INTERESTING),
    "anthropic_messages": lambda: Format(
        anthropic_messages.Reader().read, anthropic_messages.INTERESTING, opens_with_usage=True
    ),
    "gemini": lambda: Format(gemini.read, gemini.INTERESTING),
}


def open_format(name: str) -> Format:
    """Return a reader for one answer in the named format."""
    return _FORMATS[name]()
