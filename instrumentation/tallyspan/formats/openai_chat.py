"""OpenAI Chat Completions, Completions, Embeddings, rerankers: `usage`, billed cost, OCR pages.

`usage.prompt_tokens` includes cached and written tokens, `completion_tokens` includes reasoning.
A stream has usage in its last event, and only if the request set `stream_options.include_usage`
(others always send it); it may repeat growing values, so the last one wins.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from itertools import combinations

from tallyspan.answer import (
    DECIMAL,
    Answer,
    Json,
    Part,
    amount,
    count,
    failure,
    items,
    mapping,
    text,
    total,
)
from tallyspan.framing import Interest, spelled, spelled_oddly
from tallyspan.providers import OPENAI
from tallyspan.usage import Usage
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import (
    USER_KEYS,
    Estimate,
    Format,
    Path,
    RequestKeys,
    UsageOption,
    texts_under,
)


def read(body: Json, answer: Answer) -> None:
    """Take what a chat completion, or one chunk of a stream, says."""
    answer.identify(body)
    answer.service_tier = text(body.get("service_tier")) or answer.service_tier
    for choice in items(body.get("choices")):
        answer.finished(choice.get("finish_reason"))
        _read_executed(choice, answer)
    usage = mapping(body.get("usage"))
    if not usage and "chunk" in text(body.get("object")):
        # Groq's own place in streams; in a JSON answer x_groq.usage is about memory, not tokens.
        usage = mapping(mapping(body.get("x_groq")).get("usage"))
    if usage:
        answer.usage = read_usage(usage) or answer.usage
        if "usage_breakdown" in body or "x_groq" in body:
            _share_out(body, answer)
        if not usage.keys() <= _COMMON_KEYS:
            answer.service_tier = _tier(usage) or answer.service_tier
            answer.reported_cost_usd = reported_cost(usage) or answer.reported_cost_usd
            _read_rarer(usage, answer)
        _read_details(usage, answer)
        if "search" in answer.model and _SEARCH_MODEL.search(answer.model):
            answer.billed("web_search", 1)
    elif answer.usage is None:
        answer.usage = _timed(mapping(body.get("timings")))
    if "usage_info" in body:
        _read_pages(body, answer)
    answer.error_type = failure(body, "code", "type") or answer.error_type


USUAL_SPEEDS = {"", "standard", "default"}
"""Of Claude; any other is priced like a tier of its own."""


def _tier(usage: Json) -> str:
    """Return the tier as the usage has it: Mistral's, Claude's behind a gateway, Vertex's."""
    speed = text(usage.get("speed")).lower()
    if speed not in USUAL_SPEEDS:
        return speed
    tier = text(usage.get("service_tier"))
    if tier or "extra_properties" not in usage:
        return tier
    google = mapping(mapping(usage["extra_properties"]).get("google"))
    return text(google.get("traffic_type")).lower()


def read_meters(usage: Json, answer: Answer) -> None:
    """Take what a `usage` object counts beside the common counts, and what its price depends on."""
    _read_rarer(usage, answer)
    _read_details(usage, answer)


def _read_rarer(usage: Json, answer: Answer) -> None:
    """Take what stands under other keys than OpenAI's own, the `_COMMON_KEYS`."""
    _bill(usage, METERS, answer)
    if "search_context_size" in usage:  # Perplexity
        answer.under("search_context", usage["search_context_size"])
    if "inference_geo" in usage:  # Claude behind a gateway
        answer.under("geo", usage["inference_geo"])
    read_tools(usage, answer)


def _read_details(usage: Json, answer: Answer) -> None:
    prompt = mapping(usage.get("prompt_tokens_details"))
    if prompt:
        _bill(prompt, PROMPT_METERS, answer)
        if "cached_tokens_details" in prompt:
            _bill(mapping(prompt["cached_tokens_details"]), CACHED_METERS, answer)
        read_cache_lifetimes(prompt, answer)
    _bill(mapping(usage.get("completion_tokens_details")), COMPLETION_METERS, answer)


def _bill(amounts: Json, meters: Mapping[str, str], answer: Answer) -> None:
    for key in meters:
        if key in amounts:
            answer.billed(meters[key], amounts[key])


def read_cache_lifetimes(details: Json, answer: Answer) -> None:
    """Take how long what was written to the cache is kept, where that has a price of its own."""
    if "cache_write_tokens_details" in details:
        _bill(mapping(details["cache_write_tokens_details"]), LIFETIMES, answer)


