"""OpenAI Responses: `usage`, the image tool's as its own call, searches, background answers.

Usage always comes, in the object itself or in the event that ends the stream. `input_tokens`
includes cached and written tokens, `output_tokens` includes reasoning. A background
request answers `status: queued` with `usage: null`; its usage is in a later answer. What the image
tool used stands beside the usage, and is the image model's.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from tallyspan.answer import Answer, Json, Part, count, items, mapping, text
from tallyspan.formats import openai_chat
from tallyspan.formats.openai_chat import reported_cost
from tallyspan.framing import Interest
from tallyspan.providers import OPENAI
from tallyspan.response_turns import ENDS, ResponseTurns
from tallyspan.socket_format import Needles, Socket
from tallyspan.usage import Usage
from tallyspan.usage_keys import UsageKeys, leave_unread
from tallyspan.wire_format import USER_KEYS, Estimate, Format, Path, RequestKeys, texts_under

_IMAGE_TOOL, _IMAGE_MODEL = "image_generation", "gpt-image-1"
"""The tool's type, and the model it takes where the request names none (OpenAI's API reference)."""
_CACHED_IMAGES = ("cached_image_tokens", "image_tokens")
_PERPLEXITY_SEARCHES = ("web_search", "search_web")
_CONTAINERS = {
    "1g": "code_interpreter", "4g": "code_interpreter_4g", "16g": "code_interpreter_16g",
    "64g": "code_interpreter_64g",
}  # fmt: skip
"""Memory of a container that runs code -> meter of its sessions; 1g is the usual one."""


def read(body: Json, answer: Answer) -> None:
    """Take what a response object, or an event that holds one, says."""
    response = mapping(body.get("response")) or body
    answer.identify(response)
    answer.service_tier = text(response.get("service_tier")) or answer.service_tier
    usage = mapping(response.get("usage"))
    if usage:
        answer.usage = read_usage(usage) or answer.usage
        answer.reported_cost_usd = reported_cost(usage) or answer.reported_cost_usd
        read_meters(usage, answer)
    elif response.get("duration") is not None:  # a transcript of a model billed by time
        answer.billed("seconds", response["duration"])
    if answer.usage is None and isinstance(response.get("data"), list):
        answer.billed("images", len(response["data"]))  # of a model that is billed apiece
    answer.is_background = answer.is_background or response.get("background") is True
    _read_tools(response, answer)
    status = text(response.get("status"))
    if status in {"completed", "incomplete", "failed"}:
        reason = text(mapping(response.get("incomplete_details")).get("reason"))
        answer.finished(reason or status)
    error = mapping(response.get("error"))
    if error or body.get("type") == "error":
        answer.error_type = text(error.get("code")) or text(body.get("code")) or "error"


def read_meters(usage: Json, answer: Answer) -> None:
    """Take what a `usage` object counts beside the common counts."""
    answer.billed("seconds", usage.get("seconds"))
    openai_chat.read_meters(usage, answer)
    openai_chat.read_cache_lifetimes(mapping(usage.get("input_tokens_details")), answer)
    tools = mapping(usage.get("tool_calls_details"))  # Perplexity
    for name in _PERPLEXITY_SEARCHES:
        answer.billed("web_search", mapping(tools.get(name)).get("invocation"))


def _read_tools(response: Json, answer: Answer) -> None:
    tool_usage = mapping(response.get("tool_usage"))
    searches = mapping(tool_usage.get("web_search")).get("num_requests")
    output, tools = items(response.get("output")), items(response.get("tools"))
    if searches is None:  # older answers: count what was done; opening a page is not billed
        searches = sum(
            item.get("type") == "web_search_call"
            and mapping(item.get("action")).get("type", "search") == "search"
            for item in output
        )
    is_preview = any(text(tool.get("type")).startswith("web_search_preview") for tool in tools)
    answer.billed("web_search_preview" if is_preview else "web_search", searches)
    answer.billed("file_search", sum(item.get("type") == "file_search_call" for item in output))
    _read_containers(output, tools, answer)
    drawing = mapping(tool_usage.get("image_gen"))
    drawn = read_usage(drawing)
    if drawn is not None and (drawn.input_tokens or drawn.output_tokens):
        model = next((text(t.get("model")) for t in tools if t.get("type") == _IMAGE_TOOL), "")
        if drawn.output_image_tokens is None:
            drawn = replace(drawn, output_image_tokens=drawn.output_tokens)
        cached = cached_image_tokens(drawing)
        meters = {"cache_read_image_tokens": cached} if cached else {}
        answer.parts = [Part("image_gen", model or _IMAGE_MODEL, drawn, meters)]


def _read_containers(output: list[Json], tools: list[Json], answer: Answer) -> None:
    """Count the containers that ran code, by their memory: of the interpreter, and of a shell."""
    used = {
        text(item.get("container_id") or mapping(item.get("environment")).get("container_id"))
        for item in output
        if item.get("type") == "code_interpreter_call"
        or mapping(item.get("environment")).get("type") == "container_reference"
    }
    places = (mapping(tool.get("container") or tool.get("environment")) for tool in tools)
    limits = {text(place["memory_limit"]) for place in places if place.get("memory_limit")}
    limit = limits.pop() if len(limits) == 1 else "1g"
    if used and (limits or limit not in _CONTAINERS):
        leave_unread(answer, "tools[].container.memory_limit")
    answer.billed(_CONTAINERS.get(limit, "code_interpreter"), len(used))


def read_usage(usage: Json) -> Usage | None:
    """Return the counts of a `usage` object; None if it has none."""
    if "prompt_tokens" in usage:  # Mistral's transcripts
        return openai_chat.read_usage(usage)
    input_details = mapping(usage.get("input_tokens_details") or usage.get("input_token_details"))
    output_details = mapping(usage.get("output_tokens_details"))
    counts = Usage(
        input_tokens=count(usage.get("input_tokens")),
        output_tokens=count(usage.get("output_tokens")),
        cache_read_tokens=_first(
            input_details.get("cached_tokens"),
            usage.get("cached_tokens"),  # images
            input_details.get("cache_read_input_tokens"),  # Perplexity
        ),
        cache_write_tokens=_first(
            input_details.get("cache_write_tokens"),
            input_details.get("cache_creation_input_tokens"),  # Perplexity
        ),
        reasoning_tokens=_first(
            output_details.get("reasoning_tokens"), usage.get("reasoning_tokens")
        ),
        input_audio_tokens=count(input_details.get("audio_tokens")),
        input_image_tokens=count(input_details.get("image_tokens")),
        output_audio_tokens=count(output_details.get("audio_tokens")),
        output_image_tokens=count(output_details.get("image_tokens")),
    )
    return counts or None


def cached_image_tokens(usage: Json) -> int | None:
    """Return how many of an image model's cached tokens are images; None: it does not say."""
    inside = mapping(mapping(usage.get("input_tokens_details")).get("cached_tokens_details"))
    beside = mapping(usage.get("cached_tokens_details"))
    return _first(*(each.get(key) for each in (beside, inside) for key in _CACHED_IMAGES))


