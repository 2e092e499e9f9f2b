"""OpenAI Responses: `usage`, the image tool's as its own call, searches, background answers.

Usage always comes, in the object itself or in the event that ends the stream. `input_tokens`
includes cached and written tokens, `output_tokens` includes reasoning. A background
request answers `status: queued` with `usage: null`; its usage is in a later answer. What the image
tool used stands beside the usage, and is the image model's.
"""

from collections.abc import Iterator

from tallyspan.answer import Answer, Json, Part, count, items, mapping, text
from tallyspan.formats import openai_chat
from tallyspan.formats.openai_chat import reported_cost
from tallyspan.framing import Interest
from tallyspan.providers import OPENAI
from tallyspan.usage import Usage
from tallyspan.wire_format import USER_KEYS, Estimate, Format, Path, RequestKeys

_IMAGE_TOOL, _IMAGE_MODEL = "image_generation", "gpt-image-1"
"""The tool's type, and the model it takes where the request names none (OpenAI's API reference)."""


def read(body: Json, answer: Answer) -> None:
    """Take what a response object, or an event that holds one, says."""
    response = mapping(body.get("response")) or body
    answer.identify(response)
    answer.service_tier = text(response.get("service_tier")) or answer.service_tier
    usage = mapping(response.get("usage"))
    if usage:
        answer.usage = read_usage(usage) or answer.usage
        answer.reported_cost_usd = reported_cost(usage) or answer.reported_cost_usd
        _read_units(usage, answer)
    elif response.get("duration") is not None:  # a transcript of a model billed by time
        answer.billed("seconds", response["duration"])
    elif isinstance(response.get("data"), list):  # images of a model that is billed apiece
        answer.billed("images", len(response["data"]))
    answer.is_background = answer.is_background or response.get("background") is True
    _read_tools(response, answer)
    status = text(response.get("status"))
    if status in {"completed", "incomplete", "failed"}:
        reason = text(mapping(response.get("incomplete_details")).get("reason"))
        answer.finished(reason or status)
    error = mapping(response.get("error"))
    if error or body.get("type") == "error":
        answer.error_type = text(error.get("code")) or text(body.get("code")) or "error"


def _read_units(usage: Json, answer: Answer) -> None:
    if usage.get("type") == "duration":
        answer.billed("seconds", usage.get("seconds"))
    answer.billed("seconds", usage.get("prompt_audio_seconds"))  # Mistral


def _read_tools(response: Json, answer: Answer) -> None:
    tool_usage = mapping(response.get("tool_usage"))
    searches = mapping(tool_usage.get("web_search")).get("num_requests")
    if searches is None:  # older answers: count what was done; opening a page is not billed
        searches = sum(
            item.get("type") == "web_search_call"
            and mapping(item.get("action")).get("type", "search") == "search"
            for item in items(response.get("output"))
        )
    answer.billed("web_search", searches)
    drawn = read_usage(mapping(tool_usage.get("image_gen")))
    if drawn is not None and (drawn.input_tokens or drawn.output_tokens):
        tools = items(response.get("tools"))
        model = next((text(t.get("model")) for t in tools if t.get("type") == _IMAGE_TOOL), "")
        answer.parts = [Part("image_gen", model or _IMAGE_MODEL, drawn)]


def read_usage(usage: Json) -> Usage | None:
    """Return the counts of a `usage` object; None if it has none."""
    if "prompt_tokens" in usage:  # Mistral's transcripts
        return openai_chat.read_usage(usage)
    input_details = mapping(usage.get("input_tokens_details") or usage.get("input_token_details"))
    output_details = mapping(usage.get("output_tokens_details"))
    counts = Usage(
        input_tokens=count(usage.get("input_tokens")),
        output_tokens=count(usage.get("output_tokens")),
        cache_read_tokens=count(input_details.get("cached_tokens")),
        cache_write_tokens=count(input_details.get("cache_write_tokens")),
        reasoning_tokens=count(output_details.get("reasoning_tokens")),
        input_audio_tokens=count(input_details.get("audio_tokens")),
        input_image_tokens=count(input_details.get("image_tokens")),
        output_audio_tokens=count(output_details.get("audio_tokens")),
        output_image_tokens=count(output_details.get("image_tokens")),
    )
    return counts or None


def generated_texts(event: Json) -> Iterator[str]:
    """Yield the text that an event of a stream adds."""
    delta = event.get("delta")
    if isinstance(delta, str):
        yield delta


FORMAT = Format(
    name="openai_responses",
    provider=OPENAI,
    paths=(
        Path("/decisions", "chat", "openai"),
        Path("(?<!/input_tokens)/responses(?:/compact)?", "chat", example="/v1/responses"),
        Path("/responses/[^/]+", "chat", example="/v1/responses/resp_1", is_retrieval=True),
    ),
    request=RequestKeys(
        model="model",
        stream="stream",
        user=USER_KEYS,
        call=frozenset({"input", "prompt", "instructions"}),
    ),
    estimate=Estimate(prompt=("input", "prompt"), system=("instructions",), answer=generated_texts),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest(
        (b'response.completed"', b'response.incomplete"', b'response.failed"', b'"error"')
    ),
    reader=lambda: read,
    read_headers=None,
    read_request=None,
)