def read_tools(usage: Json, answer: Answer) -> None:
    """Take the uses of a provider's own tools: OpenRouter's places, and xAI's."""
    for place, meters in TOOLS.items():
        if place in usage:
            _bill(mapping(usage[place]), meters, answer)


def _read_executed(choice: Json, answer: Answer) -> None:
    """Count the searches of Groq's compound systems, which are billed apiece."""
    executed = mapping(choice.get("message") or choice.get("delta")).get("executed_tools")
    if executed:
        searches = sum(each.get("type") == "search" for each in items(executed))
        answer.billed("web_search", searches)


def _read_pages(body: Json, answer: Answer) -> None:
    """Take the pages of Mistral's OCR, which cost more where they were annotated as well."""
    pages = mapping(body["usage_info"]).get("pages_processed")
    answer.billed("pages", pages)
    images = (image for page in items(body.get("pages")) for image in items(page.get("images")))
    if body.get("document_annotation") or any(each.get("image_annotation") for each in images):
        answer.billed("annotated_pages", pages)


def _share_out(body: Json, answer: Answer) -> None:
    """Give the models inside one of Groq's compound systems what each used; `usage` is the sum.

    Streams of 2025 have the sum with each of them: then nobody can tell, and it stays the system's.
    """
    breakdown = body.get("usage_breakdown") or mapping(body.get("x_groq")).get("usage_breakdown")
    models = items(mapping(breakdown).get("models"))
    if not models or answer.usage is None:
        return
    used = [(text(each.get("model")), read_usage(mapping(each.get("usage")))) for each in models]
    parts = [Part("compound", model, usage) for model, usage in used if usage is not None]
    input_tokens = total(*(part.usage.input_tokens for part in parts))
    output_tokens = total(*(part.usage.output_tokens for part in parts))
    if (input_tokens, output_tokens) == (answer.usage.input_tokens, answer.usage.output_tokens):
        answer.parts = parts
        answer.usage = Usage(input_tokens=0, output_tokens=0)


def _timed(timings: Json) -> Usage | None:
    """Return the counts that llama.cpp has among its timings, in streams without usage too."""
    counts = Usage(
        input_tokens=total(count(timings.get("prompt_n")), count(timings.get("cache_n"))),
        output_tokens=count(timings.get("predicted_n")),
        cache_read_tokens=count(timings.get("cache_n")),
    )
    return counts or None


def read_usage(usage: Json) -> Usage | None:
    """Return the counts of a `usage` object; None if it has none."""
    details = mapping(usage.get("prompt_tokens_details"))
    completion_details = mapping(usage.get("completion_tokens_details"))
    cached = mapping(details.get("cached_tokens_details"))
    written = mapping(
        details.get("cache_creation_token_details") or usage.get("cache_creation")  # LiteLLM
    )
    # Audio that is billed by the second is no token: Mistral counts both.
    is_timed = bool(count(usage.get("prompt_audio_seconds")))
    was_cached = _cached(usage)
    prompt, completion, hidden = _settled(usage, was_cached or 0, is_timed=is_timed)
    counts = Usage(
        input_tokens=prompt,
        output_tokens=completion,
        cache_read_tokens=was_cached,
        cache_write_tokens=_written(usage),
        cache_write_1h_tokens=count(written.get("ephemeral_1h_input_tokens")),
        cache_read_audio_tokens=count(cached.get("audio_tokens")),
        reasoning_tokens=_first(
            completion_details.get("reasoning_tokens"), usage.get("reasoning_tokens"), hidden
        ),
        input_audio_tokens=None if is_timed else count(details.get("audio_tokens")),
        output_audio_tokens=count(completion_details.get("audio_tokens")),
        input_image_tokens=count(details.get("image_tokens")),
        output_image_tokens=count(completion_details.get("image_tokens")),
    )
    return counts or None


def _settled(
    usage: Json, was_cached: int, *, is_timed: bool
) -> tuple[int | None, int | None, int | None]:
    """Return all input and output, and what is in the total alone; the total decides.

    Some leave a part out of the counts it belongs to: Grok on Azure cached tokens, Mistral audio,
    xAI and Gemini's compatible path reasoning, Perplexity citations and reasoning of its research.
    """
    prompt = count(usage.get("prompt_tokens"))
    completion = count(usage.get("completion_tokens"))
    total_tokens = count(usage.get("total_tokens"))
    if prompt is None and completion is None:
        # Voyage and Jina have nothing but the total; where something else is counted, it is not
        # known what of the total is input.
        is_all = not any(count(usage[key]) for key in usage.keys() - _TOTALS)
        return (total_tokens if is_all else None), None, None
    reasoning, citations = count(usage.get("reasoning_tokens")), count(usage.get("citation_tokens"))
    if citations is not None:  # Perplexity's total leaves both out
        return total(prompt, citations), total(completion, reasoning), None
    if prompt is None:
        return prompt, completion, None
    beside = max((total_tokens or 0) - prompt - (completion or 0), 0)
    if not beside and (was_cached <= prompt or total_tokens is not None):
        return prompt, completion, None
    cached = was_cached + (_written(usage) or 0)
    fit = _explained(usage, cached, beside)
    beside -= fit.get("cached", 0) + fit.get("audio", 0)
    prompt += cached if "cached" in fit or was_cached > prompt else 0
    prompt += 0 if is_timed else fit.get("audio", 0)
    if not beside:
        return prompt, completion, None
    return prompt, (completion or 0) + beside, beside


