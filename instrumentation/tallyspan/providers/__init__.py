"""A file per wire format: what an answer or one event of a stream says, in our terms."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tallyspan.answer import Answer, Json
from tallyspan.providers import (
    anthropic_messages,
    bedrock,
    cohere,
    gemini,
    ollama,
    openai_chat,
    openai_responses,
    vertex_predict,
)

ReadHeaders = Callable[[Mapping[str, str], Answer], None]
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
    read_headers: ReadHeaders | None = None


_FORMATS: dict[str, Callable[[], Format]] = {
    "openai_chat": lambda: Format(openai_chat.read, openai_chat.INTERESTING),
    "openai_responses": lambda: Format(openai_responses.read, openai_responses.INTERESTING),
    "openai_media": lambda: Format(openai_responses.read, openai_responses.INTERESTING_MEDIA),
    "anthropic_messages": lambda: Format(
        anthropic_messages.Reader().read, anthropic_messages.INTERESTING, opens_with_usage=True
    ),
    "gemini": lambda: Format(gemini.read, gemini.INTERESTING),
    "bedrock_converse": lambda: Format(bedrock.read_converse, bedrock.INTERESTING_CONVERSE),
    "bedrock_invoke": lambda: Format(
        bedrock.InvokeReader().read,
        bedrock.INTERESTING_INVOKE,
        read_headers=bedrock.read_headers,
    ),
    "cohere": lambda: Format(cohere.read, cohere.INTERESTING),
    "ollama": lambda: Format(ollama.read, ollama.INTERESTING),
    "vertex_predict": lambda: Format(vertex_predict.read, vertex_predict.INTERESTING),
}


def open_format(name: str) -> Format:
    """Return a reader for one answer in the named format."""
    return _FORMATS[name]()
