"""Cohere v1 and v2: `billed_units`, which are billed (7 where `tokens` says 69)."""

from tallyspan.answer import Answer, Json, count, mapping, text
from tallyspan.framing import Interest
from tallyspan.providers import Provider
from tallyspan.usage import Usage
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import USER_KEYS, Estimate, Format, Path, RequestKeys, texts_under


def read(body: Json, answer: Answer) -> None:
    """Take what an answer, or one event of a stream, says."""
    end = mapping(body.get("delta")) or mapping(body.get("response")) or body
    answer.response_id = answer.response_id or text(end.get("id")) or text(body.get("id"))
    answer.response_id = answer.response_id or text(end.get("generation_id"))
    answer.finished(end.get("finish_reason"))
    usage = mapping(end.get("usage")) or mapping(end.get("meta"))
    billed = mapping(usage.get("billed_units"))
    if billed:
        counts = Usage(
            input_tokens=count(billed.get("input_tokens")),
            output_tokens=count(billed.get("output_tokens")),
            input_image_tokens=count(billed.get("image_tokens")),
        )
        answer.usage = counts or answer.usage
        answer.billed("search_units", billed.get("search_units"))
        answer.billed("pages", billed.get("pages"))


FORMAT = Format(
    name="cohere",
    provider=Provider("cohere", (r"^api\.cohere\.(?:com|ai)",)),
    paths=(
        Path("^/v[12]/chat", "chat", "cohere", example="/v2/chat"),
        Path("^/v[12]/generate", "text_completion", "cohere", example="/v1/generate"),
        Path("^/v[12]/embed", "embeddings", "cohere", example="/v2/embed"),
        Path("^/v[12]/rerank", "rerank", "cohere", example="/v2/rerank"),
        Path("^/v1/summarize", "text_completion", "cohere", example="/v1/summarize"),
    ),
    request=RequestKeys(
        model="model",
        stream="stream",
        user=USER_KEYS,
        call=frozenset({"messages", "message", "prompt", "inputs", "texts", "documents"}),
    ),
    estimate=Estimate(
        prompt=("messages", "message", "prompt", "inputs", "texts"),
        system=(),
        answer=texts_under("delta", "text", "message"),
    ),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest((b'"message-end"', b'"stream-end"', b'"message-start"', b'"stream-start"')),
    reader=lambda: read,
    usage=UsageKeys(
        at=("usage", "meta", "delta.usage", "response.meta"),
        read=(
            "billed_units.input_tokens",
            "billed_units.output_tokens",
            "billed_units.image_tokens",
            "billed_units.search_units",
            "billed_units.pages",
        ),
        harmless={
            "billed_units.images": "their tokens are billed",
            "billed_units.text_tokens": "the rest of the input",
            "tokens": "what the model got; billed_units are billed",
            "cached_tokens": "of `tokens`, not of what is billed",
            "api_version": "no count",
            "warnings": "no count",
        },
        beside={"token_count": "v1: what the model got; billed_units are billed"},
    ),
    read_headers=None,
    read_request=None,
)