def _explained(usage: Json, cached: int, beside: int) -> dict[str, int]:
    """Return the parts that add up to what the total has beside the counts.

    Empty where nothing does, or more than one set of parts: then it is the model's output, as
    reasoning that nobody counts is.
    """
    prompt_details = mapping(usage.get("prompt_tokens_details"))
    details = mapping(usage.get("completion_tokens_details"))
    parts = {
        "cached": cached,
        "audio": count(prompt_details.get("audio_tokens")),
        "reasoning": _first(details.get("reasoning_tokens"), usage.get("reasoning_tokens")),
    }
    present = [(name, tokens) for name, tokens in parts.items() if tokens]
    fits = [
        dict(some)
        for size in range(1, len(present) + 1)
        for some in combinations(present, size)
        if sum(tokens for _, tokens in some) == beside
    ]
    return fits[0] if len(fits) == 1 else {}


def _cached(usage: Json) -> int | None:
    return _first(
        mapping(usage.get("prompt_tokens_details")).get("cached_tokens"),
        usage.get("prompt_cache_hit_tokens"),  # DeepSeek
        usage.get("num_cached_tokens"),  # Mistral
        usage.get("cached_tokens"),  # Together
        usage.get("cache_read_input_tokens"),  # LiteLLM and others, of Claude
    )


def _written(usage: Json) -> int | None:
    details = mapping(usage.get("prompt_tokens_details"))
    return _first(
        details.get("cache_write_tokens"),
        details.get("cache_creation_input_tokens"),  # DashScope
        details.get("cache_creation_tokens"),  # LiteLLM
        usage.get("cache_creation_input_tokens"),  # LiteLLM and others, of Claude
    )


def reported_cost(usage: Json) -> str:
    """Return what the provider reports the call cost in USD, or an empty text.

    OpenRouter counts in credits, which are dollars; Perplexity in an object; xAI in ticks, ten
    thousand million to the dollar. With a key of your own (`is_byok`) OpenRouter's figure is its
    fee only: what the model's provider bills comes on top.
    """
    ticks = count(usage.get("cost_in_usd_ticks"))
    if ticks is not None:
        return f"{ticks // 10**10}.{ticks % 10**10:010d}"
    cost = usage.get("cost")
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    parts = [cost]
    if usage.get("is_byok"):
        parts.append(mapping(usage.get("cost_details")).get("upstream_inference_cost"))
    amounts = [_usd(each) for each in parts]
    present = [each for each in amounts if each is not None]
    return f"{sum(present, Decimal(0)):.12f}" if len(present) == len(amounts) else ""


def _usd(value: object) -> Decimal | None:
    """Return an amount of money, which some write as a text so that it stays exact."""
    if isinstance(value, str):
        return Decimal(value) if DECIMAL.fullmatch(value) else None
    number = amount(value)
    return None if number is None else Decimal(str(number))


def _first(*values: object) -> int | None:
    for value in values:
        number = count(value)
        if number is not None:
            return number
    return None