def _first(*values: object) -> int | None:
    return next((number for value in values if (number := count(value)) is not None), None)


def generated_texts(event: Json) -> Iterator[str]:
    """Yield the text that an answer has, or that an event of a stream adds."""
    delta = event.get("delta")
    if isinstance(delta, str):
        yield delta
    yield from _texts_of_output(event)


_texts_of_output = texts_under("output")


_COUNTS = (
    "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens",
    *(f"{details}.{key}" for details in ("input_tokens_details", "input_token_details") for key in (
        "cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens",
        "cache_read_input_tokens", "cache_creation_input_tokens",
    )),
    "input_tokens_details.cache_write_tokens_details.ttl_12h_tokens",
    *(f"{inside}cached_tokens_details.{key}" for inside in ("", "input_tokens_details.")
      for key in _CACHED_IMAGES),
    *(f"output_tokens_details.{key}" for key in (
        "reasoning_tokens", "audio_tokens", "image_tokens",
    )),
)  # fmt: skip
_HARMLESS_COUNTS = {
    "total_tokens": "input and output",
    "input_tokens_details.text_tokens": "the rest of the input",
    "input_token_details.text_tokens": "the rest of the input",
    **{
        f"{inside}cached_tokens_details.{key}": "the rest of the cached tokens"
        for inside in ("", "input_tokens_details.")
        for key in ("text_tokens", "cached_text_tokens")
    },
    "input_tokens_details.cache_write_tokens_details.ttl_30m_tokens":
        "the usual lifetime: the rest of cache_write_tokens",
    "output_tokens_details.text_tokens": "the rest of the output",
}  # fmt: skip
USAGE = UsageKeys(
    at=("usage", "response.usage", "tool_usage", "response.tool_usage", "svg_usage"),
    read=(
        *openai_chat.USAGE.read,
        *_COUNTS,
        *(f"image_gen.{key}" for key in _COUNTS),
        "web_search.num_requests",
        "seconds",
        "model",  # of svg_usage
        *(f"tool_calls_details.{name}.invocation" for name in _PERPLEXITY_SEARCHES),
    ),
    harmless={
        **openai_chat.USAGE.harmless,
        **{key: why for key, why in _HARMLESS_COUNTS.items() if key != "total_tokens"},
        **{f"image_gen.{key}": why for key, why in _HARMLESS_COUNTS.items()},
        "type": "whether it counts tokens or seconds",
    },
    beside={
        "service_tier": "the tier",
        "billing": "names who pays: whoever holds the key",
        "max_output_tokens": "a limit of the request",
        "total_tokens": "the usage has it too",
    },
)  # fmt: skip

FORMAT = Format(
    name="openai_responses",
    provider=OPENAI,
    paths=(
        Path("/decisions", "chat", "openai"),
        Path("(?<!/input_tokens)/responses(?:/compact)?", "chat", example="/v1/responses"),
        Path("/responses/[^/]+", "chat", example="/v1/responses/resp_1", is_retrieval=True),
        Path("/responses", "chat", is_socket=True),
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
    usage=USAGE,
    read_headers=None,
    read_request=None,
    socket=Socket(
        sent=Needles("response.create"),
        received=Needles(*ENDS, "response.created", "error"),
        output=Needles(endings=(".delta",)),
        turns=partial(ResponseTurns, errors_end_calls=True),
    ),
)
