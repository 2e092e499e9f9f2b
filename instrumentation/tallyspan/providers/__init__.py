"""A file per wire format: what an answer or one event of a stream says, in our terms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tallyspan.answer import Answer, Json
from tallyspan.framing import Interest
from tallyspan.providers import (
    anthropic_complete,
    anthropic_messages,
    bedrock,
    cohere,
    gemini,
    gemini_interactions,
    llama_cpp,
    lm_studio,
    mistral_conversations,
    ollama,
    openai_chat,
    openai_responses,
    tgi,
    vertex_predict,
)

ReadRequest = Callable[[Json, Answer], None]
ReadHeaders = Callable[[Mapping[str, str], Answer], None]
Read = Callable[[Json, Answer], None]


@dataclass(frozen=True, slots=True)
class Format:
    """How to read one answer; `interest` finds the events of a stream that say something.

    `opens_with_usage`: a stream states its input first and its output at the end, so one that is
    cut has counts that are too low. `read_request`: what is billed by the request, not the answer.
    """

    read: Read
    interest: Interest
    opens_with_usage: bool = False
    read_headers: ReadHeaders | None = None
    read_request: ReadRequest | None = None


# A reader that remembers something between events is made anew for every answer.
FORMATS: dict[str, Format | Callable[[], Format]] = {
    "openai_chat": Format(openai_chat.read, openai_chat.INTEREST),
    "openai_responses": Format(openai_responses.read, openai_responses.INTEREST),
    "openai_media": Format(openai_responses.read, openai_responses.INTEREST_MEDIA),
    "openai_speech": Format(
        openai_responses.read,
        openai_responses.INTEREST_MEDIA,
        read_request=openai_responses.read_speech_request,
    ),
    "anthropic_messages": lambda: Format(
        anthropic_messages.Reader().read, anthropic_messages.INTEREST, opens_with_usage=True
    ),
    "anthropic_complete": Format(anthropic_complete.read, anthropic_complete.INTEREST),
    "gemini_interactions": Format(gemini_interactions.read, gemini_interactions.INTEREST),
    "mistral_conversations": Format(mistral_conversations.read, mistral_conversations.INTEREST),
    "gemini": Format(gemini.read, gemini.INTEREST, read_headers=gemini.read_headers),
    "bedrock_converse": Format(bedrock.read_converse, bedrock.INTEREST_CONVERSE),
    "bedrock_invoke": lambda: Format(
        bedrock.InvokeReader().read,
        bedrock.INTEREST_INVOKE,
        read_headers=bedrock.read_headers,
    ),
    "cohere": Format(cohere.read, cohere.INTEREST),
    "llama_cpp": Format(llama_cpp.read, llama_cpp.INTEREST),
    "lm_studio": Format(lm_studio.read, lm_studio.INTEREST),
    "ollama": Format(ollama.read, ollama.INTEREST),
    "tgi": Format(tgi.read, tgi.INTEREST, opens_with_usage=True, read_headers=tgi.read_headers),
    "vertex_predict": Format(vertex_predict.read, vertex_predict.INTEREST),
}


def open_format(name: str) -> Format:
    """Return a reader for one answer in the named format."""
    known = FORMATS[name]
    return known if isinstance(known, Format) else known()