_TOTALS = {"total_tokens", "text_tokens"}
_COMMON_KEYS = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
    }
)
"""Keys of OpenAI's own usage: with no other there is no tier, cost, tool or rarer meter in it."""
METERS = {
    "prompt_audio_seconds": "seconds",  # Mistral
    "num_search_queries": "web_search",  # Perplexity
    "num_sources_used": "search_sources",  # xAI
}
PROMPT_METERS = {"video_tokens": "input_video_tokens", "file_tokens": "input_document_tokens"}
CACHED_METERS = {"image_tokens": "cache_read_image_tokens"}
COMPLETION_METERS = {"video_tokens": "output_video_tokens"}
LIFETIMES = {"ttl_12h_tokens": "cache_write_12h_tokens"}
_OPENROUTER_TOOLS = {"web_search_requests": "web_search"}
_XAI_TOOLS = {
    "web_search_calls": "web_search",
    "x_search_calls": "x_search",
    "code_interpreter_calls": "code_interpreter",
    "file_search_calls": "file_search",
    "document_search_calls": "file_search",
}
TOOLS = {
    "server_tool_use": _OPENROUTER_TOOLS,  # Anthropic too
    "server_tool_use_details": _OPENROUTER_TOOLS,
    "server_side_tool_usage": _XAI_TOOLS,
    "server_side_tool_usage_details": _XAI_TOOLS,
}
"""Keys of a usage -> meters; tools by the key that has their uses."""
_SEARCH_MODEL = re.compile(r"(?:^|/)gpt-[a-z0-9.-]*search-(?:preview|api)")
"""Models of OpenAI's that search the web in every call, and bill it."""

COST_KEYS = ("cost", "cost.total_cost", "cost_details.upstream_inference_cost", "cost_in_usd_ticks",
             "is_byok")  # fmt: skip
"""Where `reported_cost` looks."""
COST_HARMLESS = {
    "cost.currency": "always USD",
    **{
        f"cost.{part}_cost": "a part of cost.total_cost"
        for part in ("input_tokens", "output_tokens", "reasoning_tokens", "citation_tokens",
                     "request", "search_queries", "input", "output", "cache_creation",
                     "cache_read", "tool_calls")
    },
    **{
        f"cost_details.{part}": "a part of the upstream cost, or of the cost"
        for part in ("upstream_inference_prompt_cost", "upstream_inference_completions_cost",
                     "upstream_inference_input_cost", "upstream_inference_output_cost",
                     "server_tool_cost")
    },
    "pydantic_ai_gateway": "what a gateway takes the cost for: an estimate of its own",
}  # fmt: skip
TOOL_KEYS = tuple(f"{place}.{key}" for place, tools in TOOLS.items() for key in tools)
TOOL_HARMLESS = {
    "server_tool_use.tool_calls_requested": "a count of what is billed by its kind",
    "server_tool_use.tool_calls_executed": "a count of what is billed by its kind",
    "server_tool_use_details.tool_calls_requested": "a count of what is billed by its kind",
    "server_tool_use_details.tool_calls_executed": "a count of what is billed by its kind",
    "num_server_side_tools_used": "the sum of server_side_tool_usage_details",
    "server_side_tool_usage.mcp_calls": "billed by its tokens",
    "server_side_tool_usage_details.mcp_calls": "billed by its tokens",
}
USAGE = UsageKeys(
    at=("usage", "x_groq.usage", "timings", "usage_info"),
    read=(
        "prompt_tokens", "completion_tokens", "total_tokens", "reasoning_tokens", "citation_tokens",
        "prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens", "service_tier",
        "search_context_size", "speed", "inference_geo", "extra_properties.google.traffic_type",
        "cache_read_input_tokens", "cache_creation_input_tokens",
        "cache_creation.ephemeral_1h_input_tokens", *METERS,
        *(f"prompt_tokens_details.{key}" for key in (
            "cached_tokens", "cache_write_tokens", "cache_creation_input_tokens",
            "cache_creation_tokens", "cache_creation_token_details.ephemeral_1h_input_tokens",
            "audio_tokens", "image_tokens", *PROMPT_METERS, "cached_tokens_details.audio_tokens",
            *(f"cached_tokens_details.{key}" for key in CACHED_METERS),
            *(f"cache_write_tokens_details.{key}" for key in LIFETIMES),
        )),
        *(f"completion_tokens_details.{key}" for key in (
            "reasoning_tokens", "audio_tokens", "image_tokens", *COMPLETION_METERS,
        )),
        *COST_KEYS, *TOOL_KEYS,
        "prompt_n", "cache_n", "predicted_n",
        "pages_processed",
    ),
    harmless={
        **COST_HARMLESS,
        **TOOL_HARMLESS,
        "prompt_cache_miss_tokens": "the rest of the prompt",
        "prompt_tokens_details.text_tokens": "the rest of the prompt",
        "prompt_tokens_details.cached_tokens_details.text_tokens": "the rest of the cached tokens",
        "prompt_tokens_details.cache_write_tokens_details.ttl_30m_tokens":
            "the usual lifetime: the rest of cache_write_tokens",
        "text_tokens": "a part of the total",
        "cache_creation.ephemeral_5m_input_tokens":
            "the usual lifetime: the rest of what is written",
        "prompt_tokens_details.cache_creation_token_details.ephemeral_5m_input_tokens":
            "the usual lifetime: the rest of what is written",
        "server_tool_use.web_fetch_requests": "free: only the tokens of what is fetched are billed",
        "market_cost": "Vercel: what others would have paid",
        "latency_checkpoint": "Azure: times",
        "prompt_tokens_details.cache_creation": "DashScope: cache_creation_input_tokens again",
        "prompt_tokens_details.cache_type": "DashScope: which kind of cache",
        "completion_tokens_details.text_tokens": "the rest of the answer",
        "completion_tokens_details.accepted_prediction_tokens": "a part of the answer, billed so",
        "completion_tokens_details.rejected_prediction_tokens": "a part of the answer, billed so",
        **dict.fromkeys((
            "queue_time", "prompt_time", "completion_time", "total_time", "prompt_ms",
            "prompt_per_token_ms", "prompt_per_second", "predicted_ms", "predicted_per_token_ms",
            "predicted_per_second", "time_to_first_token", "start_time", "end_time",
            "total_latency", "total_tokens_per_sec", "completion_tokens_per_sec",
            "completion_tokens_after_first_per_sec",
            "completion_tokens_after_first_per_sec_first_ten", "acceptance_rate",
            "is_last_response", "stop_reason",
        ), "a time, and nobody bills it"),
        "draft_n": "tokens that were tried, of which the answer has the right ones",
        "draft_n_accepted": "a part of the answer",
        "doc_size_bytes": "Mistral OCR bills pages",
    },
    beside={
        "service_tier": "the tier",
        "usage_breakdown": "Groq: the usage of each model in a compound system",
    },
)  # fmt: skip

