"""OpenAI Chat Completions, Completions, Embeddings, rerankers: `usage`, billed cost, OCR pages.

`usage.prompt_tokens` includes cached and written tokens, `completion_tokens` includes reasoning.
A stream has usage in its last event, and only if the request set `stream_options.include_usage`
(others always send it); it may repeat growing values, so the last one wins.
"""

import re

from tallyspan.answer import Answer, Json, Part, count, failure, items, mapping, text, total
from tallyspan.framing import Interest, spelled, spelled_oddly
from tallyspan.providers import OPENAI
from tallyspan.usage import Usage
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
    usage = mapping(body.get("usage"))
    if not usage and "chunk" in text(body.get("object")):
        # Groq's own place in streams; in a JSON answer x_groq.usage is about memory, not tokens.
        usage = mapping(mapping(body.get("x_groq")).get("usage"))
    if usage:
        answer.usage = read_usage(usage) or answer.usage
        _share_out(body, answer)
        answer.service_tier = text(usage.get("service_tier")) or answer.service_tier
        answer.reported_cost_usd = reported_cost(usage) or answer.reported_cost_usd
    elif answer.usage is None:
        answer.usage = _timed(mapping(body.get("timings")))
    answer.billed("pages", mapping(body.get("usage_info")).get("pages_processed"))  # Mistral OCR
    answer.error_type = failure(body, "code", "type") or answer.error_type


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
    prompt = count(usage.get("prompt_tokens"))
    completion = count(usage.get("completion_tokens"))
    total_tokens = count(usage.get("total_tokens"))
    # xAI and Gemini's compatible path leave thinking out of completion_tokens; only the total has
    # it. Voyage has nothing but the total.
    if prompt is None and completion is None:
        prompt = total_tokens
    hidden = None
    if (
        total_tokens is not None
        and prompt is not None
        and total_tokens > prompt + (completion or 0)
    ):
        hidden = total_tokens - prompt - (completion or 0)
        completion = total_tokens - prompt
    prompt_details = mapping(usage.get("prompt_tokens_details"))
    completion_details = mapping(usage.get("completion_tokens_details"))
    counts = Usage(
        input_tokens=prompt,
        output_tokens=completion,
        cache_read_tokens=_first(
            prompt_details.get("cached_tokens"),
            usage.get("prompt_cache_hit_tokens"),  # DeepSeek
            usage.get("num_cached_tokens"),  # Mistral
            usage.get("cached_tokens"),  # Together
        ),
        cache_write_tokens=count(prompt_details.get("cache_write_tokens")),
        reasoning_tokens=_first(
            completion_details.get("reasoning_tokens"), usage.get("reasoning_tokens"), hidden
        ),
        input_audio_tokens=count(prompt_details.get("audio_tokens")),
        output_audio_tokens=count(completion_details.get("audio_tokens")),
        input_image_tokens=count(prompt_details.get("image_tokens")),
        output_image_tokens=count(completion_details.get("image_tokens")),
    )
    return counts or None


def reported_cost(usage: Json) -> str:
    """Return the billed cost in USD as decimal text where the usage has it, else ''.

    OpenRouter: `usage.cost` in credits of one dollar. Perplexity: `usage.cost.total_cost`.
    xAI: `usage.cost_in_usd_ticks`, ten thousand million to the dollar. With a key of your own
    (`is_byok`) OpenRouter's figure is its fee only: the model's bill goes elsewhere.
    """
    ticks = count(usage.get("cost_in_usd_ticks"))
    if ticks is not None:
        return f"{ticks // 10**10}.{ticks % 10**10:010d}"
    cost = usage.get("cost")
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    if usage.get("is_byok") or isinstance(cost, bool) or not isinstance(cost, int | float):
        return ""
    return f"{cost:.12f}" if cost >= 0 else ""


def _first(*values: object) -> int | None:
    for value in values:
        number = count(value)
        if number is not None:
            return number
    return None


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
        Path(f"{_DEPLOYMENT}/chat/completions", "chat", example="/v1/chat/completions"),
        Path(f"{_DEPLOYMENT}/completions", "text_completion", example="/v1/completions"),
        # Ollama has a path of its own that ends like this.
        Path(f"{_DEPLOYMENT}/embeddings", "embeddings", rank=1, example="/v1/embeddings"),
    ),
    request=RequestKeys(
        model="model",
        stream="stream",
        user=USER_KEYS,
        call=frozenset({"messages", "prompt", "input", "inputs", "documents", "text_1"}),
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
        (b'"error"', *spelled("finish_reason", '"')),
        b'_tokens"',
        re.compile(rb'_tokens"\s*:\s*"?[0-9]'),
        spelled_oddly("finish_reason"),
    ),
    reader=lambda: read,
    read_headers=None,
    read_request=None,
)
