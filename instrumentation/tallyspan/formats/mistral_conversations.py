"""Mistral Conversations: `usage`; what connectors put into the prompt stands beside."""

from dataclasses import replace

from tallyspan.answer import Answer, Json, count, mapping, text, total
from tallyspan.formats import openai_chat
from tallyspan.framing import Interest
from tallyspan.providers import MISTRAL
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import USER_KEYS, Format, NoEstimate, Path, RequestKeys

_CONNECTORS = {
    "web_search": "web_search",
    "code_interpreter": "code_interpreter",
    "image_generation": "images",
}
"""Mistral's names of its connectors -> meters."""


def read(body: Json, answer: Answer) -> None:
    """Take what a conversation's answer, or the event that ends its stream, says."""
    answer.model = answer.model or text(body.get("model"))
    if body.get("outputs") is not None or body.get("type") == "conversation.response.done":
        answer.finished("stop")
    usage = dict(mapping(body.get("usage")))
    connectors = count(usage.get("connector_tokens"))
    total_tokens = count(usage.get("total_tokens"))
    counts = openai_chat.read_usage({k: v for k, v in usage.items() if k != "total_tokens"})
    if counts is not None:
        parts = total(counts.input_tokens, counts.output_tokens, connectors)
        if connectors and parts == total_tokens:
            counts = replace(counts, input_tokens=total(counts.input_tokens, connectors))
        answer.usage = counts
        answer.service_tier = text(usage.get("service_tier")) or answer.service_tier
        openai_chat.read_meters(usage, answer)
        used = mapping(usage.get("connectors"))
        for name, meter in _CONNECTORS.items():
            answer.billed(meter, used.get(name))


FORMAT = Format(
    name="mistral_conversations",
    provider=MISTRAL,
    paths=(
        Path(
            r"/v1/conversations(?:/[^/]+(?:/restart)?)?",
            "chat",
            "mistral_ai",
            example="/v1/conversations",
        ),
    ),
    request=RequestKeys(
        model="model",
        stream="stream",
        user=USER_KEYS,
        call=frozenset({"inputs", "instructions"}),
    ),
    estimate=NoEstimate("the prompt includes earlier turns, which the server keeps"),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest((b'"usage"', b'"conversation.response.error"')),
    reader=lambda: read,
    usage=UsageKeys(
        at=("usage",),
        read=(
            *openai_chat.USAGE.read,
            "connector_tokens",
            *(f"connectors.{name}" for name in _CONNECTORS),
        ),
        harmless=openai_chat.USAGE.harmless,
        beside=openai_chat.USAGE.beside,
    ),
    read_headers=None,
    read_request=None,
)