_DEPLOYMENT = "(?:/deployments/(?P<model>[^/]+))?"

FORMAT = Format(
    name="openai_chat",
    provider=OPENAI,
    paths=(
        Path("^/v1/chat", "chat", "writer", example="/v1/chat"),
        # Portkey's stored prompts: the answer is a chat completion, and names the model.
        Path("/v1/prompts/[^/]+/completions", "chat", example="/v1/prompts/p-1/completions"),
        Path(
            "/serving-endpoints/(?P<model>[^/]+)/invocations",
            "chat",
            "databricks",
            example="/serving-endpoints/databricks-gpt-oss-120b/invocations",
        ),
        Path("/v1/text/chatcompletion_v2", "chat", "minimax"),
        Path("/v1/ocr", "generate_content", "mistral_ai"),
        Path("/v1/agents/completions", "chat", "mistral_ai"),
        Path(
            "/v1/(?:multimodal|contextualized)embeddings",
            "embeddings",
            "voyageai",
            example="/v1/multimodalembeddings",
        ),
        Path("/rerank", "rerank"),
        Path("/score", "rerank"),
        Path("/moderations", "moderation"),
        Path(
            r"/publishers/mistralai/models/(?P<model>[^/:]+)"
            r":(?:rawPredict|(?P<stream>streamRawPredict))",
            "chat",
            example="/v1/projects/p/locations/l/publishers/mistralai/models/mistral:rawPredict",
        ),
        # Portkey: the gateway keeps the prompt, and the request has what is put into it.
        Path("/prompts/[^/]+/completions", "chat", example="/v1/prompts/pp-1/completions"),
        Path(f"{_DEPLOYMENT}/chat/completions", "chat", example="/v1/chat/completions"),
        Path(f"{_DEPLOYMENT}/completions", "text_completion", example="/v1/completions"),
        # Ollama has a path of its own that ends like this.
        Path(f"{_DEPLOYMENT}/embeddings", "embeddings", rank=1, example="/v1/embeddings"),
    ),
    request=RequestKeys(
        model="model",
        stream="stream",
        user=USER_KEYS,
        call=frozenset(
            {"messages", "prompt", "input", "inputs", "documents", "text_1", "variables"}
        ),
    ),
    estimate=Estimate(
        prompt=("messages", "input", "inputs", "prompt"), system=(), answer=texts_under("choices")
    ),
    usage_option=UsageOption(
        option=("stream_options", "include_usage"), usage="usage", empty="choices"
    ),
    opens_with_usage=False,
    # `usage`, Groq's `x_groq.usage` and growing counts have these keys in common.
    interest=Interest(
        (b'"error"', b'executed_tools"', *spelled("finish_reason", '"')),
        b'_tokens"',
        re.compile(rb'_tokens"\s*:\s*"?[0-9]'),
        spelled_oddly("finish_reason"),
    ),
    reader=lambda: read,
    usage=USAGE,
    read_headers=None,
    read_request=None,
)
